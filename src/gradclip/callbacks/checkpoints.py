"""The whole state of a training, written now and then."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from gradclip.callbacks.interruption import Interruption

LARGEST_SHARE = 0.05  # of the time that may go into checkpoints
log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """Save training between two optimizer steps: every so often, and before it is stopped.

    Lightning runs such callbacks after all others. What each process of several does, all do.

    Args:
        folder: where to; a file for each, named by its step. None saves nothing.
        every: seconds between two of them; None saves only where training is stopped.
        interruption: says whether training is to be stopped.

    Attributes:
        keep: what is done with a file that was written; nothing, unless it is set.

    Raises:
        Interrupted: in training, where it was stopped.
    """

    def __init__(self, folder: Path | None, every: float | None, interruption: Interruption) -> None:
        self.folder, self.every, self.interruption = folder, every, interruption
        self.keep: Callable[[Path], None] = lambda _: None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to wait; see to it that the loader goes on with the right batch.

        A schedule that asks for the number of steps has Lightning make the loader before it reads the loader's state.
        """
        trainer.fit_loop._load_combined_loader_states()
        self._due = time.monotonic() + (self.every or 0.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch, where this batch ended a step; after the last one validation comes first."""
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save between two epochs."""
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        stop = self.interruption.is_wanted()
        due = self.every is not None and time.monotonic() >= self._due
        if trainer.should_stop or not _any_process(trainer, stop or due):
            return
        if self.folder is not None:
            self._save(trainer, self.folder / f"step-{trainer.global_step}.ckpt")
        if _any_process(trainer, stop):
            self.interruption.signal = self.interruption.signal or 15
            self.interruption.check()

    def _save(self, trainer: Trainer, path: Path) -> None:
        start = time.monotonic()
        try:
            trainer.save_checkpoint(path)
        except OSError as error:
            log.error(f"{path}: the checkpoint could not be written: {error}; training goes on")
        else:
            for logger in trainer.loggers:
                logger.save()  # no point that the checkpoint has behind it may still wait here
            self.keep(path)
        took = time.monotonic() - start
        self._due = start + max(self.every or 0.0, took / LARGEST_SHARE)


def _any_process(trainer: Trainer, here: bool) -> bool:
    """Whether it is so in any of the processes that train together."""
    return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here
