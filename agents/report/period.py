"""Days in China, and the seconds they are made of."""

import datetime

from agents.base.config import CHINA

#: Days looked at where none are named, and at most.
USUAL, MOST = 30, 400


class WrongPeriod(ValueError):
    """Days that cannot be; the text says what was expected."""


class Period:
    """From the first day's beginning to the last day's end; ``until`` is now where that is not over yet.

    Both are seconds since 1970 UTC.
    """

    def __init__(self, first: datetime.date, last: datetime.date, now: float) -> None:
        self.first, self.last = first, last
        self.since = midnight(first)
        self.until = min(midnight(last + datetime.timedelta(days=1)), now)

    @classmethod
    def parsed(cls, first: str, last: str, now: float) -> "Period":
        """From what somebody wrote, empty for the last 30 days. Raises WrongPeriod."""
        today = day_of(now)
        try:
            end = datetime.date.fromisoformat(last) if last else today
            begin = (
                datetime.date.fromisoformat(first)
                if first
                else end - datetime.timedelta(days=USUAL - 1)
            )
        except ValueError:
            raise WrongPeriod(
                f"Expected --from and --to as days such as 2026-11-01, got {first or last}"
            ) from None
        if begin > end:
            raise WrongPeriod(f"Expected --from on or before --to, got {begin} and {end}")
        if begin > today:
            raise WrongPeriod(f"Expected a day that has begun, got --from {begin}")
        if (end - begin).days >= MOST:
            raise WrongPeriod(f"Expected at most {MOST} days, since no more are kept")
        return cls(begin, end, now)

    @property
    def days(self) -> list[datetime.date]:
        """Those that have begun."""
        count = (self.last - self.first).days + 1
        all_ = [self.first + datetime.timedelta(days=n) for n in range(count)]
        return [day for day in all_ if midnight(day) < self.until]

    def seconds(self, day: datetime.date) -> int:
        """How many of ``day`` have passed."""
        return round(min(self.until, midnight(day + datetime.timedelta(days=1))) - midnight(day))


def midnight(day: datetime.date) -> float:
    """When ``day`` begins in China, seconds since 1970 UTC."""
    return datetime.datetime.combine(day, datetime.time(), CHINA).timestamp()


def day_of(moment: float) -> datetime.date:
    """The day it is in China at ``moment``, seconds since 1970 UTC."""
    return datetime.datetime.fromtimestamp(moment, CHINA).date()
