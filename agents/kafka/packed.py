"""Events of one kind, packed: what is the same in all of them is laid out once.

The headers of one contract's events differ in five values. So a record is put together from ready pieces
and those five, which costs a third of naming every header every time.
"""

import struct
from collections.abc import Sequence
from typing import Protocol

from aiokafka.record.util import calc_crc32c

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
