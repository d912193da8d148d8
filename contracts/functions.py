"""Functions that a contract's rules in CEL may call beside CEL's own."""

from collections.abc import Callable
from typing import Any


def birth_date(id_number: str) -> str:
    """The date of birth in a citizen number, ``1990-01-31``; empty when it is none."""
    digits = id_number[6:14]
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(id_number) == 18 else ""


def sex_of(id_number: str) -> str:
    """``1`` for a man's citizen number, ``2`` for a woman's by its 17th digit; empty when it is none."""
    digit = id_number[16:17]
    return ("2", "1")[int(digit) % 2] if len(id_number) == 18 and digit.isdecimal() else ""


FUNCTIONS: dict[str, Callable[..., Any]] = {"birth_date": birth_date, "sex_of": sex_of}
