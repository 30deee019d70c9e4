"""Clippers in a row."""

from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State, any_skips, gather_states, own_state


class Chain(Clipper):
    """Apply clippers one after the other, each to what the one before left.

    Args:
        clippers: the clippers, first to last.

    Example:
        >>> import torch
        >>> from gradclip import Norm, Value
        >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
        >>> Chain(Norm(1.0), Value(0.7))(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.7000])
    """

    def __init__(self, *clippers: Clipper) -> None:
        self.clippers = clippers

    @property
    def changes_direction(self) -> bool:  # type: ignore[override]
        """Whether one of the clippers does."""
        return any(clipper.changes_direction for clipper in self.clippers)

    @property
    def may_skip(self) -> bool:  # type: ignore[override]
        """Whether one of the clippers does."""
        return any(clipper.may_skip for clipper in self.clippers)

    def init(self, parameters: Gradients) -> State:
        """Return the states of all clippers, each under its place in the chain."""
        return gather_states([clipper.init(parameters) for clipper in self.clippers])

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return what the last clipper leaves."""
        clipped, states = dict(gradients), []
        for place, clipper in enumerate(self.clippers):
            clipped, after = clipper.transform(clipped, parameters, own_state(state, place))
            states.append(after)
        return clipped, gather_states(states)

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether one of the clippers has the update left out."""
        return any_skips(self.clippers, state, after)
