"""One hop: topics of one cluster → a copy on another (a link) or the same (a view).

A hop verifies the watermarks it reads and draws its own, each naming the upstream position up to
which the copy is complete. After any failure it starts over from the copy's end, so that nothing is
lost and nothing repeated.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import structlog

from agents.base.run import until
from agents.base.status import Hop
from agents.base.stream import Record, take
from agents.base.watermark import Continuity, Watermark
from agents.kafka.batches import Batch
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy, End, TooLarge
from agents.kafka.letters import bury
from agents.kafka.reader import Stretch, TopicReader
from agents.kafka.topics import Topic, WrongPartitions, ensure
from agents.kafka.wire import Connection, Part
from contracts.envelope import Header, header

log = structlog.get_logger()

#: Where several topics are merged, each with a watermark a second, one in this many seconds is ours.
MARK_SECONDS = 0.5


class Passed(NamedTuple):
    """What of a record goes on."""

    value: bytes | None
    headers: Sequence[Header]


class Sieve(Protocol):
    """Decides what of each record goes on, and remembers what it needs to decide the same again."""

    async def open(self, ends: dict[Part, End]) -> None:
        """Be as it was when the watermark of each end was drawn."""
        ...

    def take(self, partition: int, record: Record) -> Passed | None: ...

    def marking(self, partition: int) -> Callable[[int], None]:
        """A watermark is about to be drawn; the answer is called with its offset once it stands."""
        ...

    def close(self) -> None: ...


class _Lane(msgspec.Struct):
    """One partition of the hop."""

    #: What was read of each upstream topic.
    upstream: dict[str, Continuity]
    #: Where upstream ended when the copy was opened: the copy holds nothing from beyond.
    bound: dict[str, int]
    #: Ids the copy holds after its last watermark, still to be told again.
    held: set[str]
    next: dict[str, int]
    end: dict[str, int]
    due: bool = False
    marked_at: float = 0.0
    complete: int = 0

    @property
    def passed(self) -> bool:
        """Has upstream told again everything the copy already held?"""
        if self.held and all(self.next[topic] >= bound for topic, bound in self.bound.items()):
            self.held.clear()
        return not self.held

    @property
    def time(self) -> int:
        return min(state.time for state in self.upstream.values())


class Relay:
    """A hop as a part of the agent (:class:`agents.base.run.Part`).

    ``sources`` says which upstream topics to read at this moment; when it says otherwise later, the
    hop begins again with them.
    """

    def __init__(
        self,
        hop: Hop,
        *,
        upstream: Cluster,
        downstream: Cluster,
        sources: Callable[[], frozenset[str]],
        target: Topic,
        identity: str,
        here: Cluster | None = None,
        sieve: Callable[[], Sieve] | None = None,
    ) -> None:
        self.hop = hop
        self._upstream = upstream
        self._downstream = downstream
        #: Where this agent keeps its dead letters.
        self._here = here or downstream
        self._sources = sources
        self._target = target
        self._identity = identity
        self._make_sieve = sieve

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        topics = await until(stop, self._upstream_topics())
        if topics is None:
            return
        await ensure(self._downstream, [self._target])
        copy = Copy(self._downstream, self._identity, self._target.parts)
        sieve = self._make_sieve() if self._make_sieve else None
        async with Connection(self._upstream) as above:
            try:
                ends = await copy.open()
                if sieve:
                    await sieve.open(ends)
                lanes = await self._lanes(above, topics, ends)
                start = {
                    (topic, partition): lane.next[topic]
                    for partition, lane in lanes.items()
                    for topic in topics
                }
                async with TopicReader(above, start) as reader:
                    await self._pump(stop, topics, reader, copy, lanes, sieve)
                await self._finish(copy, lanes, sieve)
            finally:
                await copy.close()
                if sieve:
                    sieve.close()

    async def _upstream_topics(self) -> frozenset[str]:
        """Wait until there is something to read: it may not have been granted or made yet."""
        said = False
        while True:
            async with Connection(self._upstream) as connection:
                for _ in range(20):
                    topics = self._sources()
                    if topics and topics <= (await connection.topics()).keys():
                        return topics
                    await asyncio.sleep(0.25)
            if not said:
                said = True
                log.info(
                    "waiting for upstream to have it", contract=self.hop.contract,
                    topic=self.hop.to, kafka=self._upstream.bootstrap, upstream=sorted(topics),
                )  # fmt: skip

    async def _lanes(
        self, above: Connection, topics: frozenset[str], ends: dict[Part, End]
    ) -> dict[int, _Lane]:
        """Where each partition of the copy says upstream stood."""
        there = await above.topics()
        for topic in topics:
            if there.get(topic) != self._target.partitions:
                raise WrongPartitions(
                    topic=topic, expected=self._target.partitions, found=there.get(topic)
                )
        bounds = await above.ends(
            (topic, partition) for topic in topics for partition in range(there[topic])
        )
        lanes = {}
        for (_, partition), end in ends.items():
            known = end.mark.position if end.mark else {}
            states = {
                topic: msgspec.convert(position, Continuity) for topic, position in known.items()
            }
            for topic in topics:
                if topic not in states:
                    first = bounds[topic, partition][0]
                    states[topic] = Continuity(offset=first, thinned=first > 0)
            lanes[partition] = _Lane(
                # A topic that is gone keeps its position: it may come back.
                upstream=states,
                bound={topic: bounds[topic, partition][1] for topic in topics},
                held=set(end.held),
                next={topic: states[topic].offset for topic in topics},
                end={topic: bounds[topic, partition][1] for topic in topics},
                complete=end.mark.time if end.mark else 0,
            )
        return lanes

    async def _pump(
        self,
        stop: asyncio.Event,
        topics: frozenset[str],
        reader: TopicReader,
        copy: Copy,
        lanes: dict[int, _Lane],
        sieve: Sieve | None,
    ) -> None:
        hop = self.hop
        while not copy.worn:
            stretches = await until(stop, reader.read_batches())
            if stretches is None or self._sources() != topics:
                return
            hop.running()
            for stretch in stretches:
                lane = lanes[stretch.partition]
                await self._pass_on(stretch, lane, copy, sieve)
                lane.next[stretch.topic], lane.end[stretch.topic] = stretch.next, stretch.end
            await copy.flush()
            now = time.monotonic()
            for partition, lane in lanes.items():
                part = (self._target.name, partition)
                late = lane.due and now - lane.marked_at >= MARK_SECONDS
                if late or copy.overdue(part):
                    await self._mark(partition, lane, copy, sieve)
            copy.check()
            hop.lag = sum(
                lane.end[topic] - lane.next[topic] for lane in lanes.values() for topic in topics
            )
            hop.complete = min(lane.complete for lane in lanes.values())

    async def _pass_on(
        self, stretch: Stretch, lane: _Lane, copy: Copy, sieve: Sieve | None
    ) -> None:
        part = (self._target.name, stretch.partition)
        state = lane.upstream[stretch.topic]
        for batch in stretch.batches:
            # Whatever is not an event stands in a batch of its own, and what the copy's end holds
            # is left out one by one.
            unopened = (
                sieve is None
                and not lane.held
                and batch.count > 1
                and batch.whole
                and batch.base >= stretch.start
                and copy.worth(batch)
            )
            if unopened and await copy.pass_on(part, batch):
                state.events(batch.base, batch.count, batch.next)
                self.hop.events += batch.count
            else:
                await self._open(batch, stretch, lane, copy, sieve)

    async def _open(
        self, batch: Batch, stretch: Stretch, lane: _Lane, copy: Copy, sieve: Sieve | None
    ) -> None:
        """Pass on the records of a batch one by one."""
        part = (self._target.name, stretch.partition)
        state = lane.upstream[stretch.topic]
        held = lane.held
        for record in batch.records(stretch.start):
            kind = take(record, state)
            if kind is True:
                passed: Passed | Record | None = record
                if sieve:
                    passed = sieve.take(stretch.partition, record)
                if passed is None:
                    continue
                if held:
                    name = (header(record.headers, "ce_id") or b"").decode()
                    if name in held:
                        held.discard(name)
                        continue
                try:
                    copy.add(
                        part,
                        record.key,
                        passed.value,
                        passed.headers,
                        record.timestamp,
                        batch.codec,
                    )
                    self.hop.events += 1
                except TooLarge as error:
                    await self._refuse(record, stretch, error)
            elif kind is not False:
                lane.due = True
                lane.next[stretch.topic] = record.offset + 1
                if len(lane.upstream) == 1:
                    await self._mark(stretch.partition, lane, copy, sieve)

    async def _refuse(self, record: Record, stretch: Stretch, error: TooLarge) -> None:
        """What can never be in the copy is kept with its reason, before any watermark is above it."""
        await bury(
            self._here,
            self._target,
            stretch.partition,
            record,
            rule="too-large",
            message=f"{error} It lies in {stretch.topic}, partition {stretch.partition}, "
            f"offset {record.offset}, of Kafka at {self._upstream.bootstrap}.",
        )
        self.hop.rejected += 1
        log.warning(
            "dead letter", hop=self.hop.hop, contract=self.hop.contract, topic=self.hop.to,
            error=str(error), offset=record.offset,
        )  # fmt: skip

    async def _mark(self, partition: int, lane: _Lane, copy: Copy, sieve: Sieve | None) -> None:
        if not lane.passed:
            return
        done = sieve.marking(partition) if sieve else None
        mark: Watermark = await copy.mark(
            (self._target.name, partition), lane.upstream, lane.time, done
        )
        lane.due, lane.marked_at, lane.complete = False, time.monotonic(), mark.time

    async def _finish(self, copy: Copy, lanes: dict[int, _Lane], sieve: Sieve | None) -> None:
        """Drain: everything read is written, and a watermark says so."""
        for partition, lane in lanes.items():
            if copy.unmarked((self._target.name, partition)):
                await self._mark(partition, lane, copy, sieve)
        await copy.drain()
