"""Texts → the shape they have in common: formats by their check digit, days and moments in whatever
style, numbers, codes. Pure; a question never repeats a value, since it may be somebody's.
"""

import datetime
import functools
import itertools
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from contracts import codes
from contracts.codes import CodeTable
from contracts.divisions import divisions
from contracts.draft.names import Known
from contracts.formats import FORMATS, Format
from contracts.pattern import python_form
from contracts.shape import Boolean, Date, DateTime, Decimal, Enum, Integer, Shape, String
from contracts.text import Text

#: A column with at most so many different values may be a closed set, given so many rows a value.
MOST_CODES, ROWS_A_CODE = 12, 5

DIVISION = "division-code"
MOBILE = "^1[3-9][0-9]{9}$"


class Guess(msgspec.Struct, frozen=True):
    """A shape, not nullable, and what is open about it."""

    shape: Shape
    questions: tuple[str, ...] = ()


def guess_text(values: list[str], about: Known | None, *, live: bool) -> Guess:
    """The shape of texts; ``values`` has at least one."""
    kind = about.kind if about else ""
    for attempt in (_format, _phone, _moment, _day, _number):
        found = attempt(values, kind, live)
        if found is not None:
            return found
    return _closed(values, kind, live) or _free(values)


def looks_like_divisions(values: Iterable[Any]) -> bool:
    """Are these codes of divisions that there are?"""
    found = [value for value in values if value is not None]
    return bool(found) and all(
        isinstance(value, str) and _matches(FORMATS[DIVISION].pattern, value) and _is_there(value)
        for value in found
    )


def _is_there(code: str) -> bool:
    # The register ends with the townships, and offices have townships of their own.
    return code.rstrip("0").ljust(2, "0")[:6] in _counties() or code[:6] in _counties()


@functools.cache
def _counties() -> frozenset[str]:
    return frozenset(found.code for found in divisions() if len(found.code) <= 6)


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(python_form(pattern))


def _format(values: list[str], kind: str, live: bool) -> Guess | None:
    different = dict.fromkeys(values)
    if kind == "division" and all(_matches(FORMATS[DIVISION].pattern, x) for x in different):
        return Guess(String(format=DIVISION))
    for found in FORMATS.values():
        if found.name == DIVISION:
            continue
        named = bool(kind) and kind in found.name.split("-")
        # Most columns are no such thing, as the first values already show.
        first = list(itertools.islice(different, 40))
        if not named and sum(_is(found, value) for value in first) < len(first) / 2:
            continue
        right = sum(_is(found, value) for value in different)
        if named and right < len(different) * 0.8:
            return _unlike(found, values, len(different) - right, len(different))
        if right < len(different) * 0.8 or not right:
            continue
        if not (named or (len(different) > 2 and _has_check(found, different))):
            continue
        wrong = len(different) - right
        said = () if not wrong else (_wrong(found, wrong, len(different)),)
        return Guess(String(format=found.name), said)
    if looks_like_divisions(different) and len(different) > 1:
        return Guess(String(format=DIVISION))
    return None


def _wrong(found: Format, wrong: int, of: int) -> str:
    return (
        f"{wrong} of {of} values are no {_called(found)}: they would become dead"
        " letters; is the format right?"
    )


def _called(found: Format) -> str:
    return f"{found.title.en} by {found.standard}" if found.standard else found.title.en


def _unlike(found: Format, values: list[str], wrong: int, of: int) -> Guess:
    said = f"{wrong} of {of} values are no {_called(found)}: what are they?"
    return Guess(String(min_length=1, max_length=max(_room(values), 20)), (said,))


def _is(found: Format, value: str) -> bool:
    return _matches(found.pattern, value) and found.fault(value) is None


def _has_check(found: Format, values: Iterable[str]) -> bool:
    """Would another last character be wrong? Else the format says too little to be believed."""
    right = [value for value in values if _is(found, value)]
    changed = [
        value[:-1] + other for value in right for other in "0123456789" if other != value[-1]
    ]
    return sum(not _is(found, value) for value in changed) > len(changed) * 0.7


def _phone(values: list[str], kind: str, live: bool) -> Guess | None:
    if all(re.fullmatch(r"1[3-9]\d{9}", value, re.ASCII) for value in values):
        return Guess(String(pattern=MOBILE, max_length=11))
    return None


_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|z|[+-]\d\d(:?\d\d)?)?", re.ASCII
)
_OTHER_MOMENT = re.compile(
    r"\d{4}([-/.])\d{1,2}\1\d{1,2}[T ]\d{1,2}:\d\d(:\d\d(\.\d+)?)?", re.ASCII
)


def _moment(values: list[str], kind: str, live: bool) -> Guess | None:
    found = [_MOMENT.fullmatch(value) for value in values]
    if all(found) and all(_is_moment(value) for value in values):
        if all(each and each[3] for each in found):
            return Guess(DateTime())
        said = (
            "times without their offset from UTC: a contract's time reads 2026-11-25T08:00:00+08:00"
        )
        return _told(DateTime(), said, values, live)
    if all(found) or all(_OTHER_MOMENT.fullmatch(value) for value in values):
        said = "times written otherwise: a contract's time reads 2026-11-25T08:00:00+08:00"
        return _told(DateTime(), said, values, live)
    return None


def _is_moment(value: str) -> bool:
    try:
        msgspec.convert(value.replace(" ", "T"), datetime.datetime, strict=False)
    except msgspec.ValidationError:
        return False
    return True


