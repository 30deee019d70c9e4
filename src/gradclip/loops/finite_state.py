"""Checks for non-finite values that gradients do not show, in buffers (BatchNorm) and in an optimizer's averages."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from gradclip.diagnosis.explosion import Kind
from gradclip.norms.tensors import tensor_norms
from gradclip.telemetry.divergence import Divergence
from gradclip.telemetry.record import GradientRecord


class FiniteState:
    """Find the first non-finite value in the buffers, in an optimizer's averages, or in values that a loop passes.

    Buffers that are not finite from the start, such as masks, are not checked.

    Attributes:
        found: the place of the value, with the step at which it was found, and its kind; None if all values are finite.
    """

    def __init__(self, module: nn.Module) -> None:
        self.found: tuple[Divergence, Kind] | None = None
        self._module = module
        named = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
        self._buffers = [name for name, buffer in named.items() if is_lazy(buffer) or buffer.isfinite().all()]

    def check_buffers(self, step: int, epoch: int) -> None:
        """Check the buffers after an optimizer step, with a single read from the device."""
        if self.found is not None or not self._buffers:
            return
        named = dict(self._module.named_buffers())
        known = [name for name in self._buffers if name in named and not is_lazy(named[name])]
        sums = {name: named[name].detach().float().sum() for name in known}
        if sums:
            values = torch.stack([*sums.values()]).tolist()
            self.check("buffer", dict(zip(sums, values, strict=True)), step, epoch)

    def check_optimizer(self, optimizer: Optimizer, named: Mapping[str, nn.Parameter], block: GradientRecord) -> None:
        """Check the optimizer's state of parameters whose gradient was so large that its square may have overflowed.

        Args:
            optimizer: the optimizer that used the gradients.
            named: the parameters that it trains, by name.
            block: the record of the latest steps.
        """
        if self.found is not None:
            return
        for row, column in np.argwhere(block.huge):
            state = optimizer.state.get(named[block.names[column]], {})
            averages = [value for value in state.values() if isinstance(value, Tensor) and value.is_floating_point()]
            if not tensor_norms(averages).isfinite().all():  # joins the shards of all processes
                place = f"update {block.names[column]}"
                self.found = Divergence(int(block.step[row]), int(block.epoch[row]), place), "overflow"
                return

    def check(self, what: str, values: Mapping[str, float], step: int, epoch: int) -> None:
        """Check that numbers are finite.

        Args:
            what: the kind of the numbers, such as ``buffer``.
            values: the numbers, by name.
            step: the latest optimizer step.
            epoch: the epoch of that step.
        """
        if self.found is not None:
            return
        for name, value in values.items():
            if not abs(value) < float("inf"):
                kind: Kind = "overflow" if abs(value) == float("inf") else "not a number"
                self.found = Divergence(step, epoch, f"{what} {name}"), kind
                return
