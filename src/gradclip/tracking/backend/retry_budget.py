"""Retry budget: how long a store that fails may delay all writes to it."""

import time

from gradclip.errors import TrackingError


class RetryBudget:
    """Seconds for retries, shared by all writes to a store.

    Each second in which the store fails is spent; each second without a delay earns one back. So a store that is gone,
    hangs, or accepts only some writes delays hundreds of runs no longer than one.

    Args:
        seconds: the initial budget, which is also its maximum.

    Example:
        >>> budget = RetryBudget(60.0)
        >>> budget.spend(time.monotonic() - 45.0, TrackingError("no answer"))
        >>> round(budget.left), budget.is_full
        (15, False)
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = self._left = seconds
        self._since = time.monotonic()
        self._reason = TrackingError()

    @property
    def left(self) -> float:
        """Seconds left; negative if the store has delayed writes longer than the budget allows."""
        return self._left_at(time.monotonic())

    @property
    def is_full(self) -> bool:
        """Whether the store has not failed recently."""
        return self.left == self.seconds

    def spend(self, start: float, reason: TrackingError) -> None:
        """Subtract the seconds since ``start``, a time of ``time.monotonic()``."""
        now = time.monotonic()
        self._left, self._since, self._reason = self._left_at(start) - (now - start), now, reason

    def check(self) -> None:
        """Raise the last failure if the budget is exceeded.

        Raises:
            TrackingError: the last failure.
        """
        if self.left < 0:
            raise self._reason

    def _left_at(self, moment: float) -> float:
        return min(self.seconds, self._left + max(0.0, moment - self._since))
