"""The Lightning logger in front of a tracked run."""

import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from gradclip.tracking.records import Point, now
from gradclip.tracking.run import TrackedRun

BLOCK = 990  # points sent together; with those of one more step still no more than MLflow takes in one call
LONGEST_WAIT = 2.0  # seconds until a block that is not full is sent too, so that the pages follow a slow run


class RunLogger(Logger):
    """Collect metrics and hand them to a tracked run in blocks.

    Args:
        run: the run to write to; only the first of several processes has one.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self.run = run
        self._points: list[Point] = []
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
        """Add points; send a block when it is full or has waited long enough."""
        timestamp = now()
        self._points += [Point(key, float(value), timestamp, step or 0) for key, value in metrics.items()]
        if len(self._points) >= BLOCK or time.monotonic() - self._last_sent > LONGEST_WAIT:
            self.save()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the whole resolved config is written when the run is created."""

    def save(self) -> None:
        """Send what has been collected."""
        self.run.write_points(self._points)
        self._points = []
        self._last_sent = time.monotonic()

    def finalize(self, status: str) -> None:
        """Send the last points."""
        self.save()
