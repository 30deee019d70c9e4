"""Clippers in a row."""

from collections.abc import Mapping

from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Report, State, report


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

    def init(self, parameters: Gradients) -> State:
        """Return the states of all clippers, each under its place in the chain."""
        states = [clipper.init(parameters) for clipper in self.clippers]
        return {f"{place}.{key}": value for place, state in enumerate(states) for key, value in state.items()}

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return what the last clipper leaves, and a report over the whole chain."""
        clipped = dict(gradients)
        next_state: dict[str, Tensor] = {}
        for place, clipper in enumerate(self.clippers):
            clipped, own, _ = clipper(clipped, parameters, _own_state(state, place))
            next_state |= {f"{place}.{key}": value for key, value in own.items()}
        return clipped, next_state, report(gradients, clipped)


def _own_state(state: State, place: int) -> Mapping[str, Tensor]:
    prefix = f"{place}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
