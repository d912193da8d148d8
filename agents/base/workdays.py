"""Working days in China: holidays, and weekends that are worked for them, as they are decreed."""

import datetime
from collections.abc import Collection

import chinese_calendar  # type: ignore[import-untyped]

#: The last year whose holidays the calendar knows; they are decreed each autumn for the year after.
LAST_YEAR: int = max(day.year for day in chinese_calendar.holidays)


class Workdays:
    """Which days are worked; ``off`` and ``worked`` are those that are otherwise here than in the
    national calendar."""

    def __init__(
        self, off: Collection[datetime.date] = (), worked: Collection[datetime.date] = ()
    ) -> None:
        self._off, self._worked = frozenset(off), frozenset(worked)

    def works(self, day: datetime.date) -> bool:
        """Is ``day`` worked? In a year of which the calendar knows nothing Monday to Friday are."""
        if day in self._off or day in self._worked:
            return day in self._worked
        try:
            return bool(chinese_calendar.is_workday(day))
        except NotImplementedError:
            return day.weekday() < 5

    def after(self, day: datetime.date, count: int) -> datetime.date:
        """The ``count``-th working day after ``day``."""
        while count > 0:
            day += datetime.timedelta(days=1)
            count -= self.works(day)
        return day


def unknown(day: datetime.date) -> bool:
    """Does the calendar know nothing of the year of ``day`` yet?"""
    return day.year > LAST_YEAR
