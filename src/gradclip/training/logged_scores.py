"""The metrics that a user-defined module logs every epoch: their curves, and the choice of the score."""

import math
import re
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from gradclip import keys
from gradclip.data.score_scale import ScoreScale
from gradclip.errors import ConfigError, did_you_mean, first_few
from gradclip.scores import ChoosingSplit, LoggedScore
from gradclip.telemetry.batches import returned_loss
from gradclip.tracking.logger import RunLogger, metric_name
from gradclip.training.outcome import Curves

VALIDATION_LOSS = re.compile(r"val(id|idation)?[/_.-]?loss", re.IGNORECASE)


class LoggedScores(Checkpoint):
    """Keep the metrics that a module logged by the end of each epoch, and the mean loss of its training batches.

    As a ``Checkpoint``, it runs after the module's own ``on_train_epoch_end``. Metrics that are logged at the end of an
    epoch are stored by epoch, like the scores of our own modules.

    Args:
        metric: name of the metric that is the score; by default the validation loss, or else the only metric, or else
            the mean loss of the training batches if nothing is logged.
        mode: whether lower or higher values are better.
        validated_on: the split of the examples that the module is validated on.

    Raises:
        ConfigError: at the end of the first epoch, if the metric was not logged, several were logged and none is named,
            or it differs between the processes of a distributed training run.
    """

    def __init__(
        self, metric: str | None, mode: Literal["min", "max"], validated_on: ChoosingSplit = "validation"
    ) -> None:
        self.metric, self.mode, self.validated_on = metric and metric_name(metric), mode, validated_on
        self.score = keys.LOSS_TRAIN
        self.split: ChoosingSplit = "validation"  # the split that the score counts as
        self._before_validation: dict[str, Tensor] = {}  # metrics logged before the validation of the first epoch
        self._validated: set[str] = set()  # metrics that were logged in this validation
        self.epochs: list[dict[str, float]] = []  # metrics and mean loss of each epoch
        self._loss: Tensor | None = None  # sum over the batches of the epoch
        self._batches = 0

    @property
    def score_scale(self) -> ScoreScale:
        """The score; it has no baseline."""
        return ScoreScale(LoggedScore(self.score, math.inf if self.mode == "max" else -math.inf, self.split))

    @property
    def curves(self) -> Curves:
        """The mean loss of the training batches, and the score; NaN in epochs that did not log it.

        A score that the module logs in validation belongs to the split that the module is validated on. Any other score
        is filed under ``validation``, because it chooses.
        """
        score = self.score_scale.score
        names = {split: score.by_epoch(split) for split in score.splits}
        return {split: [epoch.get(name, math.nan) for epoch in self.epochs] for split, name in names.items()}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let loggers store metrics by step, as training steps log them."""
        _set_epoch(trainer, None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss of a batch."""
        if (loss := returned_loss(outputs)) is not None:
            loss = loss.float().mean() * trainer.accumulate_grad_batches  # Lightning has divided the loss by it
            self._loss = loss if self._loss is None else self._loss + loss
            self._batches += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let loggers store validation metrics by epoch."""
        _set_epoch(trainer, trainer.current_epoch + 1)
        if not self.epochs:
            self._before_validation = {**trainer.callback_metrics}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let loggers store metrics by step again."""
        _set_epoch(trainer, None)
        if not self.epochs:
            before = self._before_validation
            logged = [name for name, value in trainer.callback_metrics.items() if value is not before.get(name)]
            self._validated.update(map(metric_name, logged))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of the epoch and log its mean loss; in the first epoch, choose the score among the metrics.

        Loggers then store metrics by epoch, until the next epoch starts.
        """
        epoch = {metric_name(name): float(value) for name, value in trainer.callback_metrics.items()}
        if not self.epochs:
            has_stopped = trainer.should_stop  # a diverged run may not have logged the score: the loss then replaces it
            with suppress(ConfigError) if has_stopped else nullcontext():
                self.score = choose_score(self.metric, epoch)
                self.split = self.validated_on if self.score in self._validated else "validation"
                _check_same_in_all_processes(trainer, self.score, epoch.get(self.score, math.nan))
        epoch[keys.LOSS_TRAIN] = self._mean_loss(trainer)
        self.epochs.append(epoch)
        for logger in trainer.loggers:
            logger.log_metrics({keys.LOSS_TRAIN: epoch[keys.LOSS_TRAIN]}, step=trainer.current_epoch + 1)
        _set_epoch(trainer, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the loggers, which then store metrics by step."""
        _set_epoch(trainer, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics of all epochs and the sum of losses in the current epoch."""
        return {
            "score": self.score,
            "split": self.split,
            "epochs": self.epochs,
            "loss": self._loss,
            "batches": self._batches,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the metrics and the sum of losses."""
        self.score, self.epochs = state_dict["score"], state_dict["epochs"]
        self.split = state_dict.get("split", "validation")  # checkpoints of earlier versions have no split
        self._loss, self._batches = state_dict["loss"], state_dict["batches"]

    def _mean_loss(self, trainer: Trainer) -> float:
        total, count = self._loss, self._batches
        self._loss, self._batches = None, 0
        mean = torch.tensor(math.nan) if total is None else total / count
        return float(trainer.strategy.reduce(mean.to(trainer.strategy.root_device), reduce_op="mean"))


def _check_same_in_all_processes(trainer: Trainer, name: str, value: float) -> None:
    """Refuse a score that each process measures on its own batches: only that of the first would be stored."""
    is_same = bool(np.isclose(value, trainer.strategy.broadcast(value), atol=0, equal_nan=True))
    if not trainer.strategy.reduce_boolean_decision(is_same):  # all processes raise the error, or none
        raise ConfigError(f"metric: got {name!r}; it differs between processes, log it with sync_dist=True")


def choose_score(metric: str | None, logged: Iterable[str]) -> str:
    """Return the name of the metric that is the score.

    Args:
        metric: the setting ``metric``; None chooses a metric.
        logged: names of all metrics that the module logs.

    Raises:
        ConfigError: there is no such metric, or there are several and none is set.

    Example:
        >>> choose_score(None, ["val/loss", "val/accuracy"]), choose_score(None, [])
        ('val/loss', 'loss/train')
    """
    names = list(logged)
    whole = [name for name in names if not (name.endswith(("_step", "_epoch")) and name.rpartition("_")[0] in names)]
    if metric is not None:
        if metric not in names:
            have = first_few(whole) or "nothing"
            raise ConfigError(f"metric: got {metric!r}; the module logs {have}{did_you_mean(metric, names)}")
        return metric
    losses = [name for name in names if VALIDATION_LOSS.fullmatch(name)]
    for candidates in (losses, whole):
        if len(candidates) == 1:
            return candidates[0]
    if whole:
        example = min(whole, key=lambda name: ("val" not in name.lower(), "train" in name.lower()))
        raise ConfigError(f"metric: got null; the module logs {first_few(whole)}: choose one, as in metric={example}")
    return keys.LOSS_TRAIN


def _set_epoch(trainer: Trainer, epoch: int | None) -> None:
    """Set the epoch by which the run's loggers store metrics; None stores them by step."""
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.epoch = epoch
