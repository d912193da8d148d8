"""What an MQTT message says: topic and payload → the fields of a record. Knows no broker."""

import datetime
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from agents.capture.mqtt_template import Template
from contracts.envelope import parse_time
from contracts.model import Contract
from contracts.rejected import Rejected, explained

Payload = Literal["json", "msgpack"]

#: Milliseconds since 1970 UTC that are a moment at all: up to the year 9999.
_LAST_MS = 253_402_300_799_999


class Said(NamedTuple):
    """A message read: ``fields`` None where it deletes ``key``; ``time`` in microseconds since 1970
    UTC and the sender's own ``id``, None where it says none."""

    key: str
    fields: dict[str, Any] | None
    time: int | None
    id: str | None


class Reading:
    """How the messages of one subscription are read.

    ``columns`` are contract fields that the payload calls otherwise; ``drop`` leaves out what the
    contract does not name.
    """

    def __init__(
        self,
        contract: Contract,
        template: Template,
        *,
        columns: Mapping[str, str],
        payload: Payload,
        empty_deletes: bool,
        drop: bool,
        id_field: str,
        time_field: str,
    ) -> None:
        self._key = contract.key
        self._fields = frozenset(contract.field_names)
        self._template = template
        self._names = {name: _field(name, contract) for name in template.names}
        self._renamed = {column: field for field, column in columns.items()}
        self._decode = msgspec.json.decode if payload == "json" else msgspec.msgpack.decode
        self._word = "JSON" if payload == "json" else "MessagePack"
        self._empty_deletes = empty_deletes
        self._drop = drop
        self._id_field = id_field
        self._time_field = time_field

    def key_of(self, topic: str) -> str:
        """The key, where the topic alone tells it; otherwise empty."""
        told = self._template.read(topic) or {}
        return next(
            (
                told[name]
                for name, field in self._names.items()
                if field == self._key and name in told
            ),
            "",
        )

    def read(self, topic: str, payload: bytes) -> Said:
        """What a message says. Raises Rejected."""
        parts = self._template.read(topic)
        if parts is None:
            raise Rejected(
                "$", "topic", f"Expected a topic as `{self._template.text}`, got another"
            )
        told = {self._names[name]: value for name, value in parts.items()}
        if not payload:
            if not self._empty_deletes:
                raise Rejected("$", "empty", f"Expected {self._word}, got an empty payload")
            if self._key not in told:
                raise Rejected(
                    f"$.{self._key}", "no-key",
                    "Expected the key in the topic of a deletion, got a topic without it",
                )  # fmt: skip
            return Said(told[self._key], None, None, None)
        found = self._decoded(payload)
        moment, own = self._moment(found), self._own_id(found)
        fields = {self._renamed.get(name, name): value for name, value in found.items()}
        for name, value in told.items():
            if name in fields and fields[name] is not None and _text(fields[name]) != value:
                raise Rejected(
                    f"$.{name}", "topic-mismatch", "Expected what the topic says, got another value"
                )
            fields[name] = value
        if self._drop:
            fields = {name: value for name, value in fields.items() if name in self._fields}
        key = fields.get(self._key)
        if key is None:
            raise Rejected(f"$.{self._key}", "required", "Expected this field, got none")
        return Said(_text(key), fields, moment, own)

    def _decoded(self, payload: bytes) -> dict[str, Any]:
        try:
            found = self._decode(payload)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            if self._word == "JSON" or not isinstance(error, msgspec.DecodeError):
                raise explained(error) from None
            raise Rejected("$", "msgpack", f"Expected MessagePack, {error}") from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise Rejected("$", "type", f"Expected an object, got {_kind(found)}")
        return found

    def _moment(self, found: dict[str, Any]) -> int | None:
        name = self._time_field
        if not name or found.get(name) is None:
            return None
        value = found[name] if self._keeps(name) else found.pop(name)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value <= _LAST_MS
        ):
            return int(value * 1000)
        if isinstance(value, datetime.datetime) and value.tzinfo:  # MessagePack's timestamps
            return int(value.timestamp() * 1_000_000)
        try:
            if isinstance(value, str):
                return parse_time(value)
        except (ValueError, TypeError):
            pass
        raise Rejected(
            f"$.{name}", "time",
            "Expected a time as RFC 3339 with its offset, or milliseconds since 1970, got another",
        )  # fmt: skip

    def _own_id(self, found: dict[str, Any]) -> str | None:
        name = self._id_field
        if not name:
            return None
        value = found.get(name) if self._keeps(name) else found.pop(name, None)
        if (
            isinstance(value, bool)
            or not isinstance(value, str | int)
            or not 0 < len(str(value)) <= 256
        ):
            raise Rejected(
                f"$.{name}", "id", "Expected the sender's id, a text or whole number, got none"
            )
        return str(value)

    def _keeps(self, name: str) -> bool:
        """Is this part of a payload a field of the record too?"""
        return self._renamed.get(name, name) in self._fields


def _field(name: str, contract: Contract) -> str:
    """The contract's field that a level of the template is: ``key`` and ``scope`` are its own words."""
    if name in contract.field_names:
        return name
    return {"key": contract.key, "scope": contract.scope}.get(name, name)


def unknown(template: Template, contract: Contract) -> str | None:
    """A level of ``template`` that is no field of ``contract``, if there is one."""
    return next(
        (name for name in template.names if _field(name, contract) not in contract.field_names),
        None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _kind(value: Any) -> str:
    return {list: "an array", str: "a text", type(None): "null"}.get(type(value), "another value")
