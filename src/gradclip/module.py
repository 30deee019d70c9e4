"""The LightningModule: forward, loss, optimizer, and the error on training and test rows."""

import math
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from gradclip import keys
from gradclip.optimization import MakeOptimizer, MakeSchedule, make_optimizer


class Regressor(LightningModule):
    """Fit a network to a target.

    Args:
        network: turns inputs ``[rows, inputs]`` into predictions ``[rows, 1]``.
        loss: of predictions and target, both as scaled for training; mean squared error by default.
        optimizer: from parameters to an optimizer; SGD with the tutorial's settings by default.
        schedule: from an optimizer and the number of steps to a learning-rate schedule.
        target_scale: how many of the target's own units one unit of the scaled target is; the mean squared errors
            that are logged are in the target's own unit, squared.

    Example:
        >>> import torch
        >>> Regressor(nn.Linear(3, 1))(torch.zeros(2, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module | None = None,
        optimizer: MakeOptimizer | None = None,
        schedule: MakeSchedule | None = None,
        target_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss or nn.MSELoss()
        self.make_optimizer = optimizer or make_optimizer("sgd", lr=0.01, momentum=0.9)
        self.make_schedule = schedule
        self.target_scale = target_scale
        self.train_error, self.test_error = MeanSquaredError(), MeanSquaredError()
        self.curves: dict[str, list[float]] = {keys.MSE_TRAIN: [], keys.MSE_TEST: []}

    def forward(self, inputs: Tensor) -> Tensor:
        """Return predictions ``[rows, 1]`` in the scaled unit."""
        return self.network(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch, a scalar."""
        inputs, target = batch
        return self.loss(self(inputs), target)  # type: ignore[no-any-return]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Add a batch of training (0) or test (1) rows to its mean squared error."""
        inputs, target = batch
        error = self.train_error if dataloader_idx == 0 else self.test_error
        error.update(self(inputs), target)

    def on_validation_epoch_end(self) -> None:
        """Keep and log both errors in the target's own unit, squared, over the epochs, counted from 1.

        Loggers get finite points only: a chart whose last point is NaN vanishes from MLflow's pages.
        """
        latest = {}
        for key, error in zip(self.curves, (self.train_error, self.test_error), strict=True):
            latest[key] = float(error.compute()) * self.target_scale**2
            error.reset()
            self.curves[key].append(latest[key])
        self.log_dict(latest, logger=False)
        finite = {key: value for key, value in latest.items() if math.isfinite(value)}
        for logger in self.loggers:
            logger.log_metrics(finite, step=self.current_epoch + 1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, with its schedule stepped at every optimizer step."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.make_optimizer(trainable)
        if self.make_schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule: dict[str, Any] = {"scheduler": self.make_schedule(optimizer, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]
