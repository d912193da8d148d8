"""What rules may call is total, and right about days, ages and sexes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.functions import age_on, birth_of, day_of, part, sex_of


def test_a_citizen_number_tells_birth_and_sex() -> None:
    assert birth_of("11010519491231002X") == "1949-12-31"
    assert sex_of("11010519491231002X") == "2"
    assert sex_of("440524188001010014") == "1"
    assert (birth_of("1101051949"), sex_of("1101051949")) == ("", "")


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-01-01T15:59:59Z", "2026-01-01"),
        ("2026-01-01T16:00:00Z", "2026-01-02"),
        ("2026-01-01T23:30:00+08:00", "2026-01-01"),
        ("2026-01-01T23:30:00", ""),
        ("9999-12-31T23:30:00+00:00", ""),
        ("gestern", ""),
    ],
)
def test_a_moment_falls_on_its_day_in_china(moment: str, day: str) -> None:
    assert day_of(moment) == day


@pytest.mark.parametrize(
    ("born", "day", "age"),
    [
        ("2000-03-01", "2020-02-29", 19),
        ("2000-02-29", "2020-02-29", 20),
        ("2000-02-29", "2001-02-28", 0),
        ("2000-02-29", "2001-03-01", 1),
        ("2000-01-01", "1999-12-31", -1),
        ("2000-01-01", "1990-12-31", -1),
        ("", "2020-01-01", -1),
    ],
)
def test_age_is_in_full_years(born: str, day: str, age: int) -> None:
    assert age_on(born, day) == age


@given(st.text(), st.text(), st.integers(), st.integers())
def test_nothing_makes_a_function_raise(one: str, other: str, start: int, end: int) -> None:
    assert birth_of(one) is not None
    assert sex_of(one) in ("", "1", "2")
    assert day_of(one) is not None
    assert age_on(one, other) >= -1
    assert part(one, start, end) in one
