"""The records the benches copy, how topics are filled with them, and how a copy is compared.

A digest goes over what a consumer sees, partition by partition and in order: key, value, headers
and timestamp of every record, never the bytes of a batch, which a copy may lay out as it likes.
"""

import asyncio
import hashlib
import random
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.base.watermark import FENCE, TYPE
from agents.kafka.batches import NONE, Batch, Builder, sealed
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.messages import Part
from agents.kafka.wire import Claim, Connection
from contracts.envelope import Event, Header, headers_of

#: What levelsync writes for itself; no record of the source.
OWN = (TYPE, FENCE)
#: Requests under way while a topic is filled.
_IN_FLIGHT = 5
#: The view's scope, and one outside it.
INSIDE, OUTSIDE = "370102001", "370203001"
_NOISE = random.Random(1).randbytes(48 * 1024)


class Plain(NamedTuple):
    """A record before it has an offset; ``timestamp`` in milliseconds since 1970 UTC."""

    key: bytes
    value: bytes
    headers: list[Header]
    timestamp: int


def short(number: int, size: int, now: int) -> Plain:
    """A record of ``size`` bytes, key, value and headers together, with those of the envelope's
    headers that a relay looks at. Half of its text is as random as names and numbers are."""
    key = b"370102199%09d" % number
    headers = [("ce_type", b"resident.v2.changed"), ("ce_id", b"16/B374D848/%d" % number)]
    if size > 200:
        headers += [("ce_source", b"/37/resident.v2"), ("ce_scope", INSIDE.encode())]
    left = size - len(key) - sum(len(name) + len(value) for name, value in headers)
    return Plain(key, _value(number, left), headers, now + number // 1000)


def full(number: int, size: int, now: int) -> Plain:
    """A whole event as levelsync's own agents write it, ``size`` bytes of value and about 270 of
    headers. Every other one, at random, belongs to the view's scope."""
    mixed = number * 2654435761 >> 7
    event = Event(
        key=f"370102199{number:09}",
        value=_value(number, size),
        id=f"16/B374D848/{number}",
        source="/37/resident.v2",
        type="resident.v2.changed",
        time=now * 1000 + number,
        dataschema="resident.v2/2.0",
        sequence=f"{number:016x}",
        scope=INSIDE if mixed & 1 else OUTSIDE,
    )
    return Plain(event.key.encode(), event.value or b"", headers_of(event), now + number // 1000)


def _value(number: int, size: int) -> bytes:
    head = b'{"n":%d,"t":"' % number
    at = number * 7919 % (len(_NOISE) - size)
    return head + _NOISE[at : at + size].hex().encode()[: size - len(head) - 2] + b'"}'


class Digest:
    """A running digest of one partition, and the offsets of what went into it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.count = 0
        self.offsets = array("q")
        self.last: bytes = b""

    def add(self, records: Sequence[Plain]) -> None:
        """Enter records in their order."""
        for record in records:
            self._hash.update(_ENCODER.encode(record))
        self.count += len(records)
        if records:
            self.last = records[-1].key

    @property
    def value(self) -> tuple[int, str]:
        """Number and digest: equal where the records are."""
        return self.count, self._hash.hexdigest()


_ENCODER = msgspec.msgpack.Encoder()


class Written(msgspec.Struct):
    """What a topic holds, as it was written: by partition, all of it and the view's part."""

    all: list[Digest]
    inside: list[Digest]

    @property
    def count(self) -> int:
        return sum(each.count for each in self.all)


class Filling(msgspec.Struct, frozen=True):
    """How a topic is filled. ``batch`` is bytes, as a producer's ``batch.size``; ``together`` the
    records a batch holds at most, where its producer does not wait for more."""

    records: int
    size: int
    full: bool = False
    batch: int = 128 * 1024
    together: int = 1_000_000
    codec: int = NONE


async def fill(
    cluster: Cluster, topic: str, partitions: int, filling: Filling, signer: Any = None
) -> Written:
    """Write the records to ``topic``, from one partition to the next batch by batch; with ``signer`` as
    an agent does, under signed watermarks."""
    written = Written([Digest() for _ in range(partitions)], [Digest() for _ in range(partitions)])
    parts = [(topic, number) for number in range(partitions)]
    if signer:
        # Chains over events would have every batch opened; a hop looks at those over batches.
        claim = Claim(f"fill-{topic}")
        await _sign(Copy(cluster, claim, parts, signer=signer, maker=False), filling, written)
        return written
    async with Connection(cluster) as connection:
        await connection.leaders(parts)
        ((node, _),) = (await connection.leaders(parts)).items()
        under_way: set[asyncio.Task[Any]] = set()
        for round_ in _rounds(_batches(filling, written, partitions), partitions):
            if len(under_way) >= _IN_FLIGHT:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            request = {parts[number]: sealed(batch, -1, -1, -1) for number, batch in round_}
            under_way.add(asyncio.create_task(connection.produce(node, request), name="fill"))
            await asyncio.sleep(0)  # requests go out in the order of their making
        await asyncio.gather(*under_way)
    return written


async def _sign(copy: Copy, filling: Filling, written: Written) -> None:
    now = time.time_ns() // 1000
    try:
        await copy.open()
        for number, batch in _batches(filling, written, len(copy.parts)):
            part = copy.parts[number]
            assert await copy.pass_on(part, batch)
            if copy.overdue(part):
                await copy.mark(part, {}, now)
        for part in copy.parts:
            await copy.mark(part, {}, now)
        await copy.drain()
    finally:
        await copy.close()


def _batches(filling: Filling, written: Written, partitions: int) -> Iterator[tuple[int, Batch]]:
    make = full if filling.full else short
    now = int(time.time() * 1000) - 3_600_000
    number, partition = 0, 0
    record = make(0, filling.size, now)
    while number < filling.records:
        builder = Builder(filling.batch, filling.codec)
        records: list[Plain] = []
        while (
            len(records) < filling.together
            and number < filling.records
            and builder.append(record.key, record.value, record.headers, record.timestamp)
        ):
            records.append(record)
            number += 1
            record = make(number, filling.size, now)
        written.all[partition].add(records)
        written.inside[partition].add([each for each in records if _is_inside(each)])
        yield partition, builder.build()
        partition = (partition + 1) % partitions


def _is_inside(record: Plain) -> bool:
    return any(name == "ce_scope" and value == INSIDE.encode() for name, value in record.headers)


def _rounds(
    batches: Iterable[tuple[int, Batch]], partitions: int
) -> Iterator[list[tuple[int, Batch]]]:
    """One batch a partition, which is what a produce request may carry."""
    round_: list[tuple[int, Batch]] = []
    for each in batches:
        round_.append(each)
        if len(round_) == partitions:
            yield round_
            round_ = []
    if round_:
        yield round_


async def read(bootstrap: str, topic: str, partitions: int) -> list[Digest]:
    """Read a whole topic as any consumer does, with aiokafka's own, up to its present end.

    Reads committed data and checks every batch's checksum; levelsync's own records are left out.
    """
    digests = [Digest() for _ in range(partitions)]
    async with Connection(Cluster(bootstrap)) as connection:
        ends = await connection.ends((topic, number) for number in range(partitions))
    left = {number for number in range(partitions) if ends[topic, number][1] > 0}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    try:
        parts = [TopicPartition(topic, number) for number in sorted(left)]
        consumer.assign(parts)
        async with asyncio.timeout(600):
            while left:
                found = await consumer.getmany(timeout_ms=200)
                for part, records in found.items():
                    _enter(digests[part.partition], records)
                for part in parts:
                    # The position passes markers too, which no record shows.
                    if await consumer.position(part) >= ends[part.topic, part.partition][1]:
                        left.discard(part.partition)
    finally:
        await consumer.stop()
    return digests


def _enter(digest: Digest, records: Iterable[Any]) -> None:
    kept = [
        record
        for record in records
        if not record.headers
        or not any(name == "ce_type" and value in OWN for name, value in record.headers)
    ]
    digest.offsets.extend(record.offset for record in kept)
    digest.add(
        [Plain(record.key, record.value, list(record.headers), record.timestamp) for record in kept]
    )


def parts_of(topic: str, partitions: int) -> list[Part]:
    return [(topic, number) for number in range(partitions)]
