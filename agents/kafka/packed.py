"""Events of one kind, packed: what is the same in all of them is laid out once.

The headers of one contract's events differ in five values. So a record is put together from ready pieces
and those five, which costs a third of naming every header every time.
"""

import struct
from collections.abc import Sequence
from typing import Protocol

import msgspec
from aiokafka.record.util import calc_crc32c, decode_varint

from agents.base.statement import chained
from agents.kafka.batches import HEADER_BYTES, NONE, Batch, split
from contracts.envelope import Event, Header, headers_of

#: See :mod:`agents.kafka.batches`.
_HEAD = struct.Struct(">qiibI")
_TAIL = struct.Struct(">hiqqqhii")
_UNCOUNTED = 12
#: Bytes of a record's own length, at most.
_LENGTH = 5
#: The headers that differ, in the order in which they come.
_VARYING = ("ce_id", "ce_subject", "ce_time", "ce_sequence", "ce_scope")


def varint(number: int) -> bytes:
    """``number`` in zigzag, seven bits a byte, the lowest first."""
    left = (number << 1) ^ (number >> 63)
    found = bytearray()
    while left > 0x7F:
        found.append(0x80 | (left & 0x7F))
        left >>= 7
    found.append(left)
    return bytes(found)


_VARINTS = tuple(map(varint, range(8192)))
_KNOWN = len(_VARINTS)


class Lengths(Protocol):
    """The varint of each length."""

    def __getitem__(self, length: int, /) -> bytes: ...


class _Any:
    """That of any length."""

    def __getitem__(self, length: int) -> bytes:
        return varint(length)


class Stamp:
    """The headers of events that are like ``event`` but for id, key, time, sequence and scope.

    Only for events with a scope: without one there is no such header.
    """

    def __init__(self, event: Event) -> None:
        headers = headers_of(event)
        names = [name for name, _ in headers if name in _VARYING]
        assert tuple(names) == _VARYING, names
        pieces, piece = [], varint(len(headers))
        for name, value in headers:
            piece += varint(len(name)) + name.encode()
            if name in _VARYING:
                pieces.append(piece)
                piece = b""
            else:
                piece += varint(len(value)) + value
        self._pieces = (*pieces, piece)
        plain, bit = [], _listed(len(headers))
        for name, value in headers:
            bit += b"\x92" + _packed(name)
            if name in _VARYING:
                plain.append(bit)
                bit = b""
            else:
                bit += _packed(value)
        self._plain = (*plain, bit)

    def headers(self, id: bytes, key: bytes, time: bytes, sequence: bytes, scope: bytes) -> bytes:
        """An event's headers as they stand in a record."""
        first, second, third, fourth, fifth, last = self._pieces
        lengths: Lengths = _VARINTS
        if len(id) + len(key) + len(sequence) + len(scope) >= _KNOWN:
            lengths = _Any()
        return b"".join(
            (
                first, lengths[len(id)], id, second, lengths[len(key)], key,
                third, lengths[len(time)], time, fourth, lengths[len(sequence)], sequence,
                fifth, lengths[len(scope)], scope, last,
            )
        )  # fmt: skip

    def canonical(self, id: bytes, key: bytes, time: bytes, sequence: bytes, scope: bytes) -> bytes:
        """The same headers as chains over events have them: see :mod:`agents.base.statement`."""
        first, second, third, fourth, fifth, last = self._plain
        return b"".join(
            (
                first, _packed(id), second, _packed(key), third, _packed(time),
                fourth, _packed(sequence), fifth, _packed(scope), last,
            )
        )  # fmt: skip


def packed_chained(
    chain: bytes,
    timestamp: int,
    key: bytes,
    value: bytes | None,
    headers: bytes,
    canonical: bytes | None = None,
) -> bytes:
    """:func:`agents.base.statement.event_chained` for packed ``headers``; quick with ``canonical``."""
    if canonical is None:
        canonical = _packed(unpacked_headers(headers))
    return chained(chain, b"\x94" + _packed((timestamp, key, value))[1:] + canonical)


def unpacked_headers(packed: bytes) -> list[tuple[str, bytes | None]]:
    """What :func:`packed_headers` packed."""
    count, at = decode_varint(packed, 0)
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        length, at = decode_varint(packed, at)
        name = packed[at : at + length].decode()
        length, at = decode_varint(packed, at + length)
        if length < 0:
            found.append((name, None))
        else:
            found.append((name, packed[at : at + length]))
            at += length
    return found


_packed = msgspec.msgpack.Encoder().encode


def _listed(count: int) -> bytes:
    """How a list of so many begins in MessagePack."""
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def packed_headers(headers: Sequence[Header]) -> bytes:
    """Headers as they stand in a record."""
    pieces = [varint(len(headers))]
    for name, value in headers:
        encoded = name.encode()
        pieces += (varint(len(encoded)), encoded, _sized(value))
    return b"".join(pieces)


def _sized(value: bytes | None) -> bytes:
    return b"\1" if value is None else varint(len(value)) + value


class PackedBuilder:
    """As :class:`agents.kafka.batches.Builder`, for records whose headers are packed already."""

    codec = NONE

    def __init__(self, limit: int) -> None:
        #: Records in it so far.
        self.count = 0
        self._limit = limit
        #: Bytes of the batch so far.
        self.size = HEADER_BYTES
        self._pieces: list[bytes] = []
        self._first = self._latest = 0

    def append(self, key: bytes, value: bytes | None, headers: bytes, timestamp: int) -> bool:
        """False when the batch is full and the record is not in it. ``timestamp`` in milliseconds."""
        count, length = self.count, len(key)
        since = timestamp - self._first if count else 0
        if 0 <= since < _KNOWN and count < _KNOWN and length < _KNOWN:
            lengths = _VARINTS
            sized = (
                b"\1" if value is None
                else lengths[len(value)] + value if len(value) < _KNOWN
                else varint(len(value)) + value
            )  # fmt: skip
            body = b"".join(
                (b"\0", lengths[since], lengths[count], lengths[length], key, sized, headers)
            )
        else:
            body = b"".join(
                (b"\0", varint(since), varint(count), varint(length), key, _sized(value), headers)
            )
        size = len(body)
        if count and self.size + size + _LENGTH > self._limit:
            return False
        if not count:
            self._first = self._latest = timestamp
        elif timestamp > self._latest:
            self._latest = timestamp
        before = _VARINTS[size] if size < _KNOWN else varint(size)
        self._pieces += (before, body)
        self.size += len(before) + size
        self.count = count + 1
        return True

    def build(self) -> Batch:
        """The batch; nothing can be added afterwards."""
        payload = b"".join(self._pieces)
        count = self.count
        tail = _TAIL.pack(NONE, count - 1, self._first, self._latest, -1, -1, 0, count)
        length = HEADER_BYTES - _UNCOUNTED + len(payload)
        head = _HEAD.pack(0, length, -1, 2, calc_crc32c(tail + payload))
        (batch,) = split(head + tail + payload)
        return batch
