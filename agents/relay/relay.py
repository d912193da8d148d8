"""One hop: topics of one cluster → a copy on another (a link) or the same (a view).

A hop verifies the watermarks it reads and draws its own, each naming the upstream position up to
which the copy is complete. After any failure it starts over from the copy's end, so that nothing is
lost and nothing repeated. When that is not enough, because what the copy is to hold has changed or
the operator asks for it, the copy is brought in line first (:mod:`agents.relay.align`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from agents.base.errors import (
    LevelsyncError,
    PositionGone,
    Refused,
    Strangers,
    StreamReplaced,
    Unavailable,
)
from agents.base.keyring import Signer
from agents.base.proof import Proof
from agents.base.run import until
from agents.base.statement import Seal, Unproven, chained, event_chained, read
from agents.base.status import Hop
from agents.base.stream import Record, take
from agents.base.watermark import LEFT_OUT, Continuity, Watermark
from agents.kafka.batches import Batch
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy, Unfit
from agents.kafka.ends import End, look_back
from agents.kafka.letters import bury
from agents.kafka.messages import Part
from agents.kafka.reader import Stretch, TopicReader
from agents.kafka.topics import Topic, ensure
from agents.kafka.wire import Claim, Connection
from agents.kafka.writers import Signatures, look_since
from agents.relay.align import Alignment
from agents.relay.terms import Giving, Terms, Whole
from agents.relay.view import Passed, View
from contracts.envelope import header

log = structlog.get_logger()

#: Where several topics are merged, each with a watermark a second, one in this many seconds is ours.
MARK_SECONDS = 0.5
#: Brokers forget that a key was deleted after ``delete.retention.ms``, 7 days: a copy that is further
#: behind than this, in seconds, may have missed it.
AWAY = 6 * 24 * 3600
#: Seconds for which every batch is opened after brokers have refused one.
WARY = 60.0
#: Seconds between two looks whether upstream is complete enough to bring the copy in line with it.
_LOOK = 0.5


class AwayTooLong(LevelsyncError):
    """The copy is so far behind that upstream may have forgotten deletions it never saw."""

    gap = True
    hint = "`levelsync resync NODE.toml CONTRACT` brings it in line with what upstream holds now."


class Position(msgspec.Struct):
    """Where a hop's upstream stood, and what it let through: part of each of its watermarks.

    ``since`` is the moment the copy was last brought in line, 0 when it never had to be; while it is
    being brought in line, ``aligning`` says that ``upstream`` is not to be resumed from. ``apart`` says
    why the events since the statement carried last are not exactly those that were signed.
    """

    upstream: dict[str, Continuity]
    terms: Terms | None = None
    since: int = 0
    aligning: bool = False
    apart: str = ""


def position_of(end: End) -> Position:
    """The position the last watermark of a copy's partition names."""
    return msgspec.convert(end.mark.position, Position) if end.mark else Position({})


class _Lane(msgspec.Struct):
    """One partition of the hop."""

    #: What was read of each upstream topic that has this partition.
    upstream: dict[str, Continuity]
    #: Where upstream ended when the copy was opened: the copy holds nothing from beyond.
    bound: dict[str, int]
    #: Ids the copy holds after its last watermark, still to be told again.
    held: set[str]
    next: dict[str, int]
    end: dict[str, int]
    #: How many of them compaction upstream has taken: they were never told again.
    untold: int = 0
    due: bool = False
    marked_at: float = 0.0
    complete: int = 0
    #: See :class:`Position`.
    apart: str = ""

    @property
    def passed(self) -> bool:
        """Has upstream told again everything the copy already held?

        A topic that is away for the moment may have told some of it.
        """
        if (
            self.held
            and self.bound.keys() >= self.upstream.keys()
            and all(self.next[topic] >= bound for topic, bound in self.bound.items())
        ):
            self.untold = len(self.held)
            self.held.clear()
        return not self.held

    @property
    def time(self) -> int:
        return max(self.complete, min((state.time for state in self.upstream.values()), default=0))

    @property
    def lag(self) -> int:
        return sum(end - self.next[topic] for topic, end in self.end.items())


