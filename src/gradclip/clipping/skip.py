"""Skipping of updates whose gradient is not finite or too large."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State, device_of
from gradclip.clipping.rescaling import clear_where
from gradclip.norms.tensors import global_norm
from gradclip.ranges import COUNT, POSITIVE
from gradclip.sharding import map_local


@dataclass(frozen=True)
class Skip(Clipper):
    """Skip an update whose global norm is not finite or above c, at most ``patience`` times in a row.

    Rule: no update where ‖g‖ is not finite or above c.
    A skipped update has a gradient of zero and sets :attr:`Report.skipped`, so that a callback can keep the optimizer
    from moving by momentum or weight decay alone. After ``patience`` skipped updates in a row, all updates pass
    unchanged until the first harmless one. A run that cannot recover therefore diverges instead of standing still.
    The loop must know whether the optimizer steps, so on a GPU the host waits for the gradients once per step; other
    methods let it run ahead.

    Non-finite gradients: skipped, at most ``patience`` in a row.

    Source: optax.
    ``apply_if_finite``, which lets updates pass after ``max_consecutive_errors``, and ``skip_large_updates``, which
    limits the squared norm (this class limits the norm).

    Args:
        value: the limit c of the global L2 norm, in loss units per weight unit; None skips non-finite updates only.
        patience: maximum number of updates skipped in a row.

    Raises:
        ClippingError: value is not above 0, or patience is not a whole number of at least 1.

    Example:
        >>> clipper = Skip(value=10.0)
        >>> gradients = {"weight": torch.tensor([torch.nan, 1.0])}
        >>> clipped, state, done = clipper(gradients, gradients, clipper.init(gradients))
        >>> clipped["weight"], bool(done.skipped), int(state["skipped"])
        (tensor([0., 0.]), True, 1)
    """

    value: Annotated[float | Tensor | None, POSITIVE] = None
    patience: Annotated[int, COUNT] = 10

    may_skip: ClassVar[bool] = True

    def init(self, parameters: Gradients) -> State:
        """Return two counts of zero: the updates skipped so far, and the latest harmful updates in a row."""
        device = device_of(parameters)
        return {key: torch.zeros((), dtype=torch.int64, device=device) for key in ("skipped", "in_a_row")}

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the gradients, or zeros if the update is skipped, and the next state."""
        skipped, after = self._judge(gradients, state)
        keep = partial(torch.masked_fill, mask=skipped, value=0.0)
        return {name: map_local(keep, gradient) for name, gradient in gradients.items()}, after

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Set the gradients to zero if the update is skipped."""
        skipped, after = self._judge(gradients, state)
        if not skipped.is_cpu or skipped:  # on a CPU, reading a value does not synchronize
            clear_where(skipped, gradients)
        return after

    def _judge(self, gradients: Gradients, state: State) -> tuple[Tensor, State]:
        """Return whether to skip the update, and the next state."""
        norm = global_norm([*gradients.values()])
        harmful = ~norm.isfinite() if self.value is None else ~(norm <= self.value)
        skipped = harmful & (state["in_a_row"] < self.patience)
        in_a_row = torch.where(harmful, state["in_a_row"] + 1, 0)
        return skipped, {"skipped": state["skipped"] + skipped, "in_a_row": in_a_row}

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether the count of skipped updates increased, a boolean scalar."""
        return after["skipped"] > state["skipped"]
