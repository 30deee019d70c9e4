"""LightningModules for supervised learning: loss, optimizer, and the score on each split."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from gradclip.errors import ModelError
from gradclip.models.optimization import CrossEntropy, OptimizerFactory, ScheduleFactory, optimizer_factory
from gradclip.scores import ACCURACY, MSE, Score, Split


class SupervisedModule(LightningModule):
    """Base class of the LightningModules that fit a network to a target and compute a score every epoch.

    Args:
        network: the network.
        loss: called with outputs and target, both in scaled units; by default ``default_loss``.
        optimizer: returns an optimizer for the parameters; by default SGD with learning rate 0.01 and momentum 0.9.
        schedule: returns a learning-rate schedule for an optimizer and a number of steps; by default the rate is
            constant.
        splits: the splits to score, one for each loader of ``val_dataloader``.

    Attributes:
        score: the score; names the curves, such as ``mse/train`` and ``mse/test``.
        curves: the score of each split after each epoch, by metric name.
        score_factor: factor from a score in scaled units to the score in the unit of the unscaled target.
    """

    score: Score
    default_loss: type[nn.Module]
    score_factor = 1.0

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module | None = None,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
        splits: Sequence[Split] = ("train", "test"),
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss or self.default_loss()
        self.metrics = nn.ModuleList(MeanMetric(nan_strategy="disable") for _ in splits)
        self.optimizer_factory = optimizer or optimizer_factory("sgd", lr=0.01, momentum=0.9)
        self.schedule_factory = schedule
        self.curves: dict[str, list[float]] = {self.score.by_epoch(split): [] for split in splits}

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs."""
        return self.network(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch, a scalar."""
        inputs, target = batch
        return self.loss(self(inputs), target)  # type: ignore[no-any-return]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Add a batch to the mean score of one split; ``dataloader_idx`` is its index in ``splits``."""
        inputs, target = batch
        metric = self.metrics[dataloader_idx]
        assert isinstance(metric, MeanMetric)
        metric.update(self.score_per_example(self(inputs), target))

    def score_per_example(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return a tensor whose mean is the score, in scaled units."""
        raise NotImplementedError

    def on_validation_epoch_end(self) -> None:
        """Append the scores to the curves and log them, with epochs counted from 1.

        Only finite values are logged: the MLflow UI does not show a chart whose last point is NaN.
        """
        latest = {}
        for key, metric in zip(self.curves, self.metrics, strict=True):
            assert isinstance(metric, MeanMetric)
            latest[key] = float(metric.compute()) * self.score_factor
            metric.reset()
            self.curves[key].append(latest[key])
        self.log_dict(latest, logger=False)
        finite = {key: value for key, value in latest.items() if math.isfinite(value)}
        for logger in self.loggers:
            logger.log_metrics(finite, step=self.current_epoch + 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the curves."""
        checkpoint["curves"] = self.curves

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curves."""
        self.curves = checkpoint["curves"]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer for all trainable parameters, and its schedule, stepped at every optimizer step."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.optimizer_factory(trainable)
        if self.schedule_factory is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule: dict[str, Any] = {"scheduler": self.schedule_factory(optimizer, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]


class Regressor(SupervisedModule):
    """Fit a network to a real-valued target; the score is the mean squared error.

    Args:
        network: maps inputs ``[rows, ...]`` to predictions ``[rows, 1]`` in scaled units.
        loss: called with predictions and target; by default the mean squared error.
        optimizer: returns an optimizer for the parameters; by default SGD with learning rate 0.01 and momentum 0.9.
        schedule: returns a learning-rate schedule for an optimizer and a number of steps; by default the rate is
            constant.
        target_scale: target units per unit of the scaled target; mean squared errors are logged in squared target
            units.
        splits: the splits to score, one for each loader of ``val_dataloader``.

    Example:
        >>> Regressor(nn.Linear(3, 1))(torch.zeros(2, 3)).shape
        torch.Size([2, 1])
    """

    score, default_loss = MSE, nn.MSELoss

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module | None = None,
        optimizer: OptimizerFactory | None = None,
        schedule: ScheduleFactory | None = None,
        target_scale: float = 1.0,
        splits: Sequence[Split] = ("train", "test"),
    ) -> None:
        super().__init__(network, loss, optimizer, schedule, splits)
        self.score_factor = MSE.unscaling_factor(target_scale)

    def score_per_example(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return squared errors in scaled units.

        Raises:
            ModelError: outputs and target have different shapes, which torch would broadcast.
        """
        if outputs.shape != target.shape:
            got = f"got outputs of shape {list(outputs.shape)}"
            raise ModelError(f"network: {got}; must have the shape of the target, {list(target.shape)}")
        return (outputs - target).square()


class Classifier(SupervisedModule):
    """Fit a network to a target with classes; the score is the accuracy.

    Args:
        network: maps inputs ``[rows, ...]`` to logits ``[rows, classes]`` or ``[rows, steps, classes]``.
        loss: called with logits and class indices, ``[rows]`` or ``[rows, steps]``; by default cross-entropy.
        optimizer: returns an optimizer for the parameters; by default SGD with learning rate 0.01 and momentum 0.9.
        schedule: returns a learning-rate schedule for an optimizer and a number of steps; by default the rate is
            constant.
        splits: the splits to score, one for each loader of ``val_dataloader``.

    Example:
        >>> Classifier(nn.Linear(3, 4))(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    score, default_loss = ACCURACY, CrossEntropy

    def score_per_example(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 where the correct class has the largest logit, else 0; NaN where a logit is not finite."""
        right = (outputs.argmax(dim=-1) == target).float()
        return torch.where(outputs.isfinite().all(dim=-1), right, torch.nan)
