"""Fields or bytes → a checked record, or an error that names path and rule."""

import datetime
import decimal
import json
import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from contracts.expression import Expression
from contracts.formats import FORMATS
from contracts.model import Contract, Rule
from contracts.pattern import python_form
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

#: Bytes that a record may have at most, before anything of it is read.
LARGEST = 8 * 1024 * 1024

_ENCODER = msgspec.json.Encoder()


class Rejected(Exception):
    """A value broke a rule of its contract.

    ``path`` is where (``$.id_number``), ``rule`` a stable short name, ``message`` what was expected
    and found, without the value of a personal field.
    """

    def __init__(self, path: str, rule: str, message: str) -> None:
        self.path = path
        self.rule = rule
        self.message = message
        super().__init__(f"{message} - at `{path}` ({rule})")


class Checked(NamedTuple):
    """What a contract makes of a record: its key, its scope and its bytes."""

    key: str
    scope: str
    value: bytes


class Checker:
    """A contract made ready to check records.

    Writers are strict: what the contract does not name is refused. Readers ignore it, since a newer
    revision may have more. Both check shapes, formats, code tables and rules.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._shapes = {field.name: field.shape for field in contract.fields}
        self._written = _struct(contract.subject, contract.fields, strict=True)
        self._writer = msgspec.json.Decoder(self._written)
        self._reader = msgspec.json.Decoder(
            _struct(contract.subject, contract.fields, strict=False)
        )
        self._formats = [
            (field.name, check)
            for field in contract.fields
            if (check := _inspection(field.shape)) is not None
        ]
        self._rules = [_Ready(rule, contract) for rule in contract.rules]
        self._identity = attrgetter(contract.key, contract.scope)
        self._lenient = _leniency(contract.fields)

    def check(self, fields: Mapping[str, Any]) -> Checked:
        """Check plain fields on their way in. Raises :class:`Rejected` for the first broken rule.

        Numbers, dates and true or false may come as text (RFC 3339 for times); a field that the
        contract does not have is refused, and None stands for a field that is not filled in.
        """
        try:
            record = msgspec.convert(self._lenient(fields), self._written, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
            raise self._rejected(error) from None
        return self._checked(record)

    def accept(self, value: bytes) -> Checked:
        """Check a record's JSON on its way in; the answer is in the canonical form.

        Raises :class:`Rejected`.
        """
        return self._checked(self._decoded(self._writer, value))

    def decode(self, value: bytes) -> msgspec.Struct:
        """Check an event's value on its way out; the answer has the contract's fields as attributes.

        Raises :class:`Rejected`.
        """
        record = self._decoded(self._reader, value)
        self._inspect(record)
        return record

    def _decoded(
        self, decoder: "msgspec.json.Decoder[msgspec.Struct]", value: bytes
    ) -> msgspec.Struct:
        if len(value) > LARGEST:
            raise Rejected("$", "too-large", f"Expected at most {LARGEST} bytes, got {len(value)}")
        try:
            record = decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._rejected(error) from None
        # What is written as we would write it has no name twice, which no decoder would tell.
        if _ENCODER.encode(record) != value:
            _refuse_repeated(value)
        return record

    def _checked(self, record: msgspec.Struct) -> Checked:
        self._inspect(record)
        key, scope = self._identity(record)
        return Checked(key, scope, _encoded(record))

    def _inspect(self, record: msgspec.Struct) -> None:
        for name, inspection in self._formats:
            value = getattr(record, name)
            if value is not None:
                inspection(value, f"$.{name}")
        for rule in self._rules:
            rule.judge(record)

    def _rejected(self, error: Exception) -> Rejected:
        if isinstance(error, RecursionError):
            return Rejected("$", "too-deep", "Expected fewer levels, got more than can be read")
        if isinstance(error, UnicodeError):
            return Rejected("$", "encoding", "Expected UTF-8, got other bytes")
        if not isinstance(error, msgspec.ValidationError):
            return Rejected("$", "json", f"Expected JSON, {error}")
        return _explained(str(error), self._shapes)


# ---- what went wrong -------------------------------------------------------------------------

_AT = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_RULES = (
    ("missing required field", "required"),
    ("contains unknown field", "unknown-field"),
    ("Invalid enum value", "enum"),
    ("matching regex", "pattern"),
    ("of length", "length"),
    ("out of range", "range"),
    ("Invalid", "format"),
    (">", "range"),
    ("<", "range"),
)


def _explained(text: str, shapes: Mapping[str, Shape]) -> Rejected:
    """msgspec's error as a rule. Its texts name types and limits; an enum's value is left out."""
    match = _AT.match(text)
    assert match
    message = match["text"]
    rule = next((name for part, name in _RULES if part in message), "type")
    path = match["path"] or "$"
    if rule in ("required", "unknown-field") and (named := re.search(r"`([^`]*)`$", message)):
        path = f"{path}.{named[1]}"
    if rule == "enum":
        message = "Expected a value of the code table, got another"
    if rule == "pattern":
        shape = _at(path, shapes)
        if isinstance(shape, Decimal):
            sign = "positive " if shape.positive else ""
            rule = "decimal"
            message = (
                f"Expected a {sign}decimal of at most {shape.digits} digits,"
                f" {shape.places} of them behind the point"
            )
        elif isinstance(shape, String) and shape.format in FORMATS and shape.pattern is None:
            found = FORMATS[shape.format]
            rule, message = "shape", f"Expected a {found.title.en} by {found.standard}"
    return Rejected(path, rule, message)


def _at(path: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape at msgspec's ``$.a[...].b``."""
    shape: Shape | None = None
    for name, within in re.findall(r"\.(\w+)|(\[)", path):
        if within:
            shape = getattr(shape, "items", None) or getattr(shape, "values", None)
        else:
            if isinstance(shape, Object):
                shapes = {field.name: field.shape for field in shape.fields}
            shape = shapes.get(name)
    return shape


