"""Functions that a contract's rules in CEL may call beside CEL's own.

They are total: whatever text or number they are given, they answer and do not raise, since a rule that
fails is a record refused. No field of a contract may bear the name of a function its rules call.
"""

import datetime
from collections.abc import Callable
from typing import Any

#: All of China keeps one time.
CHINA = datetime.timezone(datetime.timedelta(hours=8))


def birth_of(id_number: str) -> str:
    """The date of birth in a citizen number, ``1990-01-31``; empty when it is none."""
    if len(id_number) < 18:
        return ""
    return f"{id_number[6:10]}-{id_number[10:12]}-{id_number[12:14]}"


def sex_of(id_number: str) -> str:
    """``1`` for a man's citizen number, ``2`` for a woman's by its 17th digit; empty when it is none."""
    digit = id_number[16:17]
    return "21"[int(digit) % 2] if len(id_number) >= 18 and digit.isdecimal() else ""


def part(text: str, start: int, end: int) -> str:
    """The characters of ``text`` from ``start``, counted from 0, up to but without ``end``."""
    return text[start:end] if 0 <= start <= end else ""


def day_of(moment: str) -> str:
    """The day a moment falls on in China: ``2026-01-01T23:00:00Z`` → ``2026-01-02``; empty when it is
    none or has no offset."""
    try:
        found = datetime.datetime.fromisoformat(moment)
        return "" if found.tzinfo is None else found.astimezone(CHINA).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def age_on(born: str, day: str) -> int:
    """Full years from one date to another; -1 when either is none or ``day`` is earlier."""
    try:
        years = int(day[:4]) - int(born[:4]) - (day[4:] < born[4:])
    except ValueError:
        return -1
    return max(years, -1)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    found.__name__: found for found in (birth_of, sex_of, part, day_of, age_on)
}
