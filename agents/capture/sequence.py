"""An order for changes that come from a source without a log of its own: that of their arrival."""

import time
from collections.abc import Callable, Iterable


class Arrivals:
    """Numbers what arrives, each greater than any before: microseconds since 1970 UTC, or one more
    than the last where the clock has not moved, or has gone back.

    ``after`` are numbers that were given before a restart.
    """

    def __init__(
        self, after: Iterable[int] = (), now: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self.last = max(after, default=0)
        self._now = now

    def next(self) -> str:
        """The next number as text of a fixed length, so that text sorts as numbers do."""
        self.last = max(self._now(), self.last + 1)
        return f"{self.last:020d}"

    def past(self, number: int) -> None:
        """Nothing from here on is at or below ``number``."""
        self.last = max(self.last, number)
