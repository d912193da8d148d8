"""The identifiers government records carry, and their check characters. Pure functions.

Citizen numbers follow GB 11643-1999; so do, with 81, 82 and 83 for the place, those on the residence
permits of Hong Kong, Macao and Taiwan residents, and with 9 in front, those on the permanent residence
cards that foreigners have been given since December 2023. Unified social credit codes follow GB
32100-2015, division codes GB/T 2260 with the statistics bureau's codes below the county, codes of real
estate units GB/T 37346-2019, numbers of disability certificates the Measures for the Administration of
Disability Certificates of 2017.
"""

import functools
from datetime import date

from contracts.model import Level

_CITIZEN_WEIGHTS = tuple(2**power % 11 for power in range(17, 0, -1))
_CITIZEN_CHECKS = "10X98765432"

#: The digits and letters of a credit code: no I, O, S, V, Z.
CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_VALUES = {character: value for value, character in enumerate(CREDIT_ALPHABET)}
_CREDIT_WEIGHTS = tuple(3**power % 31 for power in range(17))

_DISABILITIES, _GRADES = frozenset("1234567"), frozenset("1234")
_REISSUES = frozenset(("", *(f"B{time}" for time in range(1, 10))))

_LEVELS: dict[int, Level] = {
    2: "province",
    4: "city",
    6: "county",
    9: "township",
    12: "village",
}


def citizen_check(first: str) -> str:
    """The 18th character for the first 17 digits of a citizen number (ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(first, _CITIZEN_WEIGHTS, strict=True))
    return _CITIZEN_CHECKS[total % 11]


def citizen_fault(number: str) -> str | None:
    """The first rule an 18-character citizen number breaks: ``shape``, ``birth-date`` or
    ``check-digit``; None when it is right."""
    if len(number) != 18 or not number.isascii() or not number[:17].isdigit():
        return "shape"
    born = _birth_sum(number[6:14])
    if born < 0:
        return "birth-date"
    total = _area_sum(number[:6]) + born + _ORDER_SUMS[int(number[14:17])]
    return None if number[17] == _CITIZEN_CHECKS[total % 11] else "check-digit"


# The three parts of a number repeat from one to the next, so each is weighed once.


@functools.lru_cache(8192)
def _area_sum(digits: str) -> int:
    return _weighed(digits, 0)


@functools.lru_cache(65536)
def _birth_sum(digits: str) -> int:
    """Negative for a day that is none."""
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return -1
    return _weighed(digits, 6)


def _weighed(digits: str, start: int) -> int:
    weights = _CITIZEN_WEIGHTS[start : start + len(digits)]
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


_ORDER_SUMS = tuple(_weighed(f"{order:03}", 14) for order in range(1000))


def credit_check(first: str) -> str:
    """The 18th character for the first 17 of a unified social credit code.

    Raises KeyError for a character the alphabet does not have.
    """
    total = sum(
        _CREDIT_VALUES[character] * weight
        for character, weight in zip(first, _CREDIT_WEIGHTS, strict=True)
    )
    return CREDIT_ALPHABET[-total % 31]


def credit_fault(code: str) -> str | None:
    """The first rule a unified social credit code breaks: ``shape`` or ``check-character``."""
    if len(code) != 18 or not code[2:8].isdigit() or any(c not in _CREDIT_VALUES for c in code):
        return "shape"
    return None if code[17] == credit_check(code[:17]) else "check-character"


def disability_fault(number: str) -> str | None:
    """The first rule a disability certificate's number breaks: ``shape``, or one of the citizen number
    it begins with. After that come the disability (1 to 7), its grade (1 to 4) and, where it was issued
    again after a loss, ``B1``, ``B2`` …"""
    disability, grade, again = number[18:19], number[19:20], number[20:]
    if disability not in _DISABILITIES or grade not in _GRADES or again not in _REISSUES:
        return "shape"
    return citizen_fault(number[:18])


def level_of(code: str) -> Level:
    """The level a division code belongs to; ``0`` is the nation. Raises ValueError."""
    if code == "0":
        return "nation"
    if not code.isascii() or not code.isdigit() or len(code) not in _LEVELS:
        raise ValueError(f"Expected a division code of 2, 4, 6, 9 or 12 digits or 0, got {code!r}")
    return _LEVELS[len(code)]


def within(code: str, scope: str) -> bool:
    """Does the division ``code`` lie in ``scope``? The nation, ``0``, covers all."""
    return scope == "0" or code.startswith(scope)
