"""Reading a contract's topics into the store: the last step of an event."""

import asyncio
import datetime
import time
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from agents.base.errors import Unavailable
from agents.base.run import until
from agents.base.status import Hop, Status, percentile
from agents.base.stream import Reader
from agents.base.watermark import Continuity
from agents.kafka.cluster import Cluster
from agents.kafka.reader import TopicReader
from agents.kafka.wire import Connection, Part
from agents.window.feed import Feed
from agents.window.store import Applied, Judge, Store
from contracts.check import Checker
from contracts.model import Contract
from contracts.publication import digest

log = structlog.get_logger()

#: Brokers forget that a key was deleted after ``delete.retention.ms``, 7 days: a store that is further
#: behind than this, in seconds, may have missed it.
AWAY = 6 * 24 * 3600
#: Latencies are over the last minute, and at most so many.
MINUTE, SAMPLES = 60.0, 10_000


class Follow:
    """One contract at this window, as a part of the agent (:class:`agents.base.run.Part`).

    ``sources`` are the topics that hold it here at this moment; while there are none, nothing is
    shown of it unless ``expected``.
    """

    def __init__(
        self,
        status: Status,
        *,
        contract: Contract,
        cluster: Cluster,
        store: Store,
        feed: Feed,
        sources: Callable[[], frozenset[str]],
    ) -> None:
        self.use(contract)
        self.hop = Hop("window", contract.name, contract.name, "window")
        self.repeated = 0
        self.out_of_order = 0
        #: The last day on which its owner fills this major; None without end.
        self.sunset: datetime.date | None = None
        #: Is it shown while there is nothing of it yet?
        self.expected = False
        #: When an operator asked for the state to be told again, microseconds since 1970 UTC.
        self.resync = 0
        self._status = status
        self._cluster = cluster
        self._store = store
        self._feed = feed
        self._sources = sources
        self._states: dict[Part, Continuity] = {}
        #: Where the partitions end that are told again from the top, until they are there.
        self._again: dict[Part, int] = {}
        #: How complete they must be by then, microseconds since 1970 UTC.
        self._least = 0
        self._latencies: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self.hop.latency = self.latency

    def use(self, contract: Contract) -> None:
        """From the next run on the events are checked against ``contract``."""
        self.contract = contract
        name = f"{contract.dataschema} {digest(contract)[:16]}"
        self._judge = Judge(name, Checker(contract).decode)

    def show(self) -> None:
        """Show the contract, whether there is anything of it or not."""
        self._status.show(self.hop)

    @property
    def shown(self) -> bool:
        """Is the contract here, or expected to be?"""
        return any(hop is self.hop for hop in self._status.hops)

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        self._status.hide(self.hop)
        if self.expected:
            self._status.show(self.hop)
        while not (topics := self._sources()):
            if await until(stop, asyncio.sleep(0.2, True)) is None:
                return
        self._status.show(self.hop)
        self.hop.from_ = ", ".join(sorted(topics))
        self._remember(topics)
        async with Connection(self._cluster) as connection:
            there = await connection.topics()
            if missing := topics - there.keys():
                raise Unavailable("A topic is not there", topics=sorted(missing))
            counts = {topic: there[topic] for topic in topics}
            start = await self._start(connection, counts)
            async with TopicReader(connection, start) as reader:
                await self.read(stop, reader, counts)

    def _remember(self, topics: frozenset[str]) -> None:
        """What is here is as complete as it was, also while Kafka is away."""
        known = self._store.positions(topics).values()
        self.hop.complete = self.hop.complete or min((state.time for _, state in known), default=0)

    async def _start(self, connection: Connection, counts: Mapping[str, int]) -> dict[Part, int]:
        """Where to read on: where the store stands, or the beginning of what it never read.

        When an operator asks for it, the contract comes from another topic than before, what was refused
        may be right by now, or we were away for so long that upstream may have forgotten deletions,
        everything is told again from the top, and what is not told then is deleted at the end of it.
        Another topic may only just be filled: that end is not before it is as complete as what is here.
        """
        name = self.contract.name
        ends = await connection.ends(
            (topic, number) for topic, count in counts.items() for number in range(count)
        )
        former = self._store.origins(name) - counts.keys()
        self._again = {}
        stood = self._store.positions(former).values()
        self._least = min((state.time for _, state in stood), default=0)
        stale = self._store.refused_by_others(name, self._judge.name)
        away = _away_too_long(self._store.positions(counts), ends)
        if former or stale or away or self.hop.aligned < self.resync:
            log.info("the state is told again from the top", contract=name, former=sorted(former))
            self._again = {part: last for part, (_, last) in ends.items()}
            self._store.tell_again(name)
        known = {} if self._again else self._store.positions(counts)
        start = {}
        self._states = {}
        for part, (first, _) in ends.items():
            begin = (first, Continuity(offset=first, thinned=first > 0))
            start[part], self._states[part] = known.get(part, begin)
        return start

    async def read(self, stop: asyncio.Event, reader: Reader, counts: Mapping[str, int]) -> None:
        """Apply what ``reader`` brings until ``stop`` is set or other topics or more partitions than
        ``counts`` are to be read."""
        lags: dict[Part, int] = {}
        while (pieces := await until(stop, reader.read())) is not None:
            for piece in pieces:
                part = (piece.topic, piece.partition)
                if piece.records:
                    state = self._states.setdefault(part, Continuity())
                    self._applied(self._store.apply(self.contract.name, piece, state, self._judge))
                lags[part] = piece.end - piece.next
                if part in self._again and self._told_again(part, piece.next):
                    del self._again[part]
                    if not self._again:
                        self._feed.publish(self._store.told_again(self.contract.name, counts))
                        self.hop.aligned = max(self.hop.aligned, self.resync)
            self.hop.running()
            self.hop.lag = sum(lags.values())
            self.hop.complete = min((state.time for state in self._states.values()), default=0)
            self.hop.moved()
            if self._sources() != counts.keys() or reader.grown(counts):
                return

    def _told_again(self, part: Part, following: int) -> bool:
        return following >= self._again[part] and self._states[part].time >= self._least

    def _applied(self, applied: Applied) -> None:
        self.hop.events += len(applied.changes)
        if applied.refused:
            self.hop.rejected += applied.refused
            log.error(
                "changes that break the contract are not shown", contract=self.contract.dataschema,
                count=applied.refused, topics=self.hop.from_,
            )  # fmt: skip
        self.repeated += applied.repeated
        self.out_of_order += applied.out_of_order
        self._feed.publish(applied.changes)
        now, moment = time.time_ns() // 1000, time.monotonic()
        self._latencies.extend(
            (moment, (now - change.time) / 1000) for change in applied.changes if not change.copied
        )

    def latency(self) -> dict[str, float] | None:
        """Milliseconds from commit to here over the last minute, None when nothing came.

        Rows of a first copy do not count: nobody committed them just now.
        """
        since = time.monotonic() - MINUTE
        recent = [value for moment, value in self._latencies if moment >= since]
        if not recent:
            return None
        return {"p50": round(percentile(recent, 0.5), 2), "p99": round(percentile(recent, 0.99), 2)}


def _away_too_long(
    known: Mapping[Part, tuple[int, Continuity]], ends: Mapping[Part, tuple[int, int]]
) -> bool:
    """Has upstream gone on since a time so long ago?"""
    since = time.time() - AWAY
    return any(
        state.time and state.time / 1e6 < since and following != ends[part][1]
        for part, (following, state) in known.items()
        if part in ends
    )
