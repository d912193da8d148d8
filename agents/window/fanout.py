"""Who follows the feed at this moment, and one write to each of them for all that a tick brought.

Those who are told the same make a group: what they are told is made bytes of once, and the same bytes
are written to each connection, without waiting for any. A connection that has not taken what it was
sent leaves its group and reads for itself, at its own pace, so nothing is queued for it; when it takes
nothing for :data:`SLOW` seconds it is cut.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.base.status import Hop
from agents.base.tracing import Tracing
from agents.window.answers import Problem, as_of
from agents.window.feed import TICK, FellBehind, Line, Message, Reading
from agents.window.follow import Follow
from agents.window.framing import FRAMINGS, Framing
from agents.window.office import Office
from agents.window.rights import Visitor, Wanted

log = structlog.get_logger()

#: Seconds a subscriber may take to accept what it is sent before it is cut.
SLOW = 30.0
#: Seconds between heartbeats.
BEAT = 1.0
#: Bytes that may wait for a connection beside its socket's own buffer when more is written to it.
ROOM = 64 * 1024
#: Seconds between two writes under load at most, and the part of a CPU that writing may take until then.
LONGEST_TICK, SHARE = 0.1, 0.3
#: Connections written to before anything else has its turn.
TURN = 250
#: Connections that follow the feed at once.
MOST = 5_000
#: Seconds after which somebody for whom there is no place may ask again.
RETRY = 10

CLOSED, BEHIND = "closed", "behind"
SLOW_READER, TOO_FAR, RIGHTS = "slow", "too far behind the feed", "rights ended"


class Member:
    """One connection that follows the feed: what its visitor is told of ``follows``, and how."""

    def __init__(
        self,
        visitor: Visitor,
        wanted: Wanted,
        follows: Sequence[Follow],
        transport: asyncio.Transport,
        framing: Framing,
    ) -> None:
        self.visitor, self.wanted, self.follows = visitor, wanted, follows
        self.transport, self.framing = transport, framing
        #: Equal for those who are sent the same bytes.
        self.key: Hashable = (
            wanted.same,
            framing.name,
            tuple(each.contract.name for each in follows),
        )
        #: ``seq`` of the newest change it was told of while it is in a group.
        self.since = 0
        #: Why it is over; None while it is not.
        self.ended: str | None = None
        #: While it is in a group: done with the reason for which it left.
        self.left: asyncio.Future[str] | None = None

    @property
    def waiting(self) -> int:
        """Bytes that wait for it beside its socket's buffer."""
        return self.transport.get_write_buffer_size()

    def write(self, messages: Sequence[Message]) -> None:
        """Send these, and do not wait."""
        self.transport.write(self.framing.messages(messages))


class _Group:
    """Those who are told the same, and what of it they were told last."""

    def __init__(self, member: Member) -> None:
        self.wanted, self.follows, self.framing = member.wanted, member.follows, member.framing
        self.members: dict[Member, None] = {}
        #: ``seq`` up to which all of them were told; some may know more.
        self.since = member.since
        #: Watermarks as they were told last.
        self.marks = _watermarks(member.follows)
        #: Loop time of the last heartbeat.
        self.beaten = 0.0