class Relay:
    """A hop as a part of the agent (:class:`agents.base.run.Part`).

    ``sources`` says which upstream topics to read at this moment; when it says otherwise later, the
    hop begins again with them. ``view`` reduces what goes on; without it everything does, in whole
    batches where that pays. A hop that has ``ended`` empties its copy. ``resync`` is the moment at
    which an operator asked for the copy to be brought in line, in microseconds since 1970 UTC. ``signer``
    signs the copy, ``signatures`` say how those of upstream are read.
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
        state: Path,
        here: Cluster | None = None,
        view: Callable[[], View] | None = None,
        ended: bool = False,
        resync: int = 0,
        signer: Signer | None = None,
        signatures: Signatures | None = None,
    ) -> None:
        self.hop = hop
        self._signer = signer
        self._signatures = signatures
        self._proofs: dict[Part, Proof] = {}
        self._upstream = upstream
        self._downstream = downstream
        #: Where this agent keeps its dead letters.
        self._here = here or downstream
        self._sources = sources
        self._target = target
        self._claim = Claim(identity)
        self._state = state
        self._make_view = view
        self._view: View | None = None
        self._ended = ended
        self._resync = resync
        self._since = 0
        #: Must the copy be brought in line, though its end does not show it?
        self._misfit = False
        #: Until then every batch is opened: brokers have refused one for a record in it.
        self._wary_until = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        try:
            async with self._above(stop) as (above, counts):
                if counts is not None:
                    async with Connection(self._downstream) as below, self._opened_view():
                        await self._run(stop, above, counts, below)
        except Refused:
            self._wary_until = time.monotonic() + WARY
            raise

    async def _run(
        self,
        stop: asyncio.Event,
        above: Connection,
        counts: Mapping[str, int],
        below: Connection,
    ) -> None:
        target = await self._provide(counts, below)
        parts = [(target.name, number) for number in range(target.partitions)]
        maker = self._view is not None
        copy = Copy(self._downstream, self._claim, parts, below, self._signer, maker=maker)
        try:
            ends = await copy.open()
            these = [(topic, number) for topic in counts for number in range(counts[topic])]
            bounds = await above.ends(these)
            self._prove(these)
            self._since = max(position_of(end).since for end in ends.values())
            if not any(end.mark for end in ends.values()):
                self._since = self._resync  # it is filled from the top anyway
            why = self._out_of_line(ends, counts)
            if copy.strange and not why:
                raise Strangers(topic=target.name, partitions=[part[1] for part in copy.strange])
            if why:
                aligned = await until(stop, self._align(why, above, copy, ends, bounds))
                if aligned is None:
                    return
                ends, bounds, self._misfit = aligned, await above.ends(these), False
            self.hop.aligned = self._since
            if self._view:
                await self._view.open(below, ends)
            lanes = await self._lanes(above, ends, bounds)
            if self._ended:
                await self._rest(stop)
                return
            start = {
                (topic, partition): following
                for partition, lane in lanes.items()
                for topic, following in lane.next.items()
            }
            # One task for all answers: at a thousand a second one each would be felt.
            stopping = asyncio.create_task(stop.wait(), name=f"stop-{target.name}")
            try:
                async with TopicReader(above, start) as reader:
                    await self._pump(stopping, counts, reader, copy, lanes)
            finally:
                stopping.cancel()
            await self._finish(copy, lanes)
        finally:
            await copy.close()

    def _prove(self, parts: Iterable[Part]) -> None:
        self.hop.signed.clear()
        self._proofs = {}
        if self._signatures:
            opened = self._view is not None
            self._proofs = {
                part: self._signatures.proof(part, self.hop, opened=opened) for part in parts
            }

    @property
    def _terms(self) -> Terms | None:
        """What every watermark says beside the position."""
        return self._view.rule.terms if self._view else None

    @asynccontextmanager
    async def _opened_view(self) -> AsyncIterator[None]:
        self._view = self._make_view() if self._make_view else None
        try:
            yield
        finally:
            if self._view:
                self._view.close()

    @asynccontextmanager
    async def _above(
        self, stop: asyncio.Event
    ) -> AsyncIterator[tuple[Connection, dict[str, int] | None]]:
        """A connection to upstream once there is something to read, and the partitions of each topic.

        It may not have been granted or made yet. None instead of the topics when ``stop`` was set.
        """
        said = False
        while True:
            async with Connection(self._upstream) as above:
                counts = await until(stop, self._counts(above))
                if counts is not None or stop.is_set():
                    self.hop.waits = ""
                    yield above, counts
                    return
            self.hop.waits = f"{', '.join(sorted(self._sources())) or self.hop.from_} upstream"
            if not said:
                said = True
                log.info(
                    "waiting for upstream to have it", hop=self.hop.hop, contract=self.hop.contract,
                    topic=self.hop.to, kafka=self._upstream.bootstrap, topics=sorted(self._sources()),
                )  # fmt: skip

    async def _counts(self, above: Connection) -> dict[str, int] | None:
        """None after a while without: it is a new connection's turn then."""
        if self._ended:
            return {}
        for _ in range(20):
            topics = self._sources()
            if topics:
                there = await above.topics()
                if topics <= there.keys():
                    return {topic: there[topic] for topic in topics}
                await above.permitted(topics - there.keys())
            await asyncio.sleep(0.25)
        return None

    async def _provide(self, counts: Mapping[str, int], below: Connection) -> Topic:
        """Make the copy's topic, or give it the partitions upstream has grown to."""
        wanted = msgspec.structs.replace(
            self._target, partitions=max((self._target.partitions, *counts.values()))
        )
        there = await ensure(self._downstream, [wanted], grow=True, connection=below)
        return msgspec.structs.replace(wanted, partitions=there[wanted.name])

    def _out_of_line(self, ends: Mapping[Part, End], counts: Mapping[str, int]) -> str:
        """Why the copy cannot be resumed from its own end; empty when it can."""
        if self._misfit:
            return "compaction upstream has taken what the copy's end was to be compared with"
        if any(end.thinned for end in ends.values()):
            return "compaction has been at the copy's end"
        for end in ends.values():
            if end.mark is None:
                continue
            position = position_of(end)
            if position.aligning:
                return "what was begun is finished"
            if position.since < self._resync:
                return "an operator asked for it"
            if position.terms != self._terms:
                return "the grant has changed"
            if self._view is None and position.upstream.keys() != counts.keys():
                return "it comes from another topic"
        return ""

    async def _align(
        self,
        why: str,
        above: Connection,
        copy: Copy,
        ends: Mapping[Part, End],
        bounds: Mapping[Part, tuple[int, int]],
    ) -> dict[Part, End]:
        """Bring the copy in line with upstream; the answer is where it ends then."""
        began = time.monotonic()
        bound = log.bind(hop=self.hop.hop, contract=self.hop.contract, topic=self.hop.to)
        bound.info("bringing the copy in line", reason=why)
        self.hop.state = "aligning"
        self._since = max(time.time_ns() // 1000, self._since + 1, self._resync)
        name = f"{self._target.name}.align"
        rule: Giving = self._view.rule if self._view else Whole()
        alignment = Alignment(self._state / name, self.hop.contract, rule, self._since)
        try:
            for part, end in ends.items():
                # From here on no other agent resumes before this is done.
                await self._mark_aligning(copy, part, end)
                self.hop.moved()
                await alignment.read_copy(copy.connection, part, copy.first(part), end.stop)
            await copy.drain()
            bounds, states = await self._settled(alignment, above, ends, bounds)
            alignment.compare()
            if alignment.back:
                bound.warning("upstream is older than what was here", count=alignment.back)
            told = 0
            async for number, topic, (record, value, headers) in alignment.differing(above, bounds):
                part = (self._target.name, number)
                try:
                    copy.add(part, record.key, value, headers, record.timestamp)
                except Unfit as error:
                    await self._refuse(record, number, topic, error)
                told += 1
                if told % 500 == 0:
                    await copy.flush()
                    copy.check()
                    self.hop.moved()
                if copy.overdue(part):
                    await self._mark_aligning(copy, part, ends[part])
            aligned = await self._aligned(copy, ends, states)
        finally:
            alignment.close()
        self.hop.events += told
        bound.info("in line", count=told, after_s=round(time.monotonic() - began, 1))
        return aligned

    async def _mark_aligning(self, copy: Copy, part: Part, end: End) -> None:
        stood = position_of(end)
        position = Position(stood.upstream, self._terms, stood.since, aligning=True)
        await copy.mark(part, position, end.mark.time if end.mark else 0)

    async def _settled(
        self,
        alignment: Alignment,
        above: Connection,
        ends: Mapping[Part, End],
        bounds: Mapping[Part, tuple[int, int]],
    ) -> tuple[Mapping[Part, tuple[int, int]], dict[Part, Continuity]]:
        """Take upstream in, once it is at least as complete as the copy was.

        An upstream that is itself being filled would empty the copy otherwise.
        """
        complete = max((end.mark.time for end in ends.values() if end.mark), default=0)
        states: dict[Part, Continuity] = {}
        following = {part: first for part, (first, _) in bounds.items()}
        said = False
        while True:
            for part, (_, stop) in bounds.items():
                states[part] = await alignment.read_upstream(
                    above, part, following[part], stop, states.get(part), self._proofs.get(part)
                )
                following[part] = stop
            self.hop.waits = ""
            if all(state.time >= complete for state in states.values()):
                return bounds, states
            if not said:
                said = True
                log.info(
                    "waiting for upstream to be as complete as the copy", hop=self.hop.hop,
                    contract=self.hop.contract, topic=self.hop.to,
                )  # fmt: skip
            self.hop.waits = "upstream to be as complete as the copy"
            await asyncio.sleep(_LOOK)
            bounds = await above.ends(bounds)

    async def _aligned(
        self, copy: Copy, ends: Mapping[Part, End], states: Mapping[Part, Continuity]
    ) -> dict[Part, End]:
        """Draw the watermark that says so in every partition."""
        aligned: dict[Part, End] = {}
        marks: dict[Part, Watermark] = {}

        def stands(part: Part) -> Callable[[int], None]:
            def done(offset: int) -> None:
                end = ends[part]
                aligned[part] = End(marks[part], offset, set(), 0, end.stop, end.stream)

            return done

        for part, end in ends.items():
            mine = {topic: state for (topic, number), state in states.items() if number == part[1]}
            complete = min((state.time for state in mine.values()), default=0)
            if not mine and end.mark:
                complete = end.mark.time
            position = Position(mine, self._terms, self._since, apart="brought in line")
            marks[part] = await copy.mark(part, position, complete, stands(part))
        await copy.drain()
        return aligned

    async def _lanes(
        self,
        above: Connection,
        ends: Mapping[Part, End],
        bounds: Mapping[Part, tuple[int, int]],
    ) -> dict[int, _Lane]:
        """Where each partition of the copy says upstream stood, and that upstream is still the same.

        Raises StreamReplaced, PositionGone, AwayTooLong.
        """
        lanes = {}
        checks = []
        for (_, number), end in ends.items():
            # A topic that is gone keeps its position: it may come back.
            stood = position_of(end)
            states = stood.upstream
            mine = {part: bound for part, bound in bounds.items() if part[1] == number}
            for part, (first, last) in mine.items():
                state = states.get(part[0])
                if state is None:
                    states[part[0]] = Continuity(offset=first, thinned=first > 0)
                else:
                    checks.append(self._same(above, part, state, first, last))
                if proof := self._proofs.get(part):
                    proof.begin(states[part[0]])
                    if proof.unknown(states[part[0]]) and first < last:
                        checks.append(look_since(above, part, (first, last), proof))
            bound = {topic: last for (topic, _), (_, last) in mine.items()}
            lanes[number] = _Lane(
                upstream=states,
                bound=bound,
                held=set(end.held),
                next={topic: states[topic].offset for topic in bound},
                end=dict(bound),
                complete=end.mark.time if end.mark else 0,
                apart=stood.apart,
            )
        await asyncio.gather(*checks)
        return lanes

    async def _same(
        self, above: Connection, part: Part, known: Continuity, first: int, last: int
    ) -> None:
        """Is upstream what it was? Asked before anything of it is passed on."""
        if known.offset > last:
            raise PositionGone(
                kafka=self._upstream.bootstrap, topic=part[0], partition=part[1],
                offset=known.offset, ends_at=last,
            )  # fmt: skip
        if not known.stream or known.offset == last:
            return
        end = await look_back(above, part, first, last)
        if end.mark is None:
            raise Unavailable("Upstream has no watermark yet", topic=part[0], partition=part[1])
        if end.mark.stream != known.stream:
            raise StreamReplaced(
                kafka=self._upstream.bootstrap, topic=part[0], partition=part[1],
                expected=known.stream, found=end.mark.stream,
            )  # fmt: skip
        if known.time and end.mark.time - known.time > AWAY * 1_000_000:
            raise AwayTooLong(
                topic=part[0], partition=part[1],
                days=round((end.mark.time - known.time) / 86_400e6, 1),
            )  # fmt: skip

    async def _rest(self, stop: asyncio.Event) -> None:
        """The grant is over and the copy empty: there is nothing to do."""
        self.hop.state, self.hop.error, self.hop.lag = "ended", None, 0
        await stop.wait()

    async def _pump(
        self,
        stopping: "asyncio.Future[Any]",
        counts: Mapping[str, int],
        reader: TopicReader,
        copy: Copy,
        lanes: dict[int, _Lane],
    ) -> None:
        hop = self.hop
        led = [lane for lane in lanes.values() if lane.bound]
        while not copy.worn:
            stretches = await reader.read_batches((stopping,))
            if stopping.done() or self._misfit or self._sources() != counts.keys():
                return
            hop.running()
            moved = False
            for stretch in stretches:
                lane = lanes[stretch.partition]
                await self._pass_on(stretch, lane, copy)
                moved |= stretch.next > lane.next[stretch.topic]
                lane.next[stretch.topic], lane.end[stretch.topic] = stretch.next, stretch.end
            await copy.flush()
            now = time.monotonic()
            slowest = min(lane.complete for lane in led)
            for partition, lane in lanes.items():
                if not lane.bound:
                    # A partition upstream does not have yet: as complete as the others.
                    lane.due |= slowest > lane.complete
                    lane.complete = slowest
                late = lane.due and now - lane.marked_at >= MARK_SECONDS
                if late or copy.overdue((self._target.name, partition)):
                    await self._mark(partition, lane, copy)
            copy.check()
            hop.lag = sum(lane.lag for lane in led)
            hop.complete = min(lane.complete for lane in led)
            if moved or hop.lag == 0:
                hop.moved()
            if reader.grown(counts):
                log.info(
                    "upstream has more partitions",
                    hop=hop.hop,
                    contract=hop.contract,
                    topic=hop.from_,
                )
                return

    async def _pass_on(self, stretch: Stretch, lane: _Lane, copy: Copy) -> None:
        part = (self._target.name, stretch.partition)
        state, signs = lane.upstream[stretch.topic], copy.signs(part)
        for batch in stretch.batches:
            # Whatever is not an event stands in a batch of its own, and what the copy's end holds
            # is left out one by one.
            unopened = (
                self._view is None
                and not lane.held
                and time.monotonic() >= self._wary_until
                and batch.count > 1
                and batch.whole
                and batch.base >= stretch.start
                and copy.worth(batch)
            )
            known = batch.digest if batch.count > 1 and (state.batch_chain or signs) else None
            traced = None
            if unopened and (tracing := self.hop.tracing):
                traced = tracing.follow_batch(self.hop, batch.data, batch.records)
            if unopened and await copy.pass_on(part, batch, known, traced):
                state.events(batch.base, batch.count, batch.next)
                self.hop.events += batch.count
                if state.batch_chain and known:
                    state.batch_chain = chained(state.batch_chain, known)
            else:
                await self._open(batch, stretch, lane, copy, known)

    async def _open(
        self, batch: Batch, stretch: Stretch, lane: _Lane, copy: Copy, known: bytes | None
    ) -> None:
        """Pass on the records of a batch one by one."""
        part = (self._target.name, stretch.partition)
        state = lane.upstream[stretch.topic]
        held, view, tracing = lane.held, self._view, self.hop.tracing
        proof = self._proofs.get((stretch.topic, stretch.partition))
        # Only a batch of one record can be something else than events; most are counted at once.
        events = batch.count > 1
        counted = events and batch.whole and batch.base >= stretch.start
        if counted:
            state.events(batch.base, batch.count, batch.next)
        if events and state.batch_chain:
            state.batch_chain = chained(state.batch_chain, known or batch.digest)
            state.thinned |= batch.base < stretch.start
        for record in batch.records(stretch.start):
            whole = not state.thinned and record.offset == state.offset
            if events:
                if not counted:
                    state.passed(record.offset, event=True)
                if state.event_chain:
                    state.event_chain = event_chained(
                        state.event_chain, record.timestamp, record.key, record.value,
                        record.headers,
                    )  # fmt: skip
                kind: Watermark | bool = True
            else:
                kind = take(record, state, proof)
                if kind is True and state.batch_chain:
                    state.batch_chain = chained(state.batch_chain, batch.digest)
            if kind is True:
                passed: Passed | Record | None = record
                try:
                    if view:
                        passed = view.take(stretch.partition, record)
                    if passed is None:
                        continue
                    if held:
                        name = (header(passed.headers, "ce_id") or b"").decode()
                        if name in held:
                            held.discard(name)
                            continue
                    copy.add(
                        part,
                        record.key,
                        passed.value,
                        passed.headers,
                        record.timestamp,
                        batch.codec,
                        tracing.follow(self.hop, passed.headers) if tracing else None,
                    )
                    self.hop.events += 1
                except Unfit as error:
                    lane.apart = f"{LEFT_OUT}: an event was refused here, see the dead letters"
                    await self._refuse(record, stretch.partition, stretch.topic, error)
            elif kind is not False:
                lane.due = True
                lane.next[stretch.topic] = record.offset + 1
                carries = self._carried(lane, kind, whole=whole) if view is None else None
                if len(lane.upstream) == 1:
                    await self._mark(stretch.partition, lane, copy, carries)

    @staticmethod
    def _carried(lane: _Lane, mark: Watermark, *, whole: bool) -> Seal | None:
        """What ``mark`` carries on of who made the events; why ours are others since, is noted."""
        made, apart = mark.carries, mark.apart
        if mark.seal:
            try:
                said = read(mark.seal)
            except Unproven:
                lane.apart = lane.apart or "a statement cannot be read"
                return None
            if said.events:
                made, apart = mark.seal, "a chain begins" if said.anew else ""
        lane.apart = lane.apart or apart or ("" if whole else "compaction")
        return made

    async def _refuse(self, record: Record, partition: int, topic: str, error: Unfit) -> None:
        """What can never be in the copy is kept with its reason, before any watermark is above it."""
        await bury(
            self._here,
            self._target,
            partition,
            record,
            rule=error.rule,
            message=f"{error} It lies in {topic}, partition {partition}, "
            f"offset {record.offset}, of Kafka at {self._upstream.bootstrap}.",
        )
        self.hop.rejected += 1
        log.warning(
            "dead letter", hop=self.hop.hop, contract=self.hop.contract, topic=self.hop.to,
            error=str(error), offset=record.offset,
        )  # fmt: skip

    async def _mark(
        self, partition: int, lane: _Lane, copy: Copy, carries: Seal | None = None
    ) -> None:
        """Draw a watermark; it ``carries`` the statement that stands upstream just there."""
        if not lane.passed:
            return
        if self._view and lane.untold:
            # What a view holds of them it cannot know: a record may have left the grant since.
            self._misfit = True
            return
        done = self._view.marking(partition) if self._view else None
        apart, left = (lane.apart, "") if carries else ("", lane.apart)
        position = Position(lane.upstream, self._terms, self._since, apart=left)
        made_from = {
            topic: f"{state.stream} {state.number} {state.said}"
            for topic, state in lane.upstream.items()
            if self._view
        }
        mark = await copy.mark(
            (self._target.name, partition), position, lane.time, done,
            carries=carries, apart=apart, made_from=made_from,
        )  # fmt: skip
        lane.apart = left
        lane.due, lane.marked_at, lane.complete = False, time.monotonic(), mark.time

    async def _finish(self, copy: Copy, lanes: dict[int, _Lane]) -> None:
        """Drain: everything read is written, and a watermark says so."""
        for partition, lane in lanes.items():
            if copy.unmarked((self._target.name, partition)):
                await self._mark(partition, lane, copy)
        await copy.drain()
