"""Many events through a topic, and a comparison of topics record for record."""

import asyncio
import collections
import itertools
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from agents.base.errors import GapFound, StreamReplaced, Unavailable
from agents.base.proof import Proof
from agents.base.status import Hop
from agents.base.stream import take
from agents.base.watermark import Continuity
from agents.kafka.batches import Batch, Builder
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.messages import Part
from agents.kafka.reader import TopicReader
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Claim, Connection
from agents.kafka.writers import Signatures
from contracts.envelope import header
from tests.live.streams import PARTITIONS

#: How many records a batch has in :class:`Source`, unless it is told otherwise.
SIZES = (1, 3, 30, 300, 1500)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_FILLING = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz 0123456789", k=4000))


class Source:
    """An owner's agent with ``count`` events to tell, the same ones whenever it starts over.

    It writes batches of random sizes and codecs, a watermark after a share ``marks`` of them, and after
    any failure goes on from its topic's end, as every agent does. ``pace`` is awaited with the share told so far.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        count: int,
        *,
        seed: int = 1,
        sizes: Sequence[int] = SIZES,
        codecs: Sequence[int] = tuple(CODECS.values()),
        marks: float = 0.2,
        pace: Callable[[float], Awaitable[None]] | None = None,
        signer: Any = None,
    ) -> None:
        self._signer = signer
        self.topic = Topic(topic, PARTITIONS, DATA)
        self.count = count
        self.cluster = cluster
        self._each = [count // PARTITIONS + (p < count % PARTITIONS) for p in range(PARTITIONS)]
        self._chance = random.Random(seed)
        self._sizes = sizes
        self._codecs = codecs
        self._marks = marks
        self._pace = pace

    async def tell(self) -> None:
        """Write everything, over failures of the broker."""
        while True:
            claim = Claim(f"source-{self.topic.name}")
            copy = Copy(self.cluster, claim, self.topic.parts, signer=self._signer)
            try:
                await ensure(self.cluster, [self.topic])
                await self._tell(copy)
                return
            except Unavailable:
                await asyncio.sleep(0.2)
            finally:
                await copy.close()

    async def _tell(self, copy: Copy) -> None:
        chance = self._chance
        ends = await copy.open()
        told = {
            part: (end.mark.position["told"] if end.mark else 0) + len(end.held)
            for part, end in ends.items()
        }
        left = [part for part in self.topic.parts if told[part] < self._each[part[1]]]
        while left:
            part = chance.choice(left)
            at = told[part]
            size = min(chance.choice(self._sizes), self._each[part[1]] - at)
            batch = batch_of(part[1], at, size, chance.choice(self._codecs))
            assert await copy.pass_on(part, batch)
            told[part] = at + size
            last = told[part] == self._each[part[1]]
            if last:
                left.remove(part)
            if last or chance.random() < self._marks:
                await copy.mark(part, {"told": told[part]}, 1_700_000_000_000_000 + told[part])
            if self._pace:
                await self._pace(sum(told.values()) / self.count)
            copy.check()
        await copy.drain()


def batch_of(partition: int, first: int, size: int, codec: int) -> Batch:
    """A batch of the events of a partition from number ``first`` on, some 290 bytes each."""
    builder = Builder(16 * 1024 * 1024, codec)
    for number in range(first, first + size):
        at = (number * 37) % 3800
        assert builder.append(
            b"%d-key-%d" % (partition, number % 500),
            b'{"number":%d,"text":"%s"}' % (number, _FILLING[at : at + 100].encode()),
            (
                ("ce_id", b"%d-%d" % (partition, number)),
                ("ce_type", b"resident.v2.changed"),
                ("ce_source", b"/37/resident.v2"),
                ("ce_sequence", b"%016d" % number),
                ("ce_scope", b"370102001"),
            ),
            1_700_000_000_000 + number,
        )
    return builder.build()


_WRITER = struct.Struct(">qh")
_WRITER_AT = 43


class Follower:
    """Reads a topic as it grows, over its broker's restarts: what stands in it, record for record."""

    def __init__(self, cluster: Cluster, topic: str, signatures: Signatures | None = None) -> None:
        self.topic = topic
        #: How what it reads is signed.
        self.hop = Hop("window", "", topic, "")
        #: By partition: the id and a digest of each event.
        self.events: dict[int, list[tuple[bytes, int]]] = {p: [] for p in range(PARTITIONS)}
        #: By partition: producer id and epoch of each batch.
        self.writers: dict[int, list[tuple[int, int]]] = {p: [] for p in range(PARTITIONS)}
        #: What its watermarks say is missing or too much.
        self.gaps: list[GapFound | StreamReplaced] = []
        #: When the last event came, monotonic seconds.
        self.arrived = 0.0
        self._cluster = cluster
        self._next: dict[Part, int] = {(topic, p): 0 for p in range(PARTITIONS)}
        self._states = [Continuity(offset=0, thinned=False) for _ in range(PARTITIONS)]
        self._proofs: dict[int, Proof] = {}
        if signatures:
            for partition, state in enumerate(self._states):
                proof = signatures.proof((topic, partition), self.hop, shown=True)
                proof.begin(state)
                self._proofs[partition] = proof

    @property
    def count(self) -> int:
        return sum(map(len, self.events.values()))

    async def follow(self) -> None:
        """Read on and on, until cancelled."""
        while True:
            try:
                async with Connection(self._cluster) as connection:
                    there = await connection.topics()
                    if self.topic in there:
                        await self._read(connection, lambda: False)
            except Unavailable:
                pass
            await asyncio.sleep(0.1)

    async def finish(self) -> None:
        """Read up to the end."""
        async with asyncio.timeout(60), Connection(self._cluster) as connection:
            ends = await connection.ends(self._next)
            await self._read(
                connection, lambda: all(self._next[part] >= end for part, (_, end) in ends.items())
            )

    async def end(self) -> int:
        """How many records stand there by the offsets: cheaper than reading them; 0 when not known."""
        with suppress(Unavailable):
            async with Connection(self._cluster) as connection:
                return sum(end for _, end in (await connection.ends(self._next)).values())
        return 0

    async def _read(self, connection: Connection, enough: Callable[[], bool]) -> None:
        async with TopicReader(connection, self._next) as reader:
            while not enough():
                for stretch in await reader.read_batches():
                    for batch in stretch.batches:
                        self._enter(stretch.partition, batch, stretch.start)
                    self._next[self.topic, stretch.partition] = stretch.next
                await asyncio.sleep(0)

    def _enter(self, partition: int, batch: Batch, start: int) -> None:
        self.writers[partition].append(_WRITER.unpack_from(batch.data, _WRITER_AT))
        events = self.events[partition]
        for record in batch.records(start):
            try:
                kind = take(record, self._states[partition], self._proofs.get(partition))
            except (GapFound, StreamReplaced) as error:
                self.gaps.append(error)
                self._states[partition] = Continuity(offset=record.offset + 1)
                continue
            if kind is True:
                name = header(record.headers, "ce_id") or b""
                digest = hash((record.timestamp, record.key, record.value, tuple(record.headers)))
                events.append((name, digest))
                self.arrived = time.monotonic()


