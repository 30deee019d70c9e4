"""The LightningModules: forward, loss, optimizer, and the score on training and test examples."""

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric, MeanSquaredError, Metric

from gradclip import keys
from gradclip.models.optimization import CrossEntropy, MakeOptimizer, MakeSchedule, make_optimizer


class Learner(LightningModule):
    """Train a network by a loss and measure it by a score, on training and on test examples.

    Args:
        network: turns inputs into outputs.
        loss: of outputs and target, both as scaled for training.
        score: what is logged once an epoch, as ``mse/train`` and ``mse/test``.
        metrics: that score, one on the training and one on the test examples.
        optimizer: from parameters to an optimizer; SGD with the tutorial's settings by default.
        schedule: from an optimizer and the number of steps to a learning-rate schedule.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        score: keys.Score,
        metrics: tuple[Metric, Metric],
        optimizer: MakeOptimizer | None = None,
        schedule: MakeSchedule | None = None,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.score = network, loss, score
        self.train_metric, self.test_metric = metrics
        self.make_optimizer = optimizer or make_optimizer("sgd", lr=0.01, momentum=0.9)
        self.make_schedule = schedule
        self.curves: dict[str, list[float]] = {score.train: [], score.test: []}

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs."""
        return self.network(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch, a scalar."""
        inputs, target = batch
        return self.loss(self(inputs), target)  # type: ignore[no-any-return]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Add a batch of training (0) or test (1) examples to its score."""
        inputs, target = batch
        self.add(self.train_metric if dataloader_idx == 0 else self.test_metric, self(inputs), target)

    def add(self, metric: Metric, outputs: Tensor, target: Tensor) -> None:
        """Add the outputs of a batch to a score."""
        metric.update(outputs, target)

    def per_example(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return values whose mean is the score, in the scaled unit where there is one."""
        raise NotImplementedError

    def read(self, metric: Metric) -> float:
        """Return a score in its unit."""
        return float(metric.compute())

    def on_validation_epoch_end(self) -> None:
        """Keep and log both scores over the epochs, counted from 1.

        Loggers get finite points only: a chart whose last point is NaN vanishes from MLflow's pages.
        """
        latest = {}
        for key, metric in zip(self.curves, (self.train_metric, self.test_metric), strict=True):
            latest[key] = self.read(metric)
            metric.reset()
            self.curves[key].append(latest[key])
        self.log_dict(latest, logger=False)
        finite = {key: value for key, value in latest.items() if math.isfinite(value)}
        for logger in self.loggers:
            logger.log_metrics(finite, step=self.current_epoch + 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the scores over the epochs."""
        checkpoint["curves"] = self.curves

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the scores over the epochs."""
        self.curves = checkpoint["curves"]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, with its schedule stepped at every optimizer step."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.make_optimizer(trainable)
        if self.make_schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule: dict[str, Any] = {"scheduler": self.make_schedule(optimizer, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]


class Regressor(Learner):
    """Fit a network to a target of numbers, measured by the mean squared error.

    Args:
        network: turns inputs ``[rows, ...]`` into predictions ``[rows, 1]`` in the scaled unit.
        loss: of predictions and target; mean squared error by default.
        optimizer: from parameters to an optimizer; SGD with the tutorial's settings by default.
        schedule: from an optimizer and the number of steps to a learning-rate schedule.
        target_scale: how many of the target's own units one unit of the scaled target is; the mean squared errors
            that are logged are in the target's own unit, squared.

    Example:
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
        metrics = (MeanSquaredError(), MeanSquaredError())
        super().__init__(network, loss or nn.MSELoss(), keys.MSE, metrics, optimizer, schedule)
        self.target_scale = target_scale

    def per_example(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return squared errors."""
        return (outputs - target).square()

    def read(self, metric: Metric) -> float:
        """Return a mean squared error in the target's own unit, squared."""
        return super().read(metric) * self.target_scale**2


class Classifier(Learner):
    """Fit a network to a target of classes, measured by the accuracy.

    Args:
        network: turns inputs ``[rows, ...]`` into logits ``[rows, classes]``, or ``[rows, steps, classes]``.
        loss: of logits and target, ``[rows]`` or ``[rows, steps]``, whole numbers; cross-entropy by default.
        optimizer: from parameters to an optimizer; SGD with the tutorial's settings by default.
        schedule: from an optimizer and the number of steps to a learning-rate schedule.

    Example:
        >>> Classifier(nn.Linear(3, 4))(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module | None = None,
        optimizer: MakeOptimizer | None = None,
        schedule: MakeSchedule | None = None,
    ) -> None:
        metrics = (MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable"))
        super().__init__(network, loss or CrossEntropy(), keys.ACCURACY, metrics, optimizer, schedule)

    def add(self, metric: Metric, outputs: Tensor, target: Tensor) -> None:
        """Add the share of right predictions."""
        metric.update(self.per_example(outputs, target))

    def per_example(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 for a right prediction, else 0; logits that are not finite predict nothing: NaN."""
        right = (outputs.argmax(dim=-1) == target).float()
        return torch.where(outputs.isfinite().all(dim=-1), right, torch.nan)
