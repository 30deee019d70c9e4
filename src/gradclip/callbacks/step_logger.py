"""Logging of a monitor's measurements to the Trainer's loggers, finite values only."""

import math
from collections.abc import Mapping

from pytorch_lightning import Trainer

from gradclip import keys
from gradclip.callbacks.trainer_checks import total_steps
from gradclip.telemetry.record import GradientRecord

MAX_PEAKS = 320  # points of a curve that MLflow's charts show


class StepLogger:
    """Log every step, and the largest norm of each window of steps.

    Args:
        prefix: prefix of the metric names.
        default_window: steps of a window if the number of steps in the training run is not known.

    Attributes:
        peak: the largest finite norm of the current window so far; -inf if there is none.
    """

    def __init__(self, prefix: str, default_window: int) -> None:
        self.peak = -math.inf
        self._prefix = prefix
        self._default_window = default_window

    def log(self, trainer: Trainer, block: GradientRecord) -> None:
        """Log each step of a block."""
        window = math.ceil(total_steps(trainer) / MAX_PEAKS) or self._default_window
        curves = {key: values.tolist() for key, values in block.metrics.items()}
        for row, step in enumerate(block.step.tolist()):
            metrics = {key: values[row] for key, values in curves.items()}
            self._log(trainer, metrics | self._peak_of_window(step, window, metrics[keys.GRAD_NORM]), step)

    def log_last_peak(self, trainer: Trainer) -> None:
        """Log the peak of the last, incomplete window."""
        self._log(trainer, {keys.GRAD_NORM_PEAK: self.peak}, trainer.global_step)

    def _log(self, trainer: Trainer, metrics: Mapping[str, float], step: int) -> None:
        finite = {self._prefix + key: value for key, value in metrics.items() if math.isfinite(value)}
        for logger in trainer.loggers if finite else ():
            logger.log_metrics(finite, step=step)

    def _peak_of_window(self, step: int, window: int, norm: float) -> dict[str, float]:
        """Return the largest finite norm of a window at its last step, and an empty dictionary at other steps."""
        self.peak = max(self.peak, norm) if math.isfinite(norm) else self.peak
        if step % window:
            return {}
        peak, self.peak = self.peak, -math.inf
        return {keys.GRAD_NORM_PEAK: peak}
