"""How long a store that fails may delay all writes to it."""

import time

from gradclip.errors import TrackingError


class RetryBudget:
    """Seconds for retries, shared by all writes to a store.

    A second in which the store failed is spent, and earned back with a second in which it delayed nothing. So a store
    that is gone, hangs, or takes some writes and not others delays hundreds of runs no longer than one.

    Args:
        seconds: the budget at first, which is never exceeded.

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
        """Seconds left; negative where the store has delayed longer than it may."""
        return self._left_at(time.monotonic())

    @property
    def is_full(self) -> bool:
        """Whether the store has not failed lately."""
        return self.left == self.seconds

    def spend(self, start: float, reason: TrackingError) -> None:
        """Subtract the seconds since ``start``, a time of ``time.monotonic()``."""
        now = time.monotonic()
        self._left, self._since, self._reason = self._left_at(start) - (now - start), now, reason

    def sleep(self, seconds: float) -> None:
        """Wait before another attempt."""
        start = time.monotonic()
        time.sleep(seconds)
        self.spend(start, self._reason)

    def check(self) -> None:
        """Refuse another attempt where the budget is exceeded.

        Raises:
            TrackingError: the last failure.
        """
        if self.left < 0:
            raise self._reason

    def _left_at(self, moment: float) -> float:
        return min(self.seconds, self._left + max(0.0, moment - self._since))
