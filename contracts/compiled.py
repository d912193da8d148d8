"""From shapes to what msgspec decodes, and to what is left to look at in a decoded value.

msgspec sees to types, lengths, ranges, codes and moments. Patterns are looked at afterwards: within the
decoder each costs five times as much.
"""

import datetime
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from contracts.formats import FORMATS, Format, shape_alone
from contracts.model import WrongContract
from contracts.pattern import python_form
from contracts.rejected import Rejected
from contracts.shape import (
    Array,
    Boolean,
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

#: Raises Rejected, whose path begins at the value.
Inspection = Callable[[Any], None]


def struct_of(name: str, fields: tuple[Field, ...], *, strict: bool) -> type[msgspec.Struct]:
    """A Struct with ``fields``; with ``strict`` it refuses all others. Raises WrongContract."""
    made: list[Any] = []
    for field in fields:
        kind = _type(field.shape, f"{name}_{field.name}", strict=strict)
        if field.required:
            made.append((field.name, kind))
        else:
            made.append((field.name, kind, _default(field, kind)))
    return msgspec.defstruct(name, made, kw_only=True, forbid_unknown_fields=strict)


def _default(field: Field, kind: Any) -> Any:
    try:
        value = msgspec.convert(field.default, kind)
        if value is not None and (inspection := inspection_of(field.shape)):
            inspection(value)
    except (msgspec.ValidationError, Rejected) as error:
        raise WrongContract(f"{error} - as the default of `{field.name}`") from None
    if isinstance(value, list | dict | msgspec.Struct):
        raw = msgspec.json.encode(field.default)
        return msgspec.field(default_factory=lambda: msgspec.json.decode(raw, type=kind))
    return value


def _type(shape: Shape, name: str, *, strict: bool) -> Any:
    kind: Any
    match shape:
        case String():
            kind = _limited(str, min_length=shape.min_length or None, max_length=shape.max_length)
        case Integer():
            kind = _limited(int, ge=shape.ge, le=shape.le)
        case Number():
            kind = _limited(float, ge=shape.ge, gt=shape.gt, le=shape.le, lt=shape.lt)
        case Decimal():
            kind = str
        case Boolean():
            kind = bool
        case Date():
            kind = datetime.date
        case DateTime():
            kind = _limited(datetime.datetime, tz=True)
        case Enum():
            kind = Literal[shape.values]
        case Array():
            kind = _limited(
                list[_type(shape.items, name, strict=strict)],  # type: ignore[misc]
                min_length=shape.min_length or None,
                max_length=shape.max_length,
            )
        case Map():
            kind = _limited(
                dict[str, _type(shape.values, name, strict=strict)],  # type: ignore[misc]
                max_length=shape.max_length,
            )
        case Object():
            kind = struct_of(name, shape.fields, strict=strict)
    return kind | None if shape.nullable else kind


def _limited(kind: Any, **limits: Any) -> Any:
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return Annotated[kind, msgspec.Meta(**given)] if given else kind


def decimal_pattern(shape: Decimal) -> str:
    """The portable pattern of a decimal's text."""
    whole, places = shape.digits - shape.places, shape.places
    sign = "" if shape.positive else "-?"
    integer = f"(?:0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0"
    fraction = f"(?:\\.[0-9]{{1,{places}}})?" if places else ""
    return f"^{sign}{integer}{fraction}$"


# ---- what is left to look at ----------------------------------------------------------------


class Match:
    """A text must match a pattern. ``search`` alone is for the path on which everything does."""

    def __init__(self, pattern: str, rule: str, expected: str) -> None:
        self.search = re.compile(python_form(pattern)).search
        self._rule, self._expected = rule, expected

    def __call__(self, value: str) -> None:
        """Raises Rejected when it does not."""
        if self.search(value) is None:
            raise Rejected("", self._rule, self._expected)


def inspections_of(shape: Shape) -> list[Inspection]:
    """What is left to look at in a value of ``shape``, in this order; patterns are :class:`Match`."""
    match shape:
        case String():
            return [*_patterns(shape), *_faults(shape)]
        case Number():
            return [_finite]
        case Decimal():
            sign = "positive " if shape.positive else ""
            expected = (
                f"Expected a {sign}decimal of at most {shape.digits} digits,"
                f" {shape.places} of them behind the point"
            )
            return [Match(decimal_pattern(shape), "decimal", expected)]
        case Array() if inner := inspection_of(shape.items):
            return [_each(inner)]
        case Map() if inner := inspection_of(shape.values):
            return [_every(inner)]
        case Object():
            parts = {
                field.name: inner for field in shape.fields if (inner := inspection_of(field.shape))
            }
            return [_record(parts)] if parts else []
    return []


def inspection_of(shape: Shape) -> Inspection | None:
    """All that is left to look at in one; None when there is nothing."""
    parts = inspections_of(shape)
    if len(parts) <= 1:
        return parts[0] if parts else None

    def both(value: Any) -> None:
        for part in parts:
            part(value)

    return both


def _patterns(shape: String) -> list[Inspection]:
    found: list[Inspection] = []
    if shape.format in FORMATS:
        form = FORMATS[shape.format]
        found.append(Match(form.pattern, "shape", _expected(form)))
    if shape.pattern is not None:
        found.append(
            Match(shape.pattern, "pattern", f"Expected text that matches `{shape.pattern}`")
        )
    return found


def _faults(shape: String) -> list[Inspection]:
    if shape.format not in FORMATS:
        return []
    form = FORMATS[shape.format]
    fault = form.fault
    if fault is shape_alone:
        return []
    expected = _expected(form)

    def text(value: str) -> None:
        if (broken := fault(value)) is not None:
            raise Rejected("", broken, expected)

    return [text]


def _expected(form: Format) -> str:
    return f"Expected a {form.title.en}" + (f" by {form.standard}" if form.standard else "")


def _finite(value: float) -> None:
    # JSON has no other; a source that speaks to us in Python may.
    if not math.isfinite(value):
        raise Rejected("", "range", "Expected a finite number")


def _each(inner: Inspection) -> Inspection:
    def items(value: list[Any]) -> None:
        index = 0
        try:
            for index, item in enumerate(value):  # noqa: B007 - used when it fails
                if item is not None:
                    inner(item)
        except Rejected as refused:
            raise refused.within(f"[{index}]") from None

    return items


def _every(inner: Inspection) -> Inspection:
    def values(value: dict[str, Any]) -> None:
        name = ""
        try:
            for name, item in value.items():  # noqa: B007 - used when it fails
                if item is not None:
                    inner(item)
        except Rejected as refused:
            raise refused.within(f"[{name!r}]") from None

    return values


def _record(parts: Mapping[str, Inspection]) -> Inspection:
    def record(value: Any) -> None:
        name = ""
        try:
            for name, inspection in parts.items():
                if (part := getattr(value, name)) is not None:
                    inspection(part)
        except Rejected as refused:
            raise refused.within(f".{name}") from None

    return record
