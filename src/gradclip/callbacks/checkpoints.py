"""The callback that saves the state of a training run at intervals and before a stop."""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from gradclip.callbacks.interruption import Interruption

MAX_SAVING_FRACTION = 0.05  # largest fraction of the training time to spend on checkpoints
log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """Save checkpoints between optimizer steps: at intervals, and before a requested stop.

    As a ``Checkpoint``, it runs after all other callbacks. If one of several training processes has to save or stop,
    all of them do.

    Args:
        folder: folder for the checkpoint files, each named by its optimizer step; None saves none.
        interval: seconds between two checkpoints; None saves only before a stop.
        interruption: records requests to stop.

    Attributes:
        on_saved: called with the path of each checkpoint after it is written; by default a no-op.

    Raises:
        Interrupted: from within ``Trainer.fit``, if a stop was requested.
    """

    def __init__(self, folder: Path | None, interval: float | None, interruption: Interruption) -> None:
        self.folder, self.interval, self.interruption = folder, interval, interruption
        self.on_saved: Callable[[Path], None] = lambda _: None
        self._is_failing = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the interval, and restore the loader's state.

        If a learning-rate schedule reads the number of steps, Lightning creates the loader before it restores the
        loader's state. Without this call, a resumed run would then start with the wrong batch.
        """
        trainer.fit_loop._load_combined_loader_states()
        self._next_save = time.monotonic() + (self.interval or 0.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch if this batch ended a step; after the last batch, validation runs first.

        A loader without a state would restart the epoch on resume. In that case, checkpoints are saved only between
        epochs.
        """
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            loaders = trainer.fit_loop._combined_loader.flattened  # type: ignore[union-attr]
            self._save_if_due(trainer, can_resume=all(hasattr(loader, "state_dict") for loader in loaders))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save between two epochs: Lightning has not yet stepped the schedulers or logged the metrics when one ends.

        If a run is resumed here, the loader is restarted: Lightning started it before the random state of the
        checkpoint, which determines the order of the batches, was restored.
        """
        fit_loop = trainer.fit_loop
        if fit_loop.is_resuming:
            assert fit_loop._data_fetcher is not None
            iter(fit_loop._data_fetcher)
        elif trainer.current_epoch > 0:
            _change_epochs_begun(trainer, -1)  # the checkpoint belongs to the epoch that has just ended
            try:
                self._save_if_due(trainer)
            finally:
                _change_epochs_begun(trainer, 1)

    def _save_if_due(self, trainer: Trainer, can_resume: bool = True) -> None:
        stop = self.interruption.is_requested()
        due = self.interval is not None and time.monotonic() >= self._next_save
        if trainer.should_stop or not _in_any_process(trainer, stop or due):
            return
        if self.folder is not None and can_resume:
            self._save(trainer, self.folder / f"step-{trainer.global_step}.ckpt")
        if _in_any_process(trainer, stop):
            # without a signal here, another process was asked to stop
            self.interruption.signal = self.interruption.signal or int(signal.SIGTERM)
            self.interruption.check()

    def _save(self, trainer: Trainer, path: Path) -> None:
        start = time.monotonic()
        try:
            trainer.save_checkpoint(path)
        except OSError as error:
            with suppress(OSError):  # such as a read-only disk
                path.unlink(missing_ok=True)
            if not self._is_failing:  # report a full disk once, not at every checkpoint
                log.error(f"{path}: the checkpoint could not be written: {error}; training continues")
            self._is_failing = True
        else:
            self._is_failing = False
            for logger in trainer.loggers:
                logger.save()  # metrics logged before the checkpoint must not stay in a buffer
            self.on_saved(path)
        duration = time.monotonic() - start
        self._next_save = start + max(self.interval or 0.0, duration / MAX_SAVING_FRACTION)


def _change_epochs_begun(trainer: Trainer, by: int) -> None:
    progress = trainer.fit_loop.epoch_progress
    progress.total.ready += by
    progress.current.ready += by


def _in_any_process(trainer: Trainer, condition: bool) -> bool:
    """Return whether the condition is true in any training process."""
    return trainer.strategy.reduce_boolean_decision(condition, all=False) if trainer.world_size > 1 else condition
