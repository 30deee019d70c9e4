"""What a module of the user's logs once an epoch: its curves, and which of them is the score."""

import math
import re
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from gradclip import keys
from gradclip.data.score_scale import ScoreScale
from gradclip.errors import ConfigError, did_you_mean, first_few
from gradclip.scores import LoggedScore, Split
from gradclip.telemetry.batches import returned_loss
from gradclip.tracking.logger import RunLogger, metric_name
from gradclip.training.outcome import Curves

VALIDATION_LOSS = re.compile(r"val(id|idation)?[/_.-]?loss", re.IGNORECASE)


class LoggedScores(Checkpoint):
    """Keep what a module logs, once an epoch, beside the mean loss of its training batches.

    Being a ``Checkpoint``, it comes after the module's own ``on_train_epoch_end``. What is logged at the end of an
    epoch is stored by epoch, as the scores of our own modules are.

    Args:
        metric: name of the metric that is the score; None: the loss of validation, else the only metric, else the mean
            loss of the training batches where nothing is logged.
        mode: which of its values are better.

    Raises:
        ConfigError: at the end of the first epoch, if no such metric was logged, or several and none is named.
    """

    def __init__(self, metric: str | None, mode: Literal["min", "max"]) -> None:
        self.metric, self.mode = metric and metric_name(metric), mode
        self.score = keys.LOSS_TRAIN
        self.epochs: list[dict[str, float]] = []  # each with the metrics, and the mean loss
        self._loss: Tensor | None = None  # sum over the batches of the epoch
        self._batches = 0

    @property
    def score_scale(self) -> ScoreScale:
        """The score; it has no baseline."""
        return ScoreScale(LoggedScore(self.score, math.inf if self.mode == "max" else -math.inf))

    @property
    def curves(self) -> Curves:
        """The mean loss of the training batches and the score; NaN where it was not logged."""
        names: dict[Split, str] = {"train": keys.LOSS_TRAIN, "test": self.score}
        return {split: [epoch.get(name, math.nan) for epoch in self.epochs] for split, name in names.items()}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have what is logged by training steps stored by step again."""
        _set_epoch(trainer, None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss of a batch."""
        if (loss := returned_loss(outputs)) is not None:
            loss = loss.float().mean() * trainer.accumulate_grad_batches  # by which Lightning has divided it
            self._loss = loss if self._loss is None else self._loss + loss
            self._batches += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have what is logged by validation stored by epoch."""
        _set_epoch(trainer, trainer.current_epoch + 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have what is logged by training steps stored by step again."""
        _set_epoch(trainer, None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of the epoch, and look whether the score is among them."""
        epoch = {metric_name(name): float(value) for name, value in trainer.callback_metrics.items()}
        if not self.epochs:
            has_stopped = trainer.should_stop  # one that diverged may not have logged it: then the loss is the score
            with suppress(ConfigError) if has_stopped else nullcontext():
                self.score = choose_score(self.metric, epoch)
        epoch[keys.LOSS_TRAIN] = self._mean_loss(trainer)
        self.epochs.append(epoch)
        for logger in trainer.loggers:
            logger.log_metrics({keys.LOSS_TRAIN: epoch[keys.LOSS_TRAIN]}, step=trainer.current_epoch + 1)
        _set_epoch(trainer, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the loggers alone."""
        _set_epoch(trainer, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics of all epochs and the losses of the present one."""
        return {"score": self.score, "epochs": self.epochs, "loss": self._loss, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.score, self.epochs = state_dict["score"], state_dict["epochs"]
        self._loss, self._batches = state_dict["loss"], state_dict["batches"]

    def _mean_loss(self, trainer: Trainer) -> float:
        total, count = self._loss, self._batches
        self._loss, self._batches = None, 0
        mean = torch.tensor(math.nan) if total is None else total.cpu() / count
        return float(trainer.strategy.reduce(mean, reduce_op="mean"))


def choose_score(metric: str | None, logged: Iterable[str]) -> str:
    """Return the name of the metric that is the score.

    Args:
        metric: as it is set; None chooses one.
        logged: names of all that a module logs.

    Raises:
        ConfigError: there is no such metric, or several and none is set.

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
        raise ConfigError(f"metric: got null; the module logs {first_few(whole)}: name one of them, metric={whole[0]}")
    return keys.LOSS_TRAIN


def _set_epoch(trainer: Trainer, epoch: int | None) -> None:
    """Say which epoch has ended to what stores the metrics that Lightning logs."""
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.epoch = epoch
