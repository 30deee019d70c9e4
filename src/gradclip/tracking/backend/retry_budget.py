"""How long a store that fails may hold up everything that is written to it."""

import time

from gradclip.errors import TrackingError


class RetryBudget:
    """Seconds to go on trying, of all writes to a store together.

    A second that a store failed is gone, and comes back with a second in which it held nothing up. So a store that is
    away, hangs, or takes some writes and not others costs hundreds of runs no more than one.

    Args:
        most: so many at first, and never more.

    Example:
        >>> patience = RetryBudget(60.0)
        >>> patience.spend(time.monotonic() - 45.0, TrackingError("no answer"))
        >>> round(patience.left), patience.is_whole
        (15, False)
    """

    def __init__(self, most: float) -> None:
        self.most = self._left = most
        self._since = time.monotonic()
        self._reason = TrackingError()

    @property
    def left(self) -> float:
        """Seconds left; less than none where the store held up longer than it may."""
        return self._left_at(time.monotonic())

    @property
    def is_whole(self) -> bool:
        """Whether the store has not failed lately."""
        return self.left == self.most

    def spend(self, start: float, reason: TrackingError) -> None:
        """Take away the seconds since a moment, for a reason."""
        now = time.monotonic()
        self._left, self._since, self._reason = self._left_at(start) - (now - start), now, reason

    def sleep(self, seconds: float) -> None:
        """Wait before another try."""
        start = time.monotonic()
        time.sleep(seconds)
        self.spend(start, self._reason)

    def check(self) -> None:
        """Leave a store alone that held up longer than it may.

        Raises:
            TrackingError: what it failed with then.
        """
        if self.left < 0:
            raise self._reason

    def _left_at(self, moment: float) -> float:
        return min(self.most, self._left + max(0.0, moment - self._since))
