"""Deadlines over the holidays as they were decreed."""

import datetime

import pytest

from agents.base.workdays import LAST_YEAR, Workdays, unknown

DAY = datetime.date


@pytest.mark.parametrize(
    ("received", "days", "due"),
    [
        # 国庆 and 中秋 2025: 1 to 8 October off, Sunday 28 September and Saturday 11 October worked.
        (DAY(2025, 9, 26), 1, DAY(2025, 9, 28)),
        (DAY(2025, 9, 30), 1, DAY(2025, 10, 9)),
        (DAY(2025, 9, 30), 3, DAY(2025, 10, 11)),
        (DAY(2025, 9, 30), 5, DAY(2025, 10, 14)),
        (DAY(2025, 10, 3), 5, DAY(2025, 10, 14)),
        # 春节 2025: 28 January to 4 February off, Sunday 26 January and Saturday 8 February worked.
        (DAY(2025, 1, 24), 1, DAY(2025, 1, 26)),
        (DAY(2025, 1, 27), 5, DAY(2025, 2, 10)),
        (DAY(2026, 3, 6), 5, DAY(2026, 3, 13)),
    ],
)
def test_a_deadline_leaves_out_holidays_and_counts_weekends_that_are_worked(
    received: datetime.date, days: int, due: datetime.date
) -> None:
    assert Workdays().after(received, days) == due


def test_an_office_may_have_other_days() -> None:
    monday = DAY(2026, 3, 9)
    mine = Workdays(off=[monday], worked=[DAY(2026, 3, 7)])
    assert mine.after(DAY(2026, 3, 6), 1) == DAY(2026, 3, 7)
    assert mine.after(DAY(2026, 3, 7), 1) == DAY(2026, 3, 10)


def test_in_a_year_nobody_has_decreed_yet_monday_to_friday_are_worked() -> None:
    new_year = DAY(LAST_YEAR + 1, 1, 1)
    assert unknown(new_year)
    assert not unknown(new_year - datetime.timedelta(days=1))
    assert [Workdays().works(new_year + datetime.timedelta(days=n)) for n in range(7)] == [
        (new_year + datetime.timedelta(days=n)).weekday() < 5 for n in range(7)
    ]
