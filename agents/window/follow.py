"""Reading a contract's topics into the store: the last step of an event."""

import asyncio
import datetime
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from agents.base.errors import GapFound, StreamReplaced, Unavailable
from agents.base.metrics import LATENCY, Histogram
from agents.base.proof import Proof
from agents.base.requests import Requests
from agents.base.run import until
from agents.base.status import Hop, Status, percentile
from agents.base.stream import Reader, Slice
from agents.base.watermark import Continuity
from agents.kafka.cluster import Cluster
from agents.kafka.messages import Part
from agents.kafka.reader import TopicReader
from agents.kafka.wire import Connection
from agents.kafka.writers import Signatures, look_since
from agents.window.feed import Feed
from agents.window.rebuild import Rebuild
from agents.window.store import Applied, Change, Judge, Store, in_thread
from agents.window.waiting import Waiting, cut
from contracts.check import Checker
from contracts.envelope import header
from contracts.model import Contract
from contracts.publication import digest

log = structlog.get_logger()

#: Brokers forget that a key was deleted after ``delete.retention.ms``, 7 days: a store that is further
#: behind than this, in seconds, may have missed it.
AWAY = 6 * 24 * 3600
#: Latencies are over the last minute, and at most so many.
MINUTE, SAMPLES = 60.0, 10_000
#: Records applied before others get their turn, and in one transaction at most.
SLICE, GROUP = 250, 20_000
#: Seconds a transaction may take.
GROUP_S = 1.0
#: So many records waiting are much: then a transaction takes many.
MUCH = 2_000
#: Bytes of batches that are opened at once.
OPENED = 128 * 1024
#: Seconds between looks at the store's size and at what operators ask for.
LOOK = 1.0


