"""A clipper for each group of parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State, any_skips, gather_states, own_state
from gradclip.clipping.none import Identity
from gradclip.errors import ClippingError


@dataclass(frozen=True)
class Groups(Clipper):
    """Clip each group of parameters by a clipper of its own, as if there were no others.

    A parameter belongs to the first pattern that matches its name, or else to the rest. What happens to non-finite
    gradients is for each group's clipper to say; other groups are not touched by them. But an update
    that a :class:`~gradclip.clipping.skip.Skip` leaves out is left out as a whole.

    Source: Graves 2013, "Generating sequences with recurrent neural networks", which limits the output layer's
    derivatives at 100 and those of the recurrent layers at 10; here with any method inside.

    Args:
        groups: from name patterns, in which ``*`` and ``?`` stand for anything, to clippers.
        rest: clips what no pattern names; by default nothing does.

    Raises:
        ClippingError: by ``init``, for a pattern that matches no parameter.

    Example:
        >>> import torch
        >>> from gradclip import Norm
        >>> clipper = Groups({"output.*": Norm(10.0)}, rest=Norm(1.0))
        >>> gradients = {"output.bias": torch.tensor([20.0]), "hidden.bias": torch.tensor([20.0])}
        >>> clipper(gradients, gradients, clipper.init(gradients))[0]
        {'output.bias': tensor([10.]), 'hidden.bias': tensor([1.])}
    """

    groups: Mapping[str, Clipper]
    rest: Clipper = field(default_factory=Identity)

    changes_direction: ClassVar[bool] = True

    @property
    def may_skip(self) -> bool:  # type: ignore[override]
        """Whether one of the clippers does."""
        return any(clipper.may_skip for clipper in self._clippers())

    def init(self, parameters: Gradients) -> State:
        """Return the states of all clippers, each under its pattern's place."""
        shares = self._share_out(parameters)
        for pattern, share in zip(self.groups, shares, strict=False):
            if not share:
                names = ", ".join(parameters)
                raise ClippingError(f"clip: got parameters={pattern!r}; none has such a name, of {names}")
        return gather_states([clipper.init(share) for clipper, share in zip(self._clippers(), shares, strict=True)])

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return what each group's clipper leaves."""
        clipped: dict[str, Tensor] = {}
        states = []
        for place, (clipper, share) in enumerate(zip(self._clippers(), self._share_out(gradients), strict=True)):
            own = {name: parameters[name] for name in share}
            part, after = clipper.transform(share, own, own_state(state, place))
            clipped |= part
            states.append(after)
        ordered = {name: clipped[name] for name in gradients}
        return ordered, gather_states(states)

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether one of the clippers has the update left out."""
        return any_skips(self._clippers(), state, after)

    def _clippers(self) -> list[Clipper]:
        return [*self.groups.values(), self.rest]

    def _share_out(self, tensors: Gradients) -> list[dict[str, Tensor]]:
        shares: list[dict[str, Tensor]] = [{} for _ in self._clippers()]
        patterns = [*self.groups, "*"]
        for name, tensor in tensors.items():
            place = next(place for place, pattern in enumerate(patterns) if fnmatchcase(name, pattern))
            shares[place][name] = tensor
        return shares
