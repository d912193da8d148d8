"""Record batches, format v2, as bytes: split, passed on, decoded, built. Knows no sockets.

Follows https://kafka.apache.org/documentation/#recordbatch. A batch is self-contained, so that a link
passes it on with a new header and an untouched, perhaps compressed, payload. Its CRC-32C is not
computed anew but moved along with the header's change: whatever was damaged on the way here stays
visible to whoever gets it.
"""

import hashlib
import itertools
import mmap
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import aiokafka.codec
import cramjam
import msgspec
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from agents.base.errors import Corrupt
from agents.base.stream import Record
from agents.kafka.crc import carried
from contracts.envelope import Header

#: base offset, length, leader epoch, magic, CRC, attributes, last offset delta, base timestamp,
#: greatest timestamp, producer id, producer epoch, base sequence, records
_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
#: What the length does not count: itself and the base offset.
_UNCOUNTED = 12
#: Where the bytes begin over which the CRC goes.
_CHECKED = 21
_HEAD = struct.Struct(">qiibI")
_TAIL = struct.Struct(">hiqqqhii")
#: Of a header, what says how the payload is to be read: codec, last offset delta, base timestamp,
#: greatest timestamp; the number of records stands right before them.
_HELD = struct.Struct(">hiqq")
_COUNTED = 57
_sha256 = hashlib.sha256

_CODEC, _TRANSACTIONAL, _CONTROL = 0x07, 0x10, 0x20
#: With any other attribute (the broker's clock, a deletion horizon) the bytes mean something that is
#: true on the cluster they came from only.
_PORTABLE = _CODEC | _TRANSACTIONAL

NONE = 0
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_COMPRESS = {
    _GZIP: aiokafka.codec.gzip_encode,
    _SNAPPY: aiokafka.codec.snappy_encode,
    _LZ4: aiokafka.codec.lz4_encode,
    _ZSTD: aiokafka.codec.zstd_encode,
}

#: No batch is opened to more than this: ten kilobytes of zstd can stand for 300 MB of zeros.
OPENED_BYTES = 256 * 1024 * 1024
#: How much one byte can stand for, where that is much, and what would open it.
_STANDS_FOR = {
    _GZIP: (1_032, cramjam.gzip),
    _LZ4: (255, cramjam.lz4),
    _ZSTD: (32_768, cramjam.zstd),
}

#: The offset after the last that is one.
_OFFSETS = 1 << 63
#: What Kafka says for a record without a time.
_NO_TIME = -1
_ABORT = b"\0\0"


