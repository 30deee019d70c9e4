"""What gradients do not show: whether buffers, such as BatchNorm's, and the loss of validation stay finite."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from gradclip.diagnosis.explosion import Kind
from gradclip.norms import tensor_norms
from gradclip.telemetry.batches import returned_loss
from gradclip.telemetry.record import Divergence, GradientRecord


class FiniteState:
    """Find the first buffer, average of an optimizer, or loss of a validation that is not finite.

    Buffers that hold such a value from the start, as masks do, are left alone. Of the metrics that a validation logs,
    those count that are called a loss: others may be undefined for good reasons.

    Attributes:
        found: where the value was seen, at the step up to which nobody had looked, and its kind; None as long as all is
            finite.
    """

    def __init__(self) -> None:
        self.found: tuple[Divergence, Kind] | None = None
        self._buffers: list[str] = []
        self._of_training: set[str] = set()  # names of metrics
        self._of_validation: set[str] = set()
        self._losses: list[Tensor] = []  # returned by the steps of a validation

    def start(self, module: nn.Module) -> None:
        """Note the buffers that are finite at the start of a training."""
        named = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
        self._buffers = [name for name, buffer in named.items() if is_lazy(buffer) or buffer.isfinite().all()]

    def check_buffers(self, module: nn.Module, step: int, epoch: int) -> None:
        """Look at the buffers; they are read from the device in one go.

        Args:
            module: what has the buffers.
            step: the latest optimizer step.
            epoch: of that step.
        """
        if self.found is not None or not self._buffers:
            return
        named = dict(module.named_buffers())
        known = [name for name in self._buffers if name in named and not is_lazy(named[name])]
        sums = {name: named[name].detach().float().sum() for name in known}
        if sums:
            self._find("buffer", dict(zip(sums, torch.stack([*sums.values()]).tolist(), strict=True)), step, epoch)

    def check_optimizer(self, optimizer: Optimizer, named: Mapping[str, nn.Parameter], block: GradientRecord) -> None:
        """Look at the optimizer's state where a gradient was so large that its square may have overflowed.

        Args:
            optimizer: the optimizer that used the gradients.
            named: the parameters that it trains, by name.
            block: the latest steps.
        """
        if self.found is not None:
            return
        for row, column in np.argwhere(block.huge):
            state = optimizer.state.get(named[block.names[column]], {})
            averages = [value for value in state.values() if isinstance(value, Tensor) and value.is_floating_point()]
            if not tensor_norms(averages).isfinite().all():  # of sharded ones each process sees the whole
                place = f"update {block.names[column]}"
                self.found = Divergence(int(block.step[row]), int(block.epoch[row]), place), "overflow"
                return

    def start_validation(self, trainer: Trainer) -> None:
        """Tell metrics of the training from those that the validation is going to log."""
        self._losses = []
        self._of_training |= {*trainer.callback_metrics} - self._of_validation

    def add_validation_step(self, outputs: Any) -> None:
        """Note the loss that a step of the validation returned."""
        loss = returned_loss(outputs)
        if loss is not None and loss.numel() == 1:
            self._losses.append(loss.float().sum())

    def check_validation(self, trainer: Trainer) -> None:
        """Look at the losses of a validation."""
        if self.found is not None:
            return
        self._of_validation |= {*trainer.callback_metrics} - self._of_training
        metrics = trainer.callback_metrics.items()
        losses = {
            name: float(value) for name, value in metrics if name in self._of_validation and "loss" in name.lower()
        }
        if self._losses:
            losses["loss"] = float(torch.stack(self._losses).sum())
        self._find("validation", losses, trainer.global_step, trainer.current_epoch + 1)

    def _find(self, what: str, values: Mapping[str, float], step: int, epoch: int) -> None:
        for name, value in values.items():
            if not abs(value) < float("inf"):
                kind: Kind = "overflow" if abs(value) == float("inf") else "not a number"
                self.found = Divergence(step, epoch, f"{what} {name}"), kind
                return