class Fanout:
    """All who follow the feed of ``office`` over HTTP."""

    def __init__(self, office: Office) -> None:
        self._office, self._feed = office, office.feed
        self._places: Counter[tuple[str, str]] = Counter()
        self._members: dict[Member, None] = {}
        self._groups: dict[Hashable, _Group] = {}
        self._cuts: Counter[str] = Counter()
        self._delivered = 0
        #: Those who read for themselves take turns, so that many of them hold up nobody else.
        self._turn = asyncio.Lock()
        self._tick, self._flushed = TICK, 0.0
        #: The newest change of which a span was made.
        self._traced = 0
        self._due: asyncio.Handle | None = None
        self._beat: asyncio.Handle | None = None
        self._feed.listen(self._moved)

    # ---- coming and going --------------------------------------------------------------------

    @contextlib.contextmanager
    def place(self, visitor: Visitor) -> Iterator[None]:
        """A place for one more connection of ``visitor``. Raises Problem when there is none."""
        who = (visitor.kind, visitor.name)
        again = {"Retry-After": str(RETRY)}
        if self._places.total() >= MOST:
            raise Problem(
                503, "Too many subscribers", f"Expected at most {MOST} at this window", again
            )
        if visitor.subscribers and self._places[who] >= visitor.subscribers:
            most = f"Expected at most {visitor.subscribers} of `{visitor.name}` at once"
            raise Problem(429, "Too many subscribers", most, again)
        self._places[who] += 1
        try:
            yield
        finally:
            self._places[who] -= 1
            if not self._places[who]:
                del self._places[who]

    def end(self, member: Member, why: str) -> None:
        """It is over for ``member``; the first reason counts."""
        member.ended = member.ended or why
        self._out(member, member.ended)

    def close(self) -> None:
        """It is over for everybody."""
        for member in list(self._members):
            self.end(member, CLOSED)
        for handle in (self._due, self._beat):
            if handle:
                handle.cancel()

    def metrics(self) -> Iterator[Metric]:
        """How many follow, what they were sent, and who was cut."""
        following = GaugeMetricFamily(
            "levelsync_window_subscribers", "Connections that follow the feed.", labels=["by"]
        )
        by = Counter(member.framing.name for member in self._members)
        for name in FRAMINGS:
            following.add_metric([name], by[name])
        yield following
        yield CounterMetricFamily(
            "levelsync_window_deliveries", "Messages written to subscribers.", self._delivered
        )
        cuts = CounterMetricFamily(
            "levelsync_window_cuts", "Subscribers cut, by the reason.", labels=["reason"]
        )
        for reason in (SLOW_READER, TOO_FAR, RIGHTS):
            cuts.add_metric([reason], self._cuts[reason])
        yield cuts

    # ---- one connection ----------------------------------------------------------------------

    async def follow(self, member: Member, since: int | None) -> str:
        """Write to ``member`` what it is to be told after ``since``, None with the state first, until it
        is over; why it is."""
        self._members[member] = None
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(BEAT, self._beats)
        try:
            why = await self._follow(member, Reading(self._feed, member.wanted, since))
        finally:
            self.end(member, CLOSED)
            del self._members[member]
        if why != CLOSED:
            self._cuts[why] += 1
            log.warning(
                "a subscriber is cut", reason=why, visitor=_called(member.visitor),
                contract=", ".join(follow.contract.name for follow in member.follows),
            )  # fmt: skip
        return why

    async def _follow(self, member: Member, reading: Reading) -> str:
        while True:
            try:
                await self._read(member, reading)
            except FellBehind:
                self.end(member, TOO_FAR)
            except TimeoutError:
                self.end(member, SLOW_READER)
            if member.ended:
                return member.ended
            # Nothing waits between here and the group: no change can come in between.
            member.since = reading.since
            member.write(self._named(_watermarks(member.follows), member.since))
            why = await self._in_group(member)
            if why != BEHIND:
                return why
            reading = Reading(self._feed, member.wanted, member.since)

    async def _read(self, member: Member, reading: Reading) -> None:
        """Until it has come to the newest change and has taken all but little of what it was sent.

        Raises FellBehind, TimeoutError when it takes nothing.
        """
        while True:
            await self._room(member)
            if member.ended or reading.current:
                return
            async with self._turn:
                if piece := reading.take():
                    member.write(piece)
                    self._delivered += len(piece)
                await asyncio.sleep(0)

    async def _room(self, member: Member) -> None:
        """Until there is room for more. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        waiting, until = member.waiting, loop.time() + SLOW
        while not member.ended:
            if member.transport.is_closing():
                self.end(member, CLOSED)
            now = member.waiting
            if now <= ROOM:
                return
            if now < waiting:
                waiting, until = now, loop.time() + SLOW
            elif loop.time() > until:
                raise TimeoutError
            await asyncio.sleep(0.05)

    # ---- groups ------------------------------------------------------------------------------

    async def _in_group(self, member: Member) -> str:
        """Why it left again."""
        group = self._groups.get(member.key)
        if group is None:
            group = self._groups[member.key] = _Group(member)
        group.members[member] = None
        member.left = asyncio.get_running_loop().create_future()
        try:
            return await member.left
        finally:
            self._out(member, CLOSED)

    def _out(self, member: Member, why: str) -> None:
        group = self._groups.get(member.key)
        if group and member in group.members:
            del group.members[member]
            if not group.members:
                del self._groups[member.key]
        if member.left and not member.left.done():
            member.left.set_result(why)

    def _beats(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(BEAT, self._beats) if self._members else None
        for member in list(self._members):
            if member.transport.is_closing():
                self.end(member, CLOSED)
            elif not self._office.still(member.visitor):
                self.end(member, RIGHTS)
        self._moved()

    def _moved(self) -> None:
        """There is something to write: more in the feed, or a heartbeat."""
        if self._due is None and self._groups:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(loop.time(), self._flushed + self._tick), self._begin)

    def _begin(self) -> None:
        self._step(self._writing(), 0.0)

    def _step(self, writing: Iterator[None], took: float) -> None:
        """Write for one turn; whatever else waits has its turn before the next."""
        loop = asyncio.get_running_loop()
        began = time.thread_time()
        done = next(writing, _DONE) is _DONE
        took += time.thread_time() - began
        if not done:
            self._due = loop.call_soon(self._step, writing, took)
            return
        self._due, self._flushed = None, loop.time()
        self._tick = min(max(TICK, took / SHARE), LONGEST_TICK)
        if any(group.since < self._feed.last for group in self._groups.values()):
            self._moved()

    def _writing(self) -> Iterator[None]:
        """Write to every group what it was not told yet, TURN connections at a time."""
        now, written, began = asyncio.get_running_loop().time(), 0, time.time_ns()
        read: dict[int, list[Line]] = {}
        for group in list(self._groups.values()):
            start = group.since
            try:
                if start not in read:
                    read[start] = self._feed.after(start)
            except FellBehind:
                for member in list(group.members):
                    self.end(member, TOO_FAR)
                continue
            lines = read[start]
            if lines:
                group.since = lines[-1].seq
            messages = self._feed.messages(lines, group.wanted)
            marks, beat = self._marks(group, now)
            data = _bytes(group, messages, marks, beat)
            for member in list(group.members):
                if member not in group.members:
                    continue
                own = data
                if member.since > start:
                    later = [line for line in lines if line.seq > member.since]
                    own = _bytes(group, self._feed.messages(later, group.wanted), marks, beat)
                if member.transport.is_closing():
                    self.end(member, CLOSED)
                elif member.waiting > ROOM:
                    self._out(member, BEHIND)
                else:
                    member.since = max(member.since, group.since)
                    if own:
                        member.transport.write(own)
                        self._delivered += len(messages)
                written += 1
                if written % TURN == 0:
                    yield
        if tracing := self._office.status.tracing:
            self._trace(tracing, [line for lines in read.values() for line in lines], began)
        for lines in read.values():
            for line in lines:
                line.forget()

    def _trace(self, tracing: Tracing, lines: list[Line], began: int) -> None:
        """A span for each change just written to subscribers, whatever their number."""
        for line in sorted(lines, key=lambda each: each.seq):
            if line.seq > self._traced:
                self._traced = line.seq
                hop = Hop("out", line.contract, line.contract, "feed")
                tracing.delivered(hop, line.id, began)

    def _marks(self, group: _Group, now: float) -> tuple[list[Message], list[Message]]:
        """Watermarks to tell ``group``, and those that only a heartbeat repeats."""
        if group.since < self._feed.last:
            return [], []  # it was not told yet what they cover
        marks = _watermarks(group.follows)
        fresh = [mark for mark in marks if mark not in group.marks]
        group.marks = marks
        if now - group.beaten < BEAT * 0.9:
            return self._named(fresh, group.since), []
        group.beaten = now
        stale = [mark for mark in marks if mark not in fresh]
        told, beat = (fresh, stale) if group.framing.beat else (marks, [])
        return self._named(told, group.since), beat

    def _named(self, marks: list[Message], since: int) -> list[Message]:
        """Watermarks told after the changes up to ``since``: they bring the token of these, so that who
        is told of few changes does not keep one that grows old."""
        token = self._feed.token_of(since)
        return [(token, name, data) for _, name, data in marks]


def _called(visitor: Visitor) -> str:
    """A window system by its name; of a clerk, who is a person, only that it is one."""
    return visitor.name if visitor.kind == "system" else visitor.kind


_DONE = object()


def _bytes(
    group: _Group, messages: list[Message], marks: list[Message], beat: list[Message]
) -> bytes:
    data = b""
    if messages or marks:
        data = group.framing.messages([*messages, *marks])
    if beat and group.framing.beat:
        data += group.framing.beat(beat)
    return data


def _watermarks(follows: Sequence[Follow]) -> list[Message]:
    """Up to when each contract is complete."""
    return [(None, "watermark", _watermark(follow)) for follow in follows]


def _watermark(follow: Follow) -> bytes:
    name, state = follow.contract.name, follow.hop.state
    return msgspec.json.encode({"contract": name, "complete_as_of": as_of(follow), "state": state})