def _refuse_repeated(value: bytes) -> None:
    def once(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise Rejected("$", "repeated-name", f"Expected each name once, got {name!r} twice")
            seen.add(name)

    try:
        json.loads(value, object_pairs_hook=once, parse_int=str, parse_float=str)
    except RecursionError:
        raise Rejected("$", "too-deep", "Expected fewer levels, got more") from None
    except ValueError as error:
        raise Rejected("$", "json", f"Expected JSON, {error}") from None


def _encoded(record: msgspec.Struct) -> bytes:
    try:
        return _ENCODER.encode(record)
    except UnicodeEncodeError:
        raise Rejected("$", "encoding", "Expected Unicode, got half a surrogate pair") from None


# ---- types ----------------------------------------------------------------------------------


def _struct(name: str, fields: tuple[Field, ...], *, strict: bool) -> type[msgspec.Struct]:
    made: list[Any] = []
    for field in fields:
        kind = _type(field.shape, f"{name}_{field.name}", strict=strict)
        if field.required:
            made.append((field.name, kind))
        else:
            made.append((field.name, kind, _default(field, kind)))
    return msgspec.defstruct(name, made, kw_only=True, forbid_unknown_fields=strict)


def _default(field: Field, kind: Any) -> Any:
    value = msgspec.convert(field.default, kind)
    if isinstance(value, list | dict | msgspec.Struct):
        raw = msgspec.json.encode(field.default)
        return msgspec.field(default_factory=lambda: msgspec.json.decode(raw, type=kind))
    return value


def _type(shape: Shape, name: str, *, strict: bool) -> Any:
    kind: Any
    match shape:
        case String():
            pattern = shape.pattern
            if pattern is None and shape.format in FORMATS:
                pattern = FORMATS[shape.format].pattern
            kind = _limited(
                str,
                min_length=shape.min_length or None,
                max_length=shape.max_length,
                pattern=None if pattern is None else python_form(pattern),
            )
        case Integer():
            kind = _limited(int, ge=shape.ge, le=shape.le)
        case Number():
            kind = _limited(float, ge=shape.ge, gt=shape.gt, le=shape.le, lt=shape.lt)
        case Decimal():
            kind = _limited(str, pattern=python_form(decimal_pattern(shape)))
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
            kind = _struct(name, shape.fields, strict=strict)
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


# ---- formats within records -----------------------------------------------------------------

Inspection = Callable[[Any, str], None]


def _inspection(shape: Shape) -> Inspection | None:
    """What is left to look at in a value of ``shape`` once it is decoded; None when nothing is."""
    match shape:
        case String(format=str(name)) if name in FORMATS:
            found = FORMATS[name]
            fault = found.fault
            expected = f"Expected a {found.title.en} by {found.standard}"

            def text(value: str, path: str) -> None:
                if (broken := fault(value)) is not None:
                    raise Rejected(path, broken, expected)

            return text
        case Array():
            inner = _inspection(shape.items)
            return None if inner is None else _each(inner)
        case Map():
            inner = _inspection(shape.values)
            return None if inner is None else _every(inner)
        case Object():
            parts = [(f.name, each) for f in shape.fields if (each := _inspection(f.shape))]

            def record(value: Any, path: str) -> None:
                for name, inspection in parts:
                    if (part := getattr(value, name)) is not None:
                        inspection(part, f"{path}.{name}")

            return record if parts else None
    return None


def _each(inner: Inspection) -> Inspection:
    def items(value: list[Any], path: str) -> None:
        for index, item in enumerate(value):
            if item is not None:
                inner(item, f"{path}[{index}]")

    return items


def _every(inner: Inspection) -> Inspection:
    def values(value: dict[str, Any], path: str) -> None:
        for name, item in value.items():
            if item is not None:
                inner(item, f"{path}[{name!r}]")

    return values


# ---- rules across fields --------------------------------------------------------------------


class _Ready:
    """A rule compiled, fed only with the fields it names."""

    def __init__(self, rule: Rule, contract: Contract) -> None:
        self._rule = rule
        self._expression = Expression(rule.when, contract.field_names)
        self._fields = [
            (name, _as_json(contract.shape_of(name))) for name in self._expression.fields
        ]

    def judge(self, record: msgspec.Struct) -> None:
        values = {}
        for name, as_json in self._fields:
            value = getattr(record, name)
            values[name] = value if value is None or as_json is None else as_json(value)
        try:
            right = self._expression.holds(values)
        except ValueError:
            right = False
        if not right:
            rule = self._rule
            raise Rejected(rule.path, rule.name, f"{rule.message.zh} | {rule.message.en}")


def _as_json(shape: Shape) -> Callable[[Any], Any] | None:
    """How a decoded value looks in JSON; None when it is the same."""
    match shape:
        case Date() | DateTime():
            return lambda value: value.isoformat()
        case Array() | Map() | Object():
            return msgspec.to_builtins
    return None


# ---- plain fields from sources --------------------------------------------------------------


def _leniency(fields: tuple[Field, ...]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Exact numbers come as ``Decimal`` or ``int`` from databases; here they are text."""
    names = [field.name for field in fields if isinstance(field.shape, Decimal)]
    if not names:
        return lambda given: given

    def texts(given: Mapping[str, Any]) -> Mapping[str, Any]:
        changed = {
            name: format(given[name], "f")
            for name in names
            if isinstance(given.get(name), decimal.Decimal | int)
            and not isinstance(given[name], bool)
        }
        return {**given, **changed} if changed else given

    return texts
