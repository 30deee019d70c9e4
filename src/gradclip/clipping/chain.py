"""Several clippers, applied one after the other."""

from collections.abc import Sequence

from torch import Tensor

from gradclip.clipping.base import Clipper, CompositeClipper, Gradients, State, check_clipper, join_states, member_state


class Chain(CompositeClipper):
    """Apply clippers in order, each to the output of the one before.

    Args:
        clippers: the clippers, in order.

    Raises:
        ClippingError: an argument is not a clipper.

    Example:
        >>> import torch
        >>> from gradclip import Norm, Value
        >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
        >>> Chain(Norm(1.0), Value(0.7))(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.7000])
    """

    def __init__(self, *clippers: Clipper) -> None:
        for clipper in clippers:
            check_clipper("clippers", clipper)
        self.clippers = clippers

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.clippers))})"

    @property
    def changes_direction(self) -> bool:  # type: ignore[override]
        """Whether any of the clippers changes the direction."""
        return any(clipper.changes_direction for clipper in self.clippers)

    @property
    def members(self) -> Sequence[Clipper]:
        """The clippers in order."""
        return self.clippers

    def init(self, parameters: Gradients) -> State:
        """Return the states of all clippers, each under its index in the chain."""
        return join_states([clipper.init(parameters) for clipper in self.clippers])

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the output of the last clipper, and the states of all."""
        clipped, states = dict(gradients), []
        for index, clipper in enumerate(self.clippers):
            clipped, after = clipper.transform(clipped, parameters, member_state(state, index))
            states.append(after)
        return clipped, join_states(states)

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Clip in place with one clipper after the other."""
        states = [
            clipper.clip_in_place(gradients, parameters, member_state(state, index))
            for index, clipper in enumerate(self.clippers)
        ]
        return join_states(states)
