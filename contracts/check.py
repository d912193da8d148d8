"""Plain fields → checked bytes, or an error that names path and rule."""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from contracts.model import Contract

_ENCODER = msgspec.json.Encoder(decimal_format="string")
_AT = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


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


def check(contract: Contract, fields: Mapping[str, Any]) -> Checked:
    """Check plain fields against ``contract``. Raises :class:`Rejected` for the first broken rule.

    Numbers, dates and true or false may come as text (RFC 3339 for times); a field that the contract
    does not have is refused, and None stands for a field that is not filled in.
    """
    record = _convert(contract, fields)
    for rule in contract.rules:
        value = getattr(record, rule.field)
        if value is not None and (fault := rule.fault(value)) is not None:
            raise Rejected(f"$.{rule.field}", fault, f"Expected {rule.expected}")
    key, scope = getattr(record, contract.key), getattr(record, contract.scope)
    return Checked(key, scope, _ENCODER.encode(record))


def decode(contract: Contract, value: bytes) -> msgspec.Struct:
    """The typed record in an event's value. Raises :class:`Rejected`."""
    try:
        return _decoder(contract.record).decode(value)
    except msgspec.ValidationError as error:
        raise _rejected(str(error)) from None
    except msgspec.DecodeError as error:
        raise Rejected("$", "json", f"Expected JSON, {error}") from None


def _convert(contract: Contract, fields: Mapping[str, Any]) -> msgspec.Struct:
    try:
        return msgspec.convert(fields, contract.record, strict=False)
    except msgspec.ValidationError as error:
        raise _rejected(str(error)) from None


_RULES = (
    ("missing required field", "required"),
    ("contains unknown field", "unknown-field"),
    ("Invalid enum value", "enum"),
    ("matching regex", "pattern"),
    ("of length", "length"),
    ("Invalid", "format"),
    (">=", "range"),
    ("<=", "range"),
)


def _rejected(text: str) -> Rejected:
    """msgspec's error as a rule. Its texts name types and limits; an enum's value is left out."""
    match = _AT.match(text)
    assert match
    message = match["text"]
    rule = next((name for part, name in _RULES if part in message), "type")
    path = match["path"] or "$"
    if rule in ("required", "unknown-field") and (named := re.search(r"`([^`]+)`$", message)):
        path = f"{path}.{named[1]}"
    if rule == "enum":
        message = "Expected a value of the code table, got another"
    return Rejected(path, rule, message)


@functools.cache
def _decoder(record: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    return msgspec.json.Decoder(record, strict=False)
