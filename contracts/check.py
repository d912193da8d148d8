"""Fields or bytes → a checked record, or an error that names path and rule."""

import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from contracts.compiled import Match, inspections_of, struct_of
from contracts.expression import Expression, first_broken
from contracts.model import Contract
from contracts.quick import moment_text, quickly
from contracts.rejected import Rejected, explained
from contracts.shape import Array, Date, DateTime, Decimal, Field, Map, Object, Shape

__all__ = ["LARGEST", "Checked", "Checker", "Rejected"]

#: Bytes that a record may have at most, before anything of it is read.
LARGEST = 8 * 1024 * 1024

_ENCODER = msgspec.json.Encoder()
_DECODING = (msgspec.DecodeError, UnicodeError, RecursionError)


class Checked(msgspec.Struct, frozen=True, gc=False):
    """What a contract makes of a record: its key, its scope and its bytes."""

    key: str
    scope: str
    value: bytes


class Checker:
    """A contract made ready to check records. Raises WrongContract.

    Writers are strict: what the contract does not name is refused. Readers ignore it, since a newer
    revision may have more. Both check shapes, formats, code tables and rules.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._written = struct_of(contract.subject, contract.fields, strict=True)
        self._writer = msgspec.json.Decoder(self._written)
        self._reader = msgspec.json.Decoder(
            struct_of(contract.subject, contract.fields, strict=False)
        )
        left = [
            (field.name, part) for field in contract.fields for part in inspections_of(field.shape)
        ]
        self._patterns = [
            (name, part.search, part) for name, part in left if isinstance(part, Match)
        ]
        self._inspections = [(name, part) for name, part in left if not isinstance(part, Match)]
        self._rules = _Rules(contract) if contract.rules else None
        self._identity = attrgetter(contract.key, contract.scope)
        self._lenient = _leniency(contract.fields)
        self._quick = quickly(
            (contract.key, contract.scope),
            [(name, search) for name, search, _ in self._patterns],
            self._inspections,
            [rule.when for rule in contract.rules],
            {name: _as_json(contract.shape_of(name)) for name in contract.field_names},
        )

    def check(self, fields: Mapping[str, Any]) -> Checked:
        """Check plain fields on their way in. Raises :class:`Rejected` for the first broken rule.

        Numbers, dates and true or false may come as text (RFC 3339 for times); a field that the
        contract does not have is refused, and None stands for a field that is not filled in.
        """
        try:
            record = msgspec.convert(self._lenient(fields), self._written, strict=False)
            value = _ENCODER.encode(record)
        except _DECODING as error:
            raise explained(error) from None
        return Checked(*self._examined(record), value)

    def accept(self, value: bytes) -> Checked:
        """Check a record's JSON on its way in; the answer is in the canonical form.

        Raises :class:`Rejected`.
        """
        record, canonical = _decoded(self._writer, value)
        return Checked(*self._examined(record), canonical)

    def decode(self, value: bytes) -> msgspec.Struct:
        """Check an event's value on its way out; the answer has the contract's fields as attributes.

        Raises :class:`Rejected`.
        """
        record, _ = _decoded(self._reader, value)
        self._examined(record)
        return record

    def _examined(self, record: msgspec.Struct) -> tuple[str, str]:
        """A record's key and scope. Raises Rejected for the first rule it breaks."""
        if self._quick is not None and (found := self._quick(record)) is not None:
            return found
        self._inspect(record)
        key, scope = self._identity(record)
        return key, scope

    def _inspect(self, record: msgspec.Struct) -> None:
        name = ""
        try:
            for name, search, part in self._patterns:
                value = getattr(record, name)
                if value is not None and search(value) is None:
                    part(value)
            for name, inspection in self._inspections:
                value = getattr(record, name)
                if value is not None:
                    inspection(value)
        except Rejected as refused:
            raise refused.within(f"$.{name}") from None
        if self._rules is not None:
            self._rules.judge(record)


def _decoded(
    decoder: "msgspec.json.Decoder[msgspec.Struct]", value: bytes
) -> tuple[msgspec.Struct, bytes]:
    """The record in ``value``, and its canonical form. Raises Rejected."""
    if len(value) > LARGEST:
        raise Rejected("$", "too-large", f"Expected at most {LARGEST} bytes, got {len(value)}")
    try:
        try:
            record = decoder.decode(value)
        except msgspec.ValidationError as error:
            if not _WHOLE_WANTED.match(str(error)):
                raise
            record = decoder.decode(_whole_numbers(value))
        canonical = _ENCODER.encode(record)
    except _DECODING as error:
        raise explained(error) from None
    # What is written as we would write it has no name twice, which no decoder would tell.
    if canonical != value:
        _refuse_repeated(value)
    return record, canonical


_WHOLE_WANTED = re.compile(r"Expected `int[^,]*, got `float`")


def _whole_numbers(value: bytes) -> bytes:
    """``1.0`` and ``1e2`` are whole numbers to JSON Schema and to all who parse them as doubles; here
    they become ``1`` and ``100``. Raises msgspec.DecodeError."""

    def number(text: str) -> int | float:
        found = float(text)
        if not math.isfinite(found):
            raise ValueError("number out of range")
        return int(found) if found.is_integer() and abs(found) < 2.0**64 else found

    try:
        read = json.loads(value, parse_float=number, parse_constant=number)
        return msgspec.json.encode(read)
    except (ValueError, OverflowError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _refuse_repeated(value: bytes) -> None:
    def once(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise Rejected("$", "repeated-name", f"Expected each name once, got {name!r} twice")
            seen.add(name)

    try:
        json.loads(value, object_pairs_hook=once, parse_int=str, parse_float=str)
    except (RecursionError, ValueError) as error:
        raise explained(error) from None


# ---- rules across fields --------------------------------------------------------------------


class _Rules:
    """A contract's rules compiled, fed only with the fields they name."""

    def __init__(self, contract: Contract) -> None:
        self._rules = contract.rules
        names = contract.field_names
        self._expressions = [Expression(rule.when, names) for rule in contract.rules]
        used = dict.fromkeys(name for each in self._expressions for name in each.fields)
        self._fields = [(name, _as_json(contract.shape_of(name))) for name in used]

    def judge(self, record: msgspec.Struct) -> None:
        values = {}
        for name, as_json in self._fields:
            value = getattr(record, name)
            values[name] = value if value is None or as_json is None else as_json(value)
        broken = first_broken(self._expressions, values)
        if broken is not None:
            rule = self._rules[broken]
            raise Rejected(rule.path, rule.name, f"{rule.message.zh} | {rule.message.en}")


def _as_json(shape: Shape) -> Callable[[Any], Any] | None:
    """How a decoded value looks in JSON; None when it is the same."""
    match shape:
        case Date():
            return datetime.date.isoformat
        case DateTime():
            return moment_text
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
