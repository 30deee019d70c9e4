"""The numbers of clippers that users define are checked like those of gradclip's own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import pytest
import torch

from gradclip import Clipper
from gradclip.clipping.base import device_of
from gradclip.errors import ClippingError
from gradclip.ranges import COUNT, POSITIVE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Unchanged(Clipper):
    def transform(self, gradients, parameters, state):
        return dict(gradients), state


@dataclass(frozen=True)
class UserDefined(Unchanged):
    value: Annotated[float | torch.Tensor | None, POSITIVE]
    steps: "Annotated[int, COUNT]" = 1
    names: "list[str] | None" = None


def test_the_numbers_of_a_user_defined_dataclass_are_checked():
    with pytest.raises(ClippingError, match=r"^value: got 0; must be a number above 0$"):
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
    with pytest.raises(ClippingError, match="must be a number above 0"):
        Unresolved(0.0)


def test_device_of_returns_the_device_of_the_parameters():
    assert device_of({}) is None
    assert device_of({"weight": torch.zeros(1, device="meta")}).type == "meta"
