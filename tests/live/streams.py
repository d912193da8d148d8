"""Writing and reading whole topics, for tests of what copies them."""

import asyncio
from collections.abc import Iterable
from typing import Any

from agents.base.run import Part, supervise
from agents.base.stream import Record, take
from agents.base.watermark import Continuity, Watermark
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.reader import TopicReader
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Claim, Connection
from contracts.envelope import Event, header, headers_of

PARTITIONS = 3


def event(number: int, key: str | None = None, scope: str = "370102001") -> Event:
    """A change of which only the id, key and scope matter."""
    return Event(
        key=key or f"key-{number % 50}",
        value=b'{"number":%d}' % number,
        id=f"id-{number}",
        source="/37/resident.v2",
        type="resident.v2.changed",
        time=1_700_000_000_000_000 + number,
        dataschema="resident.v2/2.0",
        sequence=f"{number:016}",
        scope=scope,
    )


class Writer:
    """The owner's agent of a topic, reduced to writing what it is told."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        partitions: int = PARTITIONS,
        signer: Any = None,
    ) -> None:
        self.topic = topic
        self.parts = [(topic, partition) for partition in range(partitions)]
        self.cluster = cluster
        self.copy = Copy(cluster, Claim(f"writer-{topic}"), self.parts, signer=signer)

    async def __aenter__(self) -> "Writer":
        await ensure(self.cluster, [Topic(self.topic, len(self.parts), DATA)])
        await self.copy.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.copy.close()

    async def write(self, events: Iterable[Event], *, mark: bool = True) -> None:
        """Write, in the order given within a partition, and draw a watermark in each."""
        last = 0
        for each in events:
            part = self.parts[sum(each.key.encode()) % len(self.parts)]
            self.copy.add(part, each.key.encode(), each.value, headers_of(each), each.time // 1000)
            last = max(last, each.time)
        if mark:
            for part in self.parts:
                await self.copy.mark(part, {}, last)
        await self.copy.drain()


async def read_all(
    cluster: Cluster, topic: str, partitions: int = PARTITIONS
) -> tuple[list[Record], list[Watermark]]:
    """Every event and watermark of a topic, its counts verified on the way."""
    states = {part: Continuity(offset=0, thinned=False) for part in range(partitions)}
    left = set(range(partitions))
    events: list[Record] = []
    marks: list[Watermark] = []
    start = {(topic, part): 0 for part in range(partitions)}
    async with (
        asyncio.timeout(20),
        Connection(cluster) as connection,
        TopicReader(connection, start) as reader,
    ):
        while left:
            for piece in await reader.read():
                for record in piece.records:
                    kind = take(record, states[piece.partition])
                    if kind is True:
                        events.append(record)
                    elif kind is not False:
                        marks.append(kind)
                if piece.next >= piece.end:
                    left.discard(piece.partition)
    return events, marks


class Running:
    """A hop that runs while the block lasts."""

    def __init__(self, part: Part) -> None:
        self.hop = part.hop
        self._part = part
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(supervise(self._part, self._stop), name="hop")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(self.task, return_exceptions=True)


def ids(records: Iterable[Record]) -> list[str]:
    return [(header(record.headers, "ce_id") or b"").decode() for record in records]


async def until_true(question: object, seconds: float = 15.0) -> None:
    """Wait until the callable answers true; a test fails here rather than hang."""
    assert callable(question)
    async with asyncio.timeout(seconds):
        while not question():
            await asyncio.sleep(0.02)
