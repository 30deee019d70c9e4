"""Metrics that a module logs at the end of an epoch are stored by epoch."""

import math
from typing import Any

from gradclip.tracking.logger import RunLogger


class Run:
    """A run that collects the points that are written to it."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []

    def write_points(self, points: Any) -> None:
        self.points += [(point.key, point.step, point.value) for point in points]


def test_metrics_logged_at_the_end_of_an_epoch_are_stored_by_epoch() -> None:
    run: Any = Run()
    logger = RunLogger(run)
    logger.log_metrics({"train_loss_step": 1.0, "epoch": 1}, step=49)  # as Lightning calls it
    logger.epoch = 2
    logger.log_metrics({"val_loss": 0.5, "epoch": 1}, step=49)
    logger.log_metrics({"grad/norm": 3.0}, step=50)  # as the monitor calls it
    logger.epoch = None
    logger.log_metrics({"accuracy (%)": 90.0, "val_loss": math.nan}, step=51)
    logger.save()
    assert run.points == [
        ("train_loss_step", 49, 1.0), ("val_loss", 2, 0.5), ("grad/norm", 50, 3.0), ("accuracy ___", 51, 90.0)
    ]  # fmt: skip
