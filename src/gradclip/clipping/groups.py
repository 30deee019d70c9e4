"""A clipper for each group of parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import ClassVar

from torch import Tensor

from gradclip.clipping.base import Clipper, CompositeClipper, Gradients, State, check_clipper, join_states, member_state
from gradclip.clipping.none import Identity
from gradclip.clipping.patterns import check_matches
from gradclip.errors import ClippingError


@dataclass(frozen=True)
class Groups(CompositeClipper):
    """Clip each group of parameters with its own clipper, independently of the other groups.

    Rule: one threshold for each name pattern, with any method.
    A parameter belongs to the first pattern that matches its name, or else to the rest. If the
    :class:`~gradclip.clipping.skip.Skip` of one group skips, the whole update is skipped.

    Non-finite gradients: as in the group's method, within that group.

    Source: practice of Graves 2013.
    "Generating sequences with recurrent neural networks" limits the output layer's derivatives to 100 and the
    recurrent layers' derivatives to 10.

    Args:
        groups: clippers by name pattern, with the wildcards ``*`` and ``?``.
        rest: clips the parameters that no pattern matches; by default they are not clipped.

    Raises:
        ClippingError: an argument is not a clipper; in ``init``, if a pattern matches no parameter, or only
            parameters of earlier patterns.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.groups, Mapping) and all(isinstance(pattern, str) for pattern in self.groups)):
            raise ClippingError(f"groups: got {self.groups!r}; must be a dictionary of clippers by name pattern")
        for clipper in self.members:
            check_clipper("groups", clipper)

    @property
    def members(self) -> list[Clipper]:
        """The clippers of the groups and of the rest."""
        return [*self.groups.values(), self.rest]

    def init(self, parameters: Gradients) -> State:
        """Return the states of all clippers, each under its pattern's index.

        Raises:
            ClippingError: a pattern matches no parameter, or only parameters of earlier patterns.
        """
        parts = self._split(parameters)
        for pattern, part in zip(self.groups, parts, strict=False):
            check_matches("parameters", pattern, parameters)
            if not part:
                allowed = "must come before the patterns that match its parameters"
                raise ClippingError(f"clip: got parameters={pattern!r}; {allowed}")
        return join_states([clipper.init(part) for clipper, part in zip(self.members, parts, strict=True)])

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the clipped gradients of all groups, in their original order, and the states of all clippers."""
        clipped: dict[str, Tensor] = {}
        states = []
        for clipper, inputs in self._inputs(gradients, parameters, state):
            part, after = clipper.transform(*inputs)
            clipped |= part
            states.append(after)
        return {name: clipped[name] for name in gradients}, join_states(states)

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Clip each group in place with its clipper."""
        members = self._inputs(gradients, parameters, state)
        return join_states([clipper.clip_in_place(*inputs) for clipper, inputs in members])

    def _inputs(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> Iterator[tuple[Clipper, tuple[Gradients, Gradients, State]]]:
        """Yield each clipper with the gradients, the parameters and the state of its group."""
        for index, (clipper, part) in enumerate(zip(self.members, self._split(gradients), strict=True)):
            yield clipper, (part, {name: parameters[name] for name in part}, member_state(state, index))

    def _split(self, tensors: Gradients) -> list[dict[str, Tensor]]:
        """Return the tensors of each group, with the rest as the last one."""
        parts: list[dict[str, Tensor]] = [{} for _ in self.members]
        patterns = (*self.groups, "*")
        for name, tensor in tensors.items():
            parts[_first_match(name, patterns)][name] = tensor
        return parts


@cache
def _first_match(name: str, patterns: tuple[str, ...]) -> int:
    return next(index for index, pattern in enumerate(patterns) if fnmatchcase(name, pattern))
