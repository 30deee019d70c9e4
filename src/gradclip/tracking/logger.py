"""Lightning logger that writes to a tracked run."""

import math
import re
import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from gradclip import keys
from gradclip.tracking.records import Point, now
from gradclip.tracking.run import TrackedRun

EPOCH = "epoch"  # Lightning adds it to the metrics that a module logs
NOT_IN_A_NAME = re.compile(r"[^/\w.\- :]")  # characters that MLflow refuses in the name of a metric
BLOCK = 990  # points sent together; MLflow accepts 1,000 in one call, which leaves room for another step's
LONGEST_WAIT = 2.0  # seconds before an incomplete block is sent, so that the MLflow UI follows a slow run


def metric_name(name: str) -> str:
    """Replace the characters in the name of a metric that the store refuses.

    Example:
        >>> metric_name("val/accuracy (%)")
        'val/accuracy ___'
    """
    return NOT_IN_A_NAME.sub("_", name)


def is_stored(step: int, all_until: int | None) -> bool:
    """Return whether the points of a step are stored: all at first, then every 2nd, 4th, ... as their number doubles.

    Args:
        step: the step, from 0.
        all_until: the step up to which all steps are stored; None means that all are.

    Example:
        >>> [step for step in range(1, 40) if is_stored(step, all_until=8)]
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]
    """
    if all_until is None or step <= all_until:
        return True
    return step % (1 << ((step - 1) // all_until).bit_length()) == 0


class RunLogger(Logger):
    """Logger that sends metrics to a tracked run in blocks, and thins those of a long training run.

    Args:
        run: the run to write to; only the first of several processes has one.
        all_until: see :func:`is_stored`. Norm peaks, which are few, and each metric's last point are always stored.

    Attributes:
        epoch: the epoch that has ended, from 1: the step of metrics that a module logs. None uses Lightning's step.
    """

    def __init__(self, run: TrackedRun, all_until: int | None = None) -> None:
        super().__init__()
        self.run, self.all_until = run, all_until
        self.epoch: int | None = None
        self._points: list[Point] = []
        self._left_out: dict[str, Point] = {}  # the last point of each metric, unless it is stored
        self._last_sent = time.monotonic()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def version(self) -> str:
        """The run's id."""
        return self.run.run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add finite points; send a block when it is full or has waited long enough."""
        if self.epoch is not None and EPOCH in metrics:
            step = self.epoch
        timestamp, keep = now(), is_stored(step or 0, self.all_until)
        for key, value in metrics.items():
            if key == EPOCH or not math.isfinite(value):  # the MLflow UI hides a chart whose last point is NaN
                continue
            point = Point(metric_name(key), float(value), timestamp, step or 0)
            if keep or key == keys.GRAD_NORM_PEAK:
                self._points.append(point)
                self._left_out.pop(key, None)
            else:
                self._left_out[key] = point
        if len(self._points) >= BLOCK or time.monotonic() - self._last_sent > LONGEST_WAIT:
            self.save()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the whole resolved config is written when the run is created."""

    def save(self) -> None:
        """Send the collected points."""
        self.run.write_points(self._points)
        self._points = []
        self._last_sent = time.monotonic()

    def finalize(self, status: str) -> None:
        """Send all remaining points."""
        self._points += self._left_out.values()
        self._left_out = {}
        self.save()
