"""What the base class does for every clipper, those of users included."""

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


def test_a_class_that_sets_the_former_name_of_changes_direction_is_understood_and_warned():
    with pytest.warns(DeprecationWarning, match=rf"^Bending\.{FORMER_NAME}") as caught:

        class Bending(Unchanged):
            bends_direction = True

    assert caught[0].filename == __file__
    assert Bending.changes_direction
    assert Bending().changes_direction
    assert Chain(Bending()).changes_direction
    assert not Unchanged.changes_direction


def test_a_dataclass_and_a_property_of_the_former_name_are_understood_too():
    with pytest.warns(DeprecationWarning, match=FORMER_NAME):

        @dataclass(frozen=True)
        class Bending(Unchanged):
            value: Annotated[float, POSITIVE] = 1.0
            bends_direction: ClassVar[bool] = True

    with pytest.warns(DeprecationWarning, match=FORMER_NAME):

        class Asking(Unchanged):
            def __init__(self, inner):
                self.inner = inner

            @property
            def bends_direction(self):
                return self.inner.changes_direction

    assert Bending().changes_direction
    assert Scheduled(Bending()).changes_direction
    assert [Asking(inner).changes_direction for inner in (Bending(), Norm(1.0))] == [True, False]


def test_an_object_that_sets_the_former_name_is_understood():
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
class Users(Unchanged):
    value: Annotated[float | torch.Tensor | None, POSITIVE]
    steps: "Annotated[int, COUNT]" = 1
    names: "list[str] | None" = None


def test_the_numbers_of_a_users_dataclass_are_checked():
    with pytest.raises(ClippingError, match=r"^value: got 0; must be above 0$"):
        Users(0)
    with pytest.raises(ClippingError, match=r"^steps: got 0; must be a whole number from 1 to 2147483647$"):
        Users(1.0, steps=0)
    assert Users(None).value is None
    assert Users(torch.tensor(-1.0)).value == -1.0  # of which each replica has its own


@dataclass(frozen=True)
class Unresolved(Unchanged):
    value: Annotated[float, POSITIVE]
    names: "Sequence[str]" = ()


def test_a_name_for_type_checkers_only_does_no_harm():
    assert Unresolved(1.0).names == ()
    with pytest.raises(ClippingError, match="must be above 0"):
        Unresolved(0.0)


def test_the_device_is_the_parameters():
    assert device_of({}) is None
    assert device_of({"weight": torch.zeros(1, device="meta")}).type == "meta"