class Follow:
    """One contract at this window, as a part of the agent (:class:`agents.base.run.Part`).

    ``sources`` are the topics that hold it here at this moment; while there are none, nothing is
    shown of it unless ``expected``. ``signatures`` say how those of topics are read.
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
        requests: Requests | None = None,
        signatures: Signatures | None = None,
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
        self._requests = requests
        self._signatures = signatures
        self._proofs: dict[Part, Proof] = {}
        self._rebuild: Rebuild | None = None
        self._states: dict[Part, Continuity] = {}
        #: Where the partitions end that are told again from the top, until they are there.
        self._again: dict[Part, int] = {}
        #: How complete they must be by then, microseconds since 1970 UTC.
        self._least = 0
        self._aligning = False
        #: Records of each partition that were not read yet.
        self._lags: dict[Part, int] = {}
        #: Where each partition is read on.
        self._next: dict[Part, int] = {}
        self._much = False
        self._latencies: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self.hop.latency, self.hop.latencies = self.latency, Histogram(LATENCY)

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

    def look(self) -> frozenset[str]:
        """The topics that hold the contract here at this moment; shown accordingly."""
        topics = self._sources()
        if topics or self.expected:
            self.show()
        else:
            self._status.hide(self.hop)
        return topics

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        while not (topics := self.look()):
            self.hop.waits = "somebody here to have it: a source, or a grant of the parent's"
            if await until(stop, asyncio.sleep(0.2, True)) is None:
                return
        self.hop.waits = ""
        self.hop.from_ = ", ".join(sorted(topics))
        self._remember(topics)
        async with Connection(self._cluster) as connection:
            there = await connection.topics()
            if missing := topics - there.keys():
                await connection.permitted(missing)
                raise Unavailable("A topic is not there", topics=sorted(missing))
            counts = {topic: there[topic] for topic in topics}
            start = await self._start(connection, counts)
            async with TopicReader(connection, start, most=OPENED) as reader:
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
        When an operator asks for a rebuild, all is read into a new place, and what is there is shown
        until that is whole.
        """
        name, store = self.contract.name, self._store
        ends = await connection.ends(
            (topic, number) for topic, count in counts.items() for number in range(count)
        )
        self._rebuild = Rebuild.asked(self._requests, name)
        async with store.lock:
            await in_thread(partial(self._prepare, counts))
            former = store.origins(name) - counts.keys()
            stood = store.positions(former).values()
            self._least = min((state.time for _, state in stood), default=0)
            stale = store.refused_by_others(name, self._judge.name)
            away = _away_too_long(store.positions(counts), ends, time.time())
            aligning = bool(former) or stale or away or self.hop.aligned < self.resync
            if aligning and not self._rebuild:
                log.info(
                    "the state is told again from the top", contract=name, topics=sorted(former)
                )
                store.tell_again(name)
        self._aligning = aligning or self._rebuild is not None
        known = {} if aligning and not self._rebuild else store.positions(counts)
        start = {}
        self._states = {}
        for part, (first, _) in ends.items():
            begin = (first, Continuity(offset=first, thinned=first > 0))
            start[part], self._states[part] = known.get(part, begin)
        await self._prove(connection, ends, start)
        self._lags = {part: max(0, last - start[part]) for part, (_, last) in ends.items()}
        self._again = {
            part: last
            for part, (_, last) in ends.items()
            if self._aligning and (start[part] < last or self._states[part].time < self._least)
        }
        if self._rebuild:
            self._rebuild.begin(
                sum(last - first for first, last in ends.values()),
                sum(start[part] - first for part, (first, _) in ends.items()),
            )
            log.info("everything is read anew", contract=name, count=self._rebuild.expected)
        return start

    async def _prove(
        self,
        connection: Connection,
        ends: Mapping[Part, tuple[int, int]],
        start: Mapping[Part, int],
    ) -> None:
        """Have what is read verified by what its watermarks sign."""
        self.hop.signed.clear()
        self._proofs = {}
        if not self._signatures:
            return
        for part, (first, last) in ends.items():
            proof = self._proofs[part] = self._signatures.proof(part, self.hop, shown=True)
            proof.begin(self._states[part])
            if proof.unknown(self._states[part]) and start[part] < last:
                await look_since(connection, part, (first, last), proof)

    def _prepare(self, counts: Mapping[str, int]) -> None:
        """Have the store ready; in a thread, since it takes a while where much is there."""
        name, store = self.contract.name, self._store
        store.index(name, self.contract.searchable)
        if self._rebuild:
            store.rebuild(name, counts)
        else:
            store.abandon(name)
        store.sweep()

    async def read(self, stop: asyncio.Event, reader: Reader, counts: Mapping[str, int]) -> None:
        """Apply what ``reader`` brings until ``stop`` is set, other topics or more partitions than
        ``counts`` are to be read, or everything is to be read anew."""
        looked, stood = 0.0, dict[Part, int]()
        async with Waiting(reader, stop) as waiting:
            while (pieces := await waiting.next()) is not None:
                await self._take(pieces, waiting)
                if self._aligning and not self._again and await self._aligned(counts):
                    return
                self.hop.running()
                self.hop.lag = sum(self._lags.values())
                if not self._rebuild:
                    self.hop.complete = min(
                        (state.time for state in self._states.values()), default=0
                    )
                if self._next != stood or self.hop.lag == 0:
                    stood = dict(self._next)
                    self.hop.moved()
                if time.monotonic() - looked > LOOK:
                    looked = time.monotonic()
                    self._look()
                    if not self._rebuild and Rebuild.asked(self._requests, self.contract.name):
                        return
                if self._sources() != counts.keys() or reader.grown(counts):
                    return

    async def _take(self, pieces: list[Slice], waiting: Waiting) -> None:
        """Apply ``pieces``, and what comes after them while much waits, in one transaction; then tell of
        it. Others get their turn after every few records."""
        store, began, count = self._store, time.monotonic(), 0
        changes: list[Change] = []
        async with store.lock:
            since = store.last
            much = sum(self._lags.values()) > MUCH
            if much != self._much:
                self._much = much
                store.wide(much)
            try:
                more: list[Slice] | None = pieces
                while more:
                    for piece in more:
                        for some in cut(piece, SLICE):
                            changes += self._apply(some)
                            count += len(some.records)
                            if len(piece.records) > SLICE:
                                await asyncio.sleep(0)
                    enough = count >= GROUP or time.monotonic() - began > GROUP_S
                    waits = sum(self._lags.values()) > MUCH
                    more = await waiting.next(0.05) if waits and not enough else None
                if count > SLICE:
                    await in_thread(store.save)
                elif count:
                    store.save()
                store.tidy(count)
            except (GapFound, StreamReplaced):
                # What stands before it was applied, and saved.
                await self._publish(store.changes_after(since, store.last - since), since)
                raise
            except BaseException:
                store.undo()
                raise
            await self._publish(changes, since)

    def _apply(self, piece: Slice) -> list[Change]:
        """Apply one slice; the changes to tell of."""
        part = (piece.topic, piece.partition)
        self._lags[part], self._next[part] = piece.end - piece.next, piece.next
        changes: list[Change] = []
        if piece.records:
            state = self._states.setdefault(part, Continuity())
            applied = self._store.apply(
                self.contract.name, piece, state, self._judge,
                ahead=sum(self._lags.values()), more=True, proof=self._proofs.get(part),
            )  # fmt: skip
            self._count(applied)
            changes = applied.changes
            if self.hop.tracing:
                self._trace(piece, {change.id for change in changes})
        if part in self._again and self._told_again(part, piece.next):
            del self._again[part]
        return changes

    def _trace(self, piece: Slice, applied: set[str]) -> None:
        """The spans of what ``piece`` brought, and its traces for what is delivered of it."""
        tracing = self.hop.tracing
        assert tracing
        for record in piece.records:
            if done := tracing.follow(self.hop, record.headers):
                name = (header(record.headers, "ce_id") or b"").decode(errors="replace")
                if name in applied:
                    done(record.offset)
                    tracing.remember(name, record.headers)

    def _told_again(self, part: Part, following: int) -> bool:
        return following >= self._again[part] and self._states[part].time >= self._least

    def _count(self, applied: Applied) -> None:
        self.hop.events += len(applied.changes) + applied.skipped
        if applied.refused:
            self.hop.rejected += applied.refused
            log.error(
                "changes that break the contract are not shown", contract=self.contract.name,
                count=applied.refused, topic=self.hop.from_,
            )  # fmt: skip
        self.repeated += applied.repeated
        self.out_of_order += applied.out_of_order

    async def _publish(self, changes: list[Change], since: int) -> None:
        """Tell of what was saved after change ``since``."""
        for at in range(0, len(changes), SLICE):
            if at:
                await asyncio.sleep(0)
            if changes[at].seq != since + 1:
                break
            some = changes[at : at + SLICE]
            since = some[-1].seq
            self._feed.publish(some)
        if since != self._store.last:
            self._feed.passed(self._store.last)
        now, moment = time.time_ns() // 1000, time.monotonic()
        fresh = [(now - change.time) / 1000 for change in changes if not change.copied]
        self._latencies.extend((moment, took) for took in fresh[-SAMPLES:])
        if self._aligning or not self.hop.complete or self.hop.latencies is None:
            return  # what is read for the first time, or told again, happened long ago
        for took in fresh:
            self.hop.latencies.observe(max(0.0, took / 1000))

    async def _aligned(self, counts: Mapping[str, int]) -> bool:
        """Everything was read again; True when reading is to begin once more."""
        name, store = self.contract.name, self._store
        self._aligning = False
        async with store.lock:
            since = store.last
            if self._rebuild is None:
                gone = await in_thread(partial(store.told_again, name, counts))
                await self._publish(gone, since)
                self.hop.aligned = max(self.hop.aligned, self.resync)
                return False
            store.rebuilt(name)
            await self._publish([], since)
        self._rebuild.done(store.total(name))
        log.info("everything was read anew", contract=name, count=store.total(name))
        self._rebuild = None
        self.hop.warnings.pop("rebuild", None)
        return True

    def _look(self) -> None:
        """Say how much is here, and how far a rebuild is."""
        store = self._store
        self.hop.gauges["store_records"] = store.total(self.contract.name)
        self.hop.gauges["store_bytes"] = store.bytes
        if self._rebuild:
            left = sum(max(0, self._lags[part]) for part in self._again)
            self._rebuild.tell(self._rebuild.expected - left)
            self.hop.warnings["rebuild"] = (
                f"everything is read anew, {self._rebuild.share:.0%} so far; what is shown is older"
            )

    @property
    def rebuilding(self) -> float | None:
        """How much was read anew, from 0 to 1, while what is shown is older; None otherwise."""
        return self._rebuild.share if self._rebuild else None

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
    known: Mapping[Part, tuple[int, Continuity]],
    ends: Mapping[Part, tuple[int, int]],
    now: float,
) -> bool:
    """Has upstream gone on since a time so long before ``now``, seconds since 1970 UTC?"""
    since = now - AWAY
    return any(
        state.time and state.time / 1e6 < since and following != ends[part][1]
        for part, (following, state) in known.items()
        if part in ends
    )
