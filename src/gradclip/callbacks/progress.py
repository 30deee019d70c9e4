"""One progress bar for the whole training."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from gradclip.callbacks.trainer_checks import total_steps


class Progress(Callback):
    """Show one progress bar over all optimizer steps, with the latest validation metrics.

    Lightning's own progress bar restarts for each epoch and each evaluation. With a network as small as the tutorial's,
    it scrolls by too fast to read and takes longer than the training. Nothing is shown unless standard error is a
    terminal.

    Args:
        metrics: names of the metrics to show; those that are not logged are ignored.
    """

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self.metrics = metrics
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw an empty bar, on a terminal only."""
        self._bar = tqdm(total=total_steps(trainer) or None, desc="Training", unit=" steps", disable=None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar to the current optimizer step."""
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch and its metrics."""
        if self._bar is not None:
            values = trainer.callback_metrics
            latest = {name: f"{float(values[name]):.3g}" for name in self.metrics if name in values}
            self._bar.set_postfix({"epoch": trainer.current_epoch + 1, **latest}, refresh=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar, which stays on the screen."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, which stays on the screen."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
