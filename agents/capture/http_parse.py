"""What a request's body says: records, deletions, CloudEvents. Bytes in, values out.

CloudEvents 1.0.2 by its HTTP binding: binary, structured and batched mode. A deletion is an event whose
``type`` ends in ``.deleted``, with the key as its ``subject``; among lines it is ``{"$delete": key}``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from agents.base.tracing import valid
from contracts.envelope import parse_time
from contracts.rejected import Rejected, explained

#: Characters of a sender's id, and of a CloudEvent's ``source``.
LONGEST = 512

_WHITE = re.compile(r"\s")


class Item(NamedTuple):
    """One record's JSON, or a deletion where ``value`` is None.

    ``id`` is the sender's, empty without one; ``key`` what it says the record's key is, empty where it
    does not; ``time`` microseconds since 1970 UTC, None where it says none.
    """

    value: bytes | None
    id: str = ""
    key: str = ""
    time: int | None = None
    #: W3C Trace Context of the sender, empty without one.
    traceparent: str = ""


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    key: str = msgspec.field(name="$delete")


class _CloudEvent(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None
    traceparent: str | None = None


_DELETE = msgspec.json.Decoder(_Delete)
_EVENT = msgspec.json.Decoder(_CloudEvent)
_BATCH = msgspec.json.Decoder(list[msgspec.Raw])


def line(text: bytes) -> Item:
    """One line: a record, or a deletion."""
    if b"$delete" in text:
        try:
            found = _DELETE.decode(text)
        except (msgspec.DecodeError, UnicodeError):
            return Item(text)
        return deletion(found.key)
    return Item(text)


def deletion(key: str) -> Item:
    """The deletion of ``key``. Raises Rejected."""
    if not key:
        raise Rejected("$['$delete']", "no-key", "Expected the key of what is deleted, got none")
    return Item(None, key=key)


def structured(text: bytes) -> Item:
    """One CloudEvent as JSON. Raises Rejected."""
    try:
        event = _EVENT.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explained(error) from None
    if event.data_base64 is not None:
        raise Rejected("$.data_base64", "unknown-field", "Expected `data` as JSON, got bytes")
    return _item(event, bytes(event.data))


def binary(headers: Mapping[str, str], body: bytes) -> Item:
    """A CloudEvent whose attributes are headers ``ce-*``. Raises Rejected."""
    found = {
        name: unquote(headers[f"ce-{name}"])
        for name in ("specversion", "id", "source", "type", "subject", "time", "traceparent")
        if f"ce-{name}" in headers
    }
    try:
        event = msgspec.convert(found, _CloudEvent)
    except msgspec.ValidationError as error:
        wrong = explained(error)
        raise Rejected(wrong.path.replace("$.", "ce-"), wrong.rule, wrong.message) from None
    return _item(event, body)


def batch(text: bytes) -> Iterator[bytes]:
    """The CloudEvents of a batch, each as its JSON. Raises msgspec.DecodeError, UnicodeError."""
    return map(bytes, _BATCH.decode(text))


def _item(event: _CloudEvent, data: bytes) -> Item:
    if event.specversion != "1.0":
        raise Rejected("$.specversion", "enum", "Expected `1.0`, got another version")
    for name in ("id", "source"):
        value: str = getattr(event, name)
        if not value or len(value) > LONGEST:
            raise Rejected(
                f"$.{name}", "length", f"Expected 1 to {LONGEST} characters, got {len(value)}"
            )
    if _WHITE.search(event.source):
        raise Rejected("$.source", "format", "Expected a URI reference, got one with spaces")
    kind = (event.datacontenttype or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Rejected("$.datacontenttype", "enum", "Expected JSON, got another kind of content")
    moment = None
    if event.time is not None:
        try:
            moment = parse_time(event.time)
        except (ValueError, TypeError):
            raise Rejected("$.time", "format", "Expected RFC 3339 with its offset") from None
    name, key = f"{event.source} {event.id}", event.subject or ""
    trace = valid(event.traceparent)
    if event.type.endswith(".deleted"):
        if not key:
            raise Rejected("$.subject", "required", "Expected the key of what is deleted, got none")
        return Item(None, name, key, moment, trace)
    if not data:
        raise Rejected(
            "$.data", "required", "Expected the record; a deletion's type ends in `.deleted`"
        )
    return Item(data, name, key, moment, trace)


class Lines:
    """Cuts a stream into its lines. A line longer than ``most`` bytes is told as None, and never held."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""
        self._skipping = False

    def feed(self, piece: bytes) -> list[bytes | None]:
        """The lines that ``piece`` completes, without their ends."""
        *whole, rest = (self._rest + piece).split(b"\n")
        found: list[bytes | None] = list(whole)
        if self._skipping and whole:
            found[0], self._skipping = None, False
        self._rest = b"" if self._skipping else rest
        if len(self._rest) > self._most:
            self._rest, self._skipping = b"", True
        return [None if each is None or len(each) > self._most else each for each in found]

    def end(self) -> list[bytes | None]:
        """The last line, where it has no end."""
        if self._skipping:
            return [None]
        return [self._rest] if self._rest else []
