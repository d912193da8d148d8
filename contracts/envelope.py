"""Event ↔ CloudEvents 1.0 in Kafka binary mode: headers and bytes.

Follows the Kafka Protocol Binding for CloudEvents 1.0.2, section 3.2: attributes are headers
``ce_*``, the content type is the header ``content-type``, the value is the record alone, and no
value means the key was deleted. Knows no Kafka client: a header is a ``(str, bytes)`` pair.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

Header = tuple[str, bytes]

JSON = "application/json"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change of one key.

    ``time`` is the commit time at the source in microseconds since 1970 UTC; ``sequence`` orders
    the changes of one key as plain text does; ``value`` is the encoded record, or None when the
    key was deleted, in which case ``scope`` may be empty because nobody knows it any more.
    """

    key: str
    value: bytes | None
    id: str
    source: str
    type: str
    time: int
    dataschema: str
    sequence: str
    scope: str = ""
    traceparent: str = ""
    content_type: str = JSON


class MalformedEvent(ValueError):
    """The record carries no readable CloudEvent."""


def headers_of(event: Event) -> list[Header]:
    """The record headers for ``event``, in the order every agent writes them."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", event.type.encode()),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_subject", event.key.encode()),
        ("ce_time", format_time(event.time).encode()),
        ("ce_dataschema", event.dataschema.encode()),
        ("ce_sequence", event.sequence.encode()),
    ]
    if event.scope:
        headers.append(("ce_scope", event.scope.encode()))
    if event.traceparent:
        headers.append(("ce_traceparent", event.traceparent.encode()))
    if event.value is not None:
        headers.append(("content-type", event.content_type.encode()))
    return headers


def event_of(value: bytes | None, headers: Iterable[Header]) -> Event:
    """Read an event back. Raises :class:`MalformedEvent` naming the header that is missing."""
    found = dict(headers)
    try:
        return Event(
            key=found["ce_subject"].decode(),
            value=value,
            id=found["ce_id"].decode(),
            source=found["ce_source"].decode(),
            type=found["ce_type"].decode(),
            time=parse_time(found["ce_time"].decode()),
            dataschema=found["ce_dataschema"].decode(),
            sequence=found["ce_sequence"].decode(),
            scope=found.get("ce_scope", b"").decode(),
            traceparent=found.get("ce_traceparent", b"").decode(),
            content_type=found.get("content-type", b"application/json").decode(),
        )
    except KeyError as missing:
        raise MalformedEvent(f"Expected the header {missing}, got {sorted(found)}") from None
    except ValueError as wrong:
        raise MalformedEvent(f"Expected CloudEvents headers in UTF-8, got {wrong}") from None


def header(headers: Iterable[Header], name: str) -> bytes | None:
    """The first header of that name, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def format_time(micros: int) -> str:
    """Microseconds since 1970 UTC as RFC 3339 text, always with six decimals and ``Z``."""
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> int:
    """RFC 3339 text as microseconds since 1970 UTC. Raises ValueError."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
