"""Two shapes of one field: what either side writes and the other refuses.

Writers write every field in the canonical form (:mod:`contracts.check`), so a shape is here the set of
JSON values it stands for, and to be compatible is to contain. Where containment cannot be told, as with
two patterns, neither is taken to contain the other.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from contracts.compiled import decimal_pattern
from contracts.evolution.findings import Finding, found, said
from contracts.formats import FORMATS
from contracts.pattern import python_form
from contracts.shape import (
    Array,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)

#: Whole numbers up to here are exact in an IEEE 754 double, and so mean the same as ``number``.
EXACT = 2**53
#: Characters of the shortest and the longest moment as written: ``2026-11-25T08:00:00Z``, and with
#: microseconds and an offset.
_MOMENT = (20, 32)

Fields = tuple[Field, ...]
#: How the fields of two records are compared; given, since records hold shapes and shapes records.
FieldsCompared = Callable[[Fields, Fields, str], Iterator[Finding]]


def shapes_compared(
    old: Shape, new: Shape, path: str, fields_compared: FieldsCompared
) -> Iterator[Finding]:
    """What changed from ``old`` to ``new`` in the field at ``path``."""
    if new.nullable and not old.nullable:
        yield found("null-allowed", path, False, True)
    if old.nullable and not new.nullable:
        yield found("null-refused", path, True, False)
    match old, new:
        case String(), String():
            yield from _lengths(old, new, path)
            yield from _named("pattern", old.pattern, new.pattern, path)
            yield from _named("format", old.format, new.format, path)
        case Integer() | Number(), Integer() | Number() if type(old) is type(new):
            yield from _contained("range", old, new, path, _within_range, _range)
        case Decimal(), Decimal():
            yield from _contained("range", old, new, path, _within_digits, _digits)
        case Enum(), Enum():
            yield from _codes(old, new, path)
        case Array(), Array():
            yield from _lengths(old, new, path)
            yield from shapes_compared(old.items, new.items, f"{path}[]", fields_compared)
        case Map(), Map():
            yield from _lengths(old, new, path)
            yield from shapes_compared(old.values, new.values, f"{path}{{}}", fields_compared)
        case Object(), Object():
            yield from fields_compared(old.fields, new.fields, path)
        case _ if type(old) is not type(new):
            yield _kinds(old, new, path)


def kind(shape: Shape) -> str:
    """``string``, ``decimal`` …: the name of a shape."""
    return type(shape).__name__.lower()


def _named(what: str, old: str | None, new: str | None, path: str) -> Iterator[Finding]:
    if old != new:
        change = "added" if old is None else "removed" if new is None else "changed"
        yield found(f"{what}-{change}", path, old, new)


# ---- limits ---------------------------------------------------------------------------------


def _contained(
    what: str,
    old: Any,
    new: Any,
    path: str,
    within: Callable[[Any, Any], bool],
    told: Callable[[Any], str],
) -> Iterator[Finding]:
    if not within(old, new):
        yield found(f"{what}-tightened", path, told(old), told(new))
    if not within(new, old):
        yield found(f"{what}-loosened", path, told(old), told(new))


def _lengths(old: Any, new: Any, path: str) -> Iterator[Finding]:
    yield from _contained("length", _length(old), _length(new), path, _within_length, _to)


def _length(shape: String | Array | Map) -> tuple[int, int | None]:
    return (0 if isinstance(shape, Map) else shape.min_length), shape.max_length


def _within_length(inner: tuple[int, int | None], outer: tuple[int, int | None]) -> bool:
    most = outer[1] is None or (inner[1] is not None and inner[1] <= outer[1])
    return inner[0] >= outer[0] and most


def _to(length: tuple[int, int | None]) -> str:
    return f"{length[0]}…{'' if length[1] is None else length[1]}"


def _within_range(inner: Integer | Number, outer: Integer | Number) -> bool:
    """Ends are compared as (value, is it left out), so ``gt=1`` lies within ``ge=1``."""
    (least, most), (lowest, highest) = _ends(inner), _ends(outer)
    return least >= lowest and (most[0], -most[1]) <= (highest[0], -highest[1])


def _ends(shape: Integer | Number) -> tuple[tuple[float, bool], tuple[float, bool]]:
    if isinstance(shape, Integer):
        return (shape.ge, False), (shape.le, False)
    least = (shape.gt, True) if shape.gt is not None else (shape.ge, False)
    most = (shape.lt, True) if shape.lt is not None else (shape.le, False)
    return (
        (float("-inf") if least[0] is None else least[0], least[1]),
        (float("inf") if most[0] is None else most[0], most[1]),
    )


def _range(shape: Integer | Number) -> str:
    (least, above), (most, below) = _ends(shape)
    left, right = "(" if above else "[", ")" if below else "]"
    low = "" if least in (float("-inf"), -(2**63)) else f"{least}"
    high = "" if most in (float("inf"), 2**63 - 1) else f"{most}"
    return f"{left}{low}…{high}{right}"


def _within_digits(inner: Decimal, outer: Decimal) -> bool:
    """Digits before the point and behind it are limits of their own; 18.4 does not hold all of 18.2."""
    # One digit before the point is always written, and with none allowed it is 0.
    whole = inner.digits - inner.places <= outer.digits - outer.places
    return whole and inner.places <= outer.places and (inner.positive or not outer.positive)


def _digits(shape: Decimal) -> str:
    return f"decimal({shape.digits}, {shape.places}){' ≥ 0' if shape.positive else ''}"


# ---- codes ----------------------------------------------------------------------------------


def _codes(old: Enum, new: Enum, path: str) -> Iterator[Finding]:
    if added := sorted(set(new.values) - set(old.values)):
        yield found("enum-value-added", path, None, added)
    if removed := sorted(set(old.values) - set(new.values)):
        yield found("enum-value-removed", path, removed, None)
    if old.standard != new.standard:
        yield found("enum-standard-changed", path, old.standard, new.standard)
    for code in old.values:
        was, now = old.labels.get(code), new.labels.get(code)
        if code in new.values and was != now:
            rule = "enum-label-changed" if was and now else "words-changed"
            yield found(rule, f"{path}={code}", *said((was, now)))


# ---- kinds ----------------------------------------------------------------------------------


def _kinds(old: Shape, new: Shape, path: str) -> Finding:
    rule = "type-changed"
    if takes(new, old):
        rule = "type-widened"
    elif takes(old, new):
        rule = "type-narrowed"
    return found(rule, path, kind(old), kind(new))


def takes(reader: Shape, writer: Shape) -> bool:
    """Is every value of ``writer``, a shape of another kind, read by ``reader`` and the same to it?"""
    match reader, writer:
        case Number(), Integer():
            return writer.ge >= -EXACT and writer.le <= EXACT and _within_range(writer, reader)
        case String(), Enum():
            return all(_keeps(reader, value) for value in writer.values)
        case String(pattern=None, format=None), Date():
            return _within_length((10, 10), _length(reader))
        case String(pattern=None, format=None), DateTime():
            return _within_length(_MOMENT, _length(reader))
        case String(format=None), Decimal():
            whole = max(1, writer.digits - writer.places)
            longest = (not writer.positive) + whole + (writer.places and 1 + writer.places)
            return reader.pattern in (None, decimal_pattern(writer)) and _within_length(
                (1, longest), _length(reader)
            )
    return False


def _keeps(reader: String, text: str) -> bool:
    if not _within_length((len(text), len(text)), _length(reader)):
        return False
    if reader.pattern is not None and not _matches(reader.pattern, text):
        return False
    if reader.format is None:
        return True
    form = FORMATS.get(reader.format)
    return form is not None and form.fault(text) is None and _matches(form.pattern, text)


def _matches(pattern: str, text: str) -> bool:
    return re.search(python_form(pattern), text) is not None