class Batch(msgspec.Struct, frozen=True, gc=False):
    """One record batch as it lies in a partition; ``data`` are its bytes, header and all."""

    data: memoryview
    base: int
    crc: int
    attributes: int
    last_delta: int
    base_time: int
    max_time: int
    producer: int
    count: int

    @property
    def next(self) -> int:
        """The offset after the batch."""
        return self.base + self.last_delta + 1

    @property
    def codec(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & _CODEC

    @property
    def whole(self) -> bool:
        """May it be passed on untouched? Compaction leaves gaps, which brokers refuse."""
        return self.count == self.last_delta + 1 and not self.attributes & ~_PORTABLE

    @property
    def digest(self) -> bytes:
        """What a batch holds, wherever it lies, in 54 bytes: what its header says of how it is to be
        read, and SHA-256 of its count and payload. See :mod:`agents.base.statement`."""
        held = _HELD.pack(self.codec, self.last_delta, self.base_time, self.max_time)
        return held + _sha256(self.data[_COUNTED:]).digest()

    def records(self, start: int = 0) -> list[Record]:
        """Its records at or after offset ``start``. Raises Corrupt."""
        self.verify()
        self._bound()
        try:
            return [
                Record(record.offset, record.timestamp, record.key, record.value, record.headers)
                for record in DefaultRecordBatch(bytes(self.data))
                if record.offset >= start
            ]
        except Exception as error:  # whatever a decoder makes of bytes somebody signed as right
            raise Corrupt("A batch cannot be decoded", offset=self.base, said=str(error)) from error

    def verify(self) -> None:
        """Raise Corrupt when the checksum is wrong. It covers all but offset, length and epoch."""
        if calc_crc32c(bytes(self.data[_CHECKED:])) != self.crc:
            raise Corrupt("A batch's checksum is wrong", offset=self.base)

    def _bound(self) -> None:
        """Raise Corrupt when opening the payload takes more memory than anything honest would."""
        payload = self.data[HEADER_BYTES:]
        ratio, codec = _STANDS_FOR.get(self.codec, (1, None))
        if codec is None or len(payload) * ratio <= OPENED_BYTES:
            return
        with mmap.mmap(-1, OPENED_BYTES) as room:  # memory that is only taken when written to
            try:
                codec.decompress_into(bytes(payload), room)
            except cramjam.DecompressionError as error:
                raise Corrupt(
                    "A batch cannot be opened within the memory there is for one",
                    offset=self.base, most=OPENED_BYTES, said=str(error),
                ) from error  # fmt: skip


class Sealed(msgspec.Struct, frozen=True):
    """A batch on its way to a broker: its bytes in two pieces, and how many records they hold."""

    head: bytes
    tail: memoryview
    count: int

    @property
    def size(self) -> int:
        return len(self.head) + len(self.tail)


def split(buffer: bytes | memoryview) -> list[Batch]:
    """The batches of a fetch answer; one cut at the end is left for the next fetch.

    Raises Corrupt when the bytes are no v2 batches one after the other.
    """
    view = memoryview(buffer)
    size, at, least = len(view), 0, 0
    found = []
    while at + HEADER_BYTES <= size:
        (
            base, length, _, magic, crc, attributes, last_delta, base_time, max_time,
            producer, _, _, count,
        ) = _HEADER.unpack_from(view, at)  # fmt: skip
        if magic != 2 or length < HEADER_BYTES - _UNCOUNTED or last_delta < 0 or count < 0:
            raise Corrupt(
                "Expected a record batch of format 2",
                offset=base, magic=magic, length=length, records=count,
            )  # fmt: skip
        end = at + _UNCOUNTED + length
        if end > size:
            break
        if not least <= base < _OFFSETS - 1 - last_delta:
            raise Corrupt("Expected offsets that go up", offset=base, least=least)
        found.append(
            Batch(
                view[at:end], base, crc, attributes, last_delta, base_time, max_time, producer, count
            )
        )  # fmt: skip
        at, least = end, base + last_delta + 1
    return found


class Committed(msgspec.Struct):
    """What readers of committed data get to see of a fetch answer, and where to read on."""

    batches: list[Batch]
    next: int


def committed(
    buffer: bytes | memoryview, start: int, aborted: Iterable[tuple[int, int]] | None = None
) -> Committed:
    """The data batches at or after offset ``start``, without markers and what was aborted.

    The first may begin before ``start``. ``aborted`` are pairs of producer id and first offset, as
    the answer lists them. Raises Corrupt, also when there is something but no whole batch: a broker
    gives at least one, and asking again would go on forever.

    What is left out is verified here, since nobody else will look at it; what is given out is
    verified when it is opened, or by the broker it is passed on to.
    """
    found = Committed([], start)
    waiting = sorted(aborted or (), key=lambda entry: entry[1])
    dead: set[int] = set()
    batches = split(buffer)
    if len(buffer) and not batches:
        raise Corrupt("Expected at least one whole batch", offset=start, bytes=len(buffer))
    for batch in batches:
        found.next = max(found.next, batch.next)
        while waiting and waiting[0][1] <= batch.base:
            dead.add(waiting.pop(0)[0])
        if batch.attributes & _CONTROL:
            if batch.producer in dead and _aborts(batch):
                dead.discard(batch.producer)
            batch.verify()
            continue
        lost = batch.attributes & _TRANSACTIONAL and batch.producer in dead
        if batch.count and batch.next > start and not lost:
            found.batches.append(batch)
        else:
            batch.verify()
    return found


def _aborts(marker: Batch) -> bool:
    """Its key is a version and a type, two bytes each, and perhaps more in later versions."""
    return any((record.key or b"")[2:4] == _ABORT for record in marker.records()[:1])


def records_of(
    buffer: bytes | memoryview, start: int, aborted: Iterable[tuple[int, int]] | None = None
) -> tuple[list[Record], int]:
    """The records at or after offset ``start``, and the offset after all that was looked at.

    Arguments as for :func:`committed`. Raises Corrupt.
    """
    found = committed(buffer, start, aborted)
    return list(
        itertools.chain.from_iterable(batch.records(start) for batch in found.batches)
    ), found.next


def sealed(batch: Batch, producer: int, epoch: int, sequence: int) -> Sealed:
    """``batch`` under another writer: base offset 0, no transaction, everything else as it was."""
    data = batch.data
    tail = _TAIL.pack(
        batch.attributes & ~_TRANSACTIONAL,
        batch.last_delta,
        batch.base_time,
        batch.max_time,
        producer,
        epoch,
        sequence,
        batch.count,
    )
    change = calc_crc32c(bytes(data[_CHECKED:HEADER_BYTES])) ^ calc_crc32c(tail)
    crc = batch.crc ^ carried(change, len(data) - HEADER_BYTES)
    head = _HEAD.pack(0, len(data) - _UNCOUNTED, -1, 2, crc) + tail
    return Sealed(head, data[HEADER_BYTES:], batch.count)


class Builder:
    """Puts records into one batch of at most ``limit`` bytes (one record may still be larger)."""

    def __init__(self, limit: int, codec: int = NONE) -> None:
        self.codec = codec
        #: Records in it so far.
        self.count = 0
        self._builder = DefaultRecordBatchBuilder(2, NONE, 0, -1, -1, 0, limit)
        self._untimed = False

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        timestamp: int | None = None,
    ) -> bool:
        """False when the batch is full and the record is not in it. ``timestamp`` in milliseconds,
        None for now, -1 for no time."""
        # After a first record without a time, aiokafka takes the next time for the first record's.
        if self._untimed and timestamp != _NO_TIME:
            return False
        entry: Any = self._builder.append(
            self.count, timestamp=timestamp, key=key, value=value, headers=list(headers)
        )
        if entry is None:
            return False
        if not self.count:
            self._untimed = timestamp == _NO_TIME
        self.count += 1
        return True

    def build(self) -> Batch:
        """The batch; nothing can be added afterwards.

        Compressed only if that makes it smaller, so that the limit holds for what is sent.
        """
        (plain,) = split(bytes(self._builder.build()))
        if self.codec == NONE:
            return plain
        payload = _COMPRESS[self.codec](bytes(plain.data[HEADER_BYTES:]))
        if HEADER_BYTES + len(payload) >= len(plain.data):
            return plain
        tail = _TAIL.pack(
            self.codec,
            plain.last_delta,
            plain.base_time,
            plain.max_time,
            -1,
            -1,
            0,
            plain.count,
        )
        length = HEADER_BYTES - _UNCOUNTED + len(payload)
        head = _HEAD.pack(0, length, -1, 2, calc_crc32c(tail + payload))
        (batch,) = split(head + tail + payload)
        return batch