@asynccontextmanager
async def following(*followers: Follower) -> AsyncIterator[None]:
    """They read while the block lasts."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(follower.follow(), name=f"follow-{follower.topic}")
            for follower in followers
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def difference(there: Follower, here: Follower) -> str:
    """What ``here`` has otherwise than ``there``, record for record and in order; empty when nothing."""
    found = []
    for partition in range(PARTITIONS):
        wanted, got = there.events[partition], here.events[partition]
        if wanted == got:
            continue
        times = collections.Counter(name for name, _ in got)
        repeated = sum(times.values()) - len(times)
        missing = len({name for name, _ in wanted} - times.keys())
        first = next(
            (at for at, (one, other) in enumerate(zip(wanted, got, strict=False)) if one != other),
            min(len(wanted), len(got)),
        )
        found.append(
            f"partition {partition}: {repeated} repeated, {missing} missing,"
            f" first otherwise at event {first} of {len(wanted)}"
        )
    found += [f"{here.topic}: {gap}" for gap in here.gaps[:3]]
    return "; ".join(found)


def usurped(follower: Follower) -> str:
    """Where a writer wrote below one that came after it; empty when nowhere."""
    return "; ".join(
        f"partition {partition}: epoch {one[1]} follows {before[1]}"
        for partition, writers in follower.writers.items()
        for before, one in itertools.pairwise(writers)
        if one[0] == before[0] and one[1] < before[1]
    )
