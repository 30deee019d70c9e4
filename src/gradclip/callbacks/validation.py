"""The loss of a validation during training, which may not be finite though that of the training is."""

from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from gradclip.telemetry.batches import returned_loss


class ValidationLosses:
    """The losses of a validation: what its steps return, and the metrics that are called a loss.

    Other metrics may be undefined for good reasons.
    """

    def __init__(self) -> None:
        self._of_training: set[str] = set()  # names of metrics
        self._of_validation: set[str] = set()
        self._losses: list[Tensor] = []  # returned by the steps of a validation

    def start(self, trainer: Trainer) -> None:
        """Tell metrics of the training from those that the validation is going to log."""
        self._losses = []
        self._of_training |= {*trainer.callback_metrics} - self._of_validation

    def add_step(self, outputs: Any) -> None:
        """Note the loss that a step of the validation returned."""
        loss = returned_loss(outputs)
        if loss is not None and loss.numel() == 1:
            self._losses.append(loss.float().sum())

    def read(self, trainer: Trainer) -> dict[str, float]:
        """Return the losses by name, at the end of a validation."""
        self._of_validation |= {*trainer.callback_metrics} - self._of_training
        metrics = trainer.callback_metrics.items()
        losses = {
            name: float(value) for name, value in metrics if name in self._of_validation and "loss" in name.lower()
        }
        return losses | ({"loss": float(torch.stack(self._losses).sum())} if self._losses else {})
