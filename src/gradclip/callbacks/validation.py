"""The validation loss during training, which may not be finite even if the training loss is."""

from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from gradclip.telemetry.batches import returned_loss


class ValidationLosses:
    """The losses of a validation: those that its steps return, and logged metrics whose name contains "loss".

    Other metrics are ignored, since they may be NaN for good reasons.
    """

    def __init__(self) -> None:
        self._of_training: set[str] = set()  # names of metrics
        self._of_validation: set[str] = set()
        self._losses: list[Tensor] = []  # returned by the steps of a validation

    def start(self, trainer: Trainer) -> None:
        """Record which metrics come from training, before the validation logs its own."""
        self._losses = []
        self._of_training |= {*trainer.callback_metrics} - self._of_validation

    def add_step(self, outputs: Any) -> None:
        """Add the loss that a validation step returned."""
        loss = returned_loss(outputs)
        if loss is not None and loss.numel() == 1:
            self._losses.append(loss.float().sum())

    def read(self, trainer: Trainer) -> dict[str, float]:
        """Return the losses of the finished validation by name."""
        self._of_validation |= {*trainer.callback_metrics} - self._of_training
        metrics = trainer.callback_metrics.items()
        losses = {
            name: float(value) for name, value in metrics if name in self._of_validation and "loss" in name.lower()
        }
        return losses | ({"loss": float(torch.stack(self._losses).sum())} if self._losses else {})
