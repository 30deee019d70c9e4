"""Tests of the base class of all clippers, including clippers that users define."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import pytest
import torch

from gradclip import Chain, Clipper, Groups, Norm, Scheduled, Value
from gradclip.clipping.arguments import COUNT, POSITIVE
from gradclip.clipping.base import device_of
from gradclip.errors import ClippingError

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMER_NAME = r"bends_direction is now called changes_direction"


class Unchanged(Clipper):
    def transform(self, gradients, parameters, state):
        return dict(gradients), state


def test_a_class_that_sets_the_former_name_of_changes_direction_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match=rf"^Bending\.{FORMER_NAME}") as caught:

        class Bending(Unchanged):
            bends_direction = True

    assert caught[0].filename == __file__
    assert Bending.changes_direction
    assert Bending().changes_direction
    assert Chain(Bending()).changes_direction
    assert not Unchanged.changes_direction


def test_the_former_name_works_in_a_dataclass_and_as_a_property():
    with pytest.warns(DeprecationWarning, match=FORMER_NAME):

        @dataclass(frozen=True)
        class Bending(Unchanged):
            value: Annotated[float, POSITIVE] = 1.0
            bends_direction: ClassVar[bool] = True

    with pytest.warns(DeprecationWarning, match=FORMER_NAME):

        class Delegating(Unchanged):
            def __init__(self, inner):
                self.inner = inner

            @property
            def bends_direction(self):
                return self.inner.changes_direction

    assert Bending().changes_direction
    assert Scheduled(Bending()).changes_direction
    assert [Delegating(inner).changes_direction for inner in (Bending(), Norm(1.0))] == [True, False]


def test_an_instance_that_sets_the_former_name_works_with_a_warning():
    clipper, other = Unchanged(), Unchanged()
    with pytest.warns(DeprecationWarning, match=FORMER_NAME):
        clipper.bends_direction = True
    assert clipper.changes_direction
    assert not other.changes_direction


@pytest.mark.parametrize(
    ("clipper", "changes"), [(Norm(1.0), False), (Value(1.0), True), (Groups({}), True), (Chain(Norm(1.0)), False)]
)
def test_the_former_name_can_be_read(clipper, changes):
    with pytest.warns(DeprecationWarning, match=FORMER_NAME) as caught:
        assert clipper.bends_direction is changes
    assert caught[0].filename == __file__


def test_the_former_name_can_be_read_from_a_class():
    with pytest.warns(DeprecationWarning, match=FORMER_NAME):
        assert Value.bends_direction


@dataclass(frozen=True)
class UserDefined(Unchanged):
    value: Annotated[float | torch.Tensor | None, POSITIVE]
    steps: "Annotated[int, COUNT]" = 1
    names: "list[str] | None" = None


def test_the_numbers_of_a_user_defined_dataclass_are_checked():
    with pytest.raises(ClippingError, match=r"^value: got 0; must be above 0$"):
        UserDefined(0)
    with pytest.raises(ClippingError, match=r"^steps: got 0; must be a whole number from 1 to 2147483647$"):
        UserDefined(1.0, steps=0)
    assert UserDefined(None).value is None
    assert UserDefined(torch.tensor(-1.0)).value == -1.0  # tensors, with one value per replica, are not checked


@dataclass(frozen=True)
class Unresolved(Unchanged):
    value: Annotated[float, POSITIVE]
    names: "Sequence[str]" = ()


def test_ranges_are_checked_even_if_another_type_cannot_be_resolved():
    assert Unresolved(1.0).names == ()
    with pytest.raises(ClippingError, match="must be above 0"):
        Unresolved(0.0)


def test_device_of_returns_the_device_of_the_parameters():
    assert device_of({}) is None
    assert device_of({"weight": torch.zeros(1, device="meta")}).type == "meta"
