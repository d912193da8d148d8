"""JSON Schema's plain values → shapes; see :mod:`contracts.export.json_schema_reader`."""

import re
from collections.abc import Mapping
from typing import Any

from contracts.compiled import decimal_pattern
from contracts.export.json_schema import BEYOND_TIME, DATE, DATE_TIME, LARGEST_DOUBLE
from contracts.formats import FORMATS
from contracts.model import WrongContract
from contracts.pattern import portable
from contracts.shape import Date, DateTime, Decimal, Integer, Number, Shape, String

Document = Mapping[str, Any]


def wrong(pointer: str, expected: str, found: Any) -> WrongContract:
    text = str(found)
    short = text if len(text) <= 120 else f"{text[:120]}…"
    return WrongContract(f"Expected {expected}, got {short} - at `{pointer}`")


def string(schema: Document, pointer: str) -> Shape:
    name, pattern = schema.get("format"), schema.get("pattern")
    least, most = length(schema, pointer, "minLength"), length(schema, pointer, "maxLength")
    plain = not least and most is None
    if name == "date" and plain and pattern in (None, DATE):
        return Date()
    if name == "date-time" and plain and pattern in (None, DATE_TIME):
        ours = {"type": "string", "pattern": BEYOND_TIME}
        if schema.get("not", ours) != ours:
            raise wrong(f"{pointer}/not", "no `not`: no shape can say it", schema["not"])
        return DateTime()
    if name == "decimal" and isinstance(pattern, str) and plain:
        found = _decimal(pattern)
        if found is None:
            raise wrong(f"{pointer}/pattern", "a pattern of digits and places", pattern)
        return found
    if name in ("date", "date-time"):
        raise wrong(f"{pointer}/format", f"`{name}` without another limit", dict(schema))
    return _text(schema, pointer, least, most)


def _text(schema: Document, pointer: str, least: int, most: int | None) -> Shape:
    name, pattern = schema.get("format"), schema.get("pattern")
    known = FORMATS.get(name) if isinstance(name, str) else None
    beside = schema.get("allOf")
    if beside is not None and (known is None or beside != [{"pattern": known.pattern}]):
        raise wrong(f"{pointer}/allOf", "no `allOf`: no shape can say it", beside)
    if known is not None and beside is None and pattern == known.pattern:
        pattern = None
    if pattern is not None:
        try:
            pattern = portable(str(pattern), most)
        except WrongContract as error:
            raise WrongContract(f"{error} - at `{pointer}/pattern`") from None
    unknown = schema.get("x-levelsync-format")
    return String(
        min_length=least,
        max_length=most,
        pattern=pattern,
        format=known.name if known else unknown if isinstance(unknown, str) else None,
    )


def integer(schema: Document, pointer: str) -> Shape:
    least = [
        -(2**63),
        *_whole(schema, pointer, "minimum"),
        *(each + 1 for each in _whole(schema, pointer, "exclusiveMinimum")),
    ]
    most = [
        2**63 - 1,
        *_whole(schema, pointer, "maximum"),
        *(each - 1 for each in _whole(schema, pointer, "exclusiveMaximum")),
    ]
    if max(least) > min(most):
        raise wrong(pointer, "a range with a number in it", f"{max(least)} to {min(most)}")
    return Integer(ge=max(least), le=min(most))


def number(schema: Document, pointer: str) -> Shape:
    limits = {
        name: _finite(schema, pointer, word)
        for name, word in (
            ("ge", "minimum"), ("gt", "exclusiveMinimum"),
            ("le", "maximum"), ("lt", "exclusiveMaximum"),
        )
    }  # fmt: skip
    if limits["ge"] == -LARGEST_DOUBLE:
        limits["ge"] = None
    if limits["le"] == LARGEST_DOUBLE:
        limits["le"] = None
    # Both may be given: the narrower counts.
    if limits["ge"] is not None and limits["gt"] is not None:
        limits["ge" if limits["gt"] >= limits["ge"] else "gt"] = None
    if limits["le"] is not None and limits["lt"] is not None:
        limits["le" if limits["lt"] <= limits["le"] else "lt"] = None
    return Number(ge=limits["ge"], gt=limits["gt"], le=limits["le"], lt=limits["lt"])


def _decimal(pattern: str) -> Decimal | None:
    found = re.fullmatch(
        r"\^(?P<sign>-\?)?(?:0|\(\?:0\|\[1-9\]\[0-9\]\{0,(?P<whole>\d{1,2})\}\))"
        r"(?:\(\?:\\\.\[0-9\]\{1,(?P<places>\d{1,2})\}\)\?)?\$",
        pattern,
    )
    if found is None:
        return None
    places = int(found["places"] or 0)
    whole = 0 if found["whole"] is None else int(found["whole"]) + 1
    shape = Decimal(digits=whole + places, places=places, positive=not found["sign"])
    return shape if decimal_pattern(shape) == pattern else None


def length(schema: Document, pointer: str, word: str) -> Any:
    value = schema.get(word)
    if value is None:
        return 0 if word == "minLength" else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value % 1:
        raise wrong(f"{pointer}/{word}", "a whole number from 0", repr(value))
    return int(value)


def _whole(schema: Document, pointer: str, word: str) -> list[int]:
    value = schema.get(word)
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise wrong(f"{pointer}/{word}", "a whole number", repr(value))
    return [int(value)]


def _finite(schema: Document, pointer: str, word: str) -> float | None:
    value = schema.get(word)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"{pointer}/{word}", "a number", repr(value))
    return float(value)
