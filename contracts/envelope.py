"""Event ↔ CloudEvents 1.0 in Kafka binary mode: headers and bytes.

Follows the Kafka Protocol Binding for CloudEvents 1.0.2, section 3.2: attributes are headers
``ce_*``, the content type is the header ``content-type``, the value is the record alone, and no
value means the key was deleted. Knows no Kafka client: a header is a ``(str, bytes)`` pair.
"""

import functools
from collections.abc import Iterable, Sequence
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


#: What every agent writes, in this order; an event with other headers is read all the same.
_NAMES = (
    "ce_specversion", "ce_type", "ce_id", "ce_source", "ce_subject", "ce_time", "ce_dataschema",
    "ce_sequence", "ce_scope", "content-type",
)  # fmt: skip
_VERSION = ("ce_specversion", b"1.0")


def headers_of(event: Event) -> list[Header]:
    """The record headers for ``event``, in the order every agent writes them."""
    headers = [
        _VERSION,
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


def event_of(value: bytes | None, headers: Sequence[Header]) -> Event:
    """Read an event back. Raises :class:`MalformedEvent` naming the header that is missing."""
    try:
        if len(headers) == len(_NAMES):
            (
                (n0, _), (n1, kind), (n2, name), (n3, source), (n4, key), (n5, time),
                (n6, schema), (n7, sequence), (n8, scope), (n9, content),
            ) = headers  # fmt: skip
            if (n0, n1, n2, n3, n4, n5, n6, n7, n8, n9) == _NAMES:
                return Event(
                    key.decode(), value, name.decode(), source.decode(), kind.decode(),
                    parse_time(time.decode()), schema.decode(), sequence.decode(), scope.decode(),
                    "", content.decode(),
                )  # fmt: skip
        found = dict(headers)
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
        have = sorted(name for name, _ in headers)
        raise MalformedEvent(f"Expected the header {missing}, got {have}") from None
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
    second, rest = divmod(micros, 1_000_000)
    return f"{_second_text(second)}{rest:06}Z"


def parse_time(text: str) -> int:
    """RFC 3339 text as microseconds since 1970 UTC. Raises ValueError."""
    if len(text) == 27 and text[19] == "." and text[26] == "Z" and text[20:26].isdecimal():
        return _second(text[:19]) * 1_000_000 + int(text[20:26])
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


# Neighbouring events fall into the same seconds.


@functools.lru_cache(4096)
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.")


@functools.lru_cache(4096)
def _second(text: str) -> int:
    return (datetime.fromisoformat(f"{text}+00:00") - _EPOCH) // timedelta(seconds=1)