def _told(shape: Shape, question: str, values: list[str], live: bool) -> Guess:
    """What a file writes in another way the source should give right; what a table holds comes so."""
    if live:
        way = "; until a view or another column type gives it so, it is text"
        return Guess(_free(values).shape, (question + way,))
    return Guess(shape, (question + "; the source must give it so",))


_DAYS: tuple[tuple[str, str, bool], ...] = (
    (r"(\d{4})-(\d\d)-(\d\d)", "", False),
    (r"(\d{4})-(\d{1,2})-(\d{1,2})", "days without leading zeros", False),
    (r"(\d{4})/(\d{1,2})/(\d{1,2})", "days with slashes", False),
    (r"(\d{4})\.(\d{1,2})\.(\d{1,2})", "days with dots", False),
    (r"(\d{4})年(\d{1,2})月(\d{1,2})日", "days in Chinese", False),
    (r"(\d{4})(\d\d)(\d\d)", "days of eight digits", True),
    (r"()(\d{1,2})[-/.](\d{1,2})[-/.]\d{4}", "days with the year at the end", True),
)


def _day(values: list[str], kind: str, live: bool) -> Guess | None:
    styles = set()
    for value in values:
        style = next(
            (
                style
                for pattern, style, doubtful in _DAYS
                if (not doubtful or kind in ("date", "birth") or "/" in value)
                and (found := re.fullmatch(pattern, value, re.ASCII))
                and _is_day(found[1], found[2], found[3])
            ),
            None,
        )
        if style is None:
            return None
        styles.add(style)
    if styles == {""}:
        return Guess(Date())
    if len(styles) > 1:
        told = "days in several styles"
    else:
        (told,) = styles
        if "year at the end" in told:
            told += ": is the first number the day or the month"
    return _told(Date(), f"{told}: a contract's day reads 2026-11-25", values, live)


def _is_day(year: str, month: str, day: str) -> bool:
    try:
        datetime.date(int(year or 2000), int(month), int(day))
    except ValueError:
        # The year at the end: perhaps the day stands first.
        return not year and 1 <= int(day) <= 12 and 1 <= int(month) <= 31
    return not year or 1850 <= int(year) <= 2200


_WHOLE = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_EXACT = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_LOOSE = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d+)?%?", re.ASCII)
_CODES = frozenset(
    {
        "key", "code", "document", "phone", "account", "citizen", "credit", "division", "plate",
        "sex", "nationality",
    }
)  # fmt: skip


def _number(values: list[str], kind: str, live: bool) -> Guess | None:
    if kind in _CODES:
        return None
    if all(_WHOLE.fullmatch(value) for value in values):
        lengths = {len(value) for value in values}
        # Digits of one length, and not few, are a number for people: a code.
        if max(lengths) > 15 or (
            lengths == {max(lengths)} and max(lengths) > 5 and len(values) > 2
        ):
            return _free(values)
        return Guess(Integer())
    if all(_EXACT.fullmatch(value) for value in values):
        whole = max(len(value.lstrip("-").partition(".")[0]) for value in values)
        places = max(len(value.partition(".")[2]) for value in values)
        if whole + 4 + places > 38:
            return None
        shape = Decimal(digits=whole + 4 + places, places=places)
        unit = "which unit, and can it be below zero?"
        return Guess(shape, (unit,))
    if all(value and _LOOSE.fullmatch(value) for value in values):
        if all(re.fullmatch(r"\d+", value, re.ASCII) for value in values):
            return None  # leading zeros: codes
        said = "numbers written otherwise: a contract's number reads -1234.50"
        return _told(Decimal(digits=18, places=4), said, values, live)
    return None


_TABLES = {
    "sex": "SEX",
    "nationality": "NATIONALITY",
}


def _closed(values: list[str], kind: str, live: bool) -> Guess | None:
    """A closed set of values, if there are few for many rows."""
    different = sorted(set(values))
    table = getattr(codes, _TABLES.get(kind, ""), None)
    if isinstance(table, CodeTable) and set(different) <= table.codes.keys():
        return Guess(Enum(values=tuple(table.codes), standard=table.standard, labels=table.codes))
    if kind in ("name", "address", "phone", "key", "email", "citizen", "document", "account"):
        return None
    few = len(different) <= MOST_CODES and len(values) >= len(different) * ROWS_A_CODE
    if not few or any(not 0 < len(value) <= 30 for value in different):
        return None
    if any(re.search(r"\d{6}", value) for value in different):
        return None
    if len(different) == 1:
        return None
    said = "are these all the values there can be, and what does each mean?"
    if {value.lower() for value in different} <= {"true", "false"}:
        return Guess(Boolean())
    labels = {value: Text(value, value) for value in different if not value.isascii()}
    return Guess(Enum(values=tuple(different), labels=labels), (said,))


_ROOM = (4, 10, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 4_000, 10_000, 100_000)


def _free(values: list[str]) -> Guess:
    """Any text, with headroom; codes of digits keep their length."""
    longest, least = max(map(len, values)), min(map(len, values))
    if longest == least and longest > 1 and all(re.fullmatch(r"\d+", x, re.ASCII) for x in values):
        said = f"always {longest} digits, and a code rather than a number?"
        return Guess(String(pattern=f"^[0-9]{{{longest}}}$", max_length=longest), (said,))
    return Guess(String(min_length=1 if least else 0, max_length=_room(values)))


def _room(values: list[str]) -> int:
    """Twice the longest, rounded; few values say little."""
    wanted = max(2 * max(map(len, values)), 50 if len(values) < 100 else 0)
    return next((room for room in _ROOM if room >= wanted), wanted)
