"""A copy is its own position: one fenced writer, resumed from the end of what it wrote.

A copy is a set of partitions that this agent alone writes. Opening it takes over from the writer
before, draws a fence nobody else can write below, and reads each partition's end back to the last
watermark. That watermark names the upstream position to resume from; the ids that stand after it are
told again by upstream and must be left out.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from agents.base.errors import LevelsyncError
from agents.base.stream import Record
from agents.base.watermark import FENCE, FENCE_KEY, KEY, TYPE, Watermark
from agents.kafka.cluster import Cluster
from agents.kafka.reader import scan
from agents.kafka.wire import Connection, FencedProducer, Part, append
from contracts.envelope import Header, header

_MARK_HEADERS: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("ce_type", TYPE))
_FENCE_HEADERS: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("ce_type", FENCE))

#: A watermark is due after this many events, so that the end to be read back on open stays small.
MARK_EVENTS = 20_000
#: A copy is opened anew well before brokers forget the writer or its sequence numbers run out.
RENEW_SECONDS = 20 * 3600
RENEW_EVENTS = 1_000_000_000
#: How far back the first look at a partition's end goes; each further look goes eight times as far.
_LOOK_BACK = 512


class NoRoom(LevelsyncError):
    """A record does not fit into any batch."""


class End(msgspec.Struct):
    """What stands at the end of one partition of the copy.

    ``held`` are the ids after ``mark``; ``count`` the events after the *last* watermark, which the
    next one must include; ``offset`` is that of ``mark``, -1 without one.
    """

    mark: Watermark | None
    offset: int
    held: set[str]
    count: int


class _Lane(msgspec.Struct):
    """What was written to one partition since the last watermark."""

    stream: str
    number: int
    count: int
    builder: Any = None
    full: list[Any] = []


class Copy:
    """The one writer of ``parts``. Not for use after an error: close it and open another."""

    def __init__(self, cluster: Cluster, identity: str, parts: Iterable[Part]) -> None:
        self.cluster = cluster
        self.parts = list(parts)
        self._producer = FencedProducer(cluster, identity)
        self._connection = Connection(cluster)
        self._lanes: dict[Part, _Lane] = {}
        self._bounds: dict[Part, tuple[int, int]] = {}
        self._renew_at = time.monotonic() + RENEW_SECONDS
        self._added = 0

    async def open(self) -> dict[Part, End]:
        """Take over, and say where each partition ends. Raises Unavailable, NotAllowed."""
        try:
            await self._producer.start()
            await self._connection.__aenter__()
            fences = await self._fence()
            bounds = await self._connection.ends(self.parts)
            self._bounds = {part: (bounds[part][0], fences[part]) for part in self.parts}
            ends = {part: await self.look_back(part, lambda mark: True) for part in self.parts}
        except BaseException:
            await self.close()
            raise
        for part, end in ends.items():
            mark = end.mark
            self._lanes[part] = _Lane(
                stream=mark.stream if mark else uuid.uuid4().hex[:12],
                number=mark.number if mark else 0,
                count=end.count,
            )
        return ends

    async def _fence(self) -> dict[Part, int]:
        """Write a fence record to every partition; from here on the writer before is refused."""
        fences: dict[Part, int] = {}
        for part in self.parts:
            builder = self._producer.builder()
            append(builder, FENCE_KEY, b"{}", _FENCE_HEADERS)

            def written(offset: int, part: Part = part) -> None:
                fences[part] = offset

            await self._producer.send(part, builder, written)
        await self._producer.flush()
        return fences

    async def look_back(self, part: Part, enough: Callable[[Watermark], bool]) -> End:
        """Read ``part`` back from its fence to the last watermark that is ``enough``."""
        first, fence = self._bounds[part]
        step = _LOOK_BACK
        while True:
            start = max(first, fence - step)
            end = await self._scan(part, start, fence, enough)
            if end.mark is not None or start == first:
                return end
            step *= 8

    async def _scan(
        self, part: Part, start: int, fence: int, enough: Callable[[Watermark], bool]
    ) -> End:
        end = End(None, -1, set(), 0)
        async for record in scan(self._connection, part, start, fence):
            _enter(end, record, enough)
        return end

    def add(
        self,
        part: Part,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[Header],
        timestamp: int,
    ) -> None:
        """Put an event at the end of ``part``, in memory until :meth:`flush` or :meth:`mark`."""
        lane = self._lanes[part]
        if lane.builder is None:
            lane.builder = self._producer.builder()
        if not append(lane.builder, key, value, headers, timestamp):
            lane.full.append(lane.builder)
            lane.builder = self._producer.builder()
            if not append(lane.builder, key, value, headers, timestamp):
                raise NoRoom(topic=part[0], partition=part[1], key=key)
        lane.count += 1
        self._added += 1

    async def flush(self) -> None:
        """Hand everything added to the brokers, waiting only for a place in the queue."""
        for part, lane in self._lanes.items():
            if lane.builder is not None:
                await self._hand_over(part, lane)

    async def mark(
        self, part: Part, position: Any, complete: int, done: Callable[[int], None] | None = None
    ) -> Watermark:
        """Draw a watermark under everything added to ``part``, in a batch of its own.

        ``position`` is where upstream stood, ``complete`` the time up to which that is all; ``done``
        is called with the watermark's offset once brokers have it.
        """
        lane = self._lanes[part]
        if lane.builder is not None:
            await self._hand_over(part, lane)
        lane.number += 1
        mark = Watermark(lane.stream, lane.number, lane.count, complete, position)
        lane.count = 0
        builder = self._producer.builder()
        append(builder, KEY, msgspec.json.encode(mark), _MARK_HEADERS)
        await self._producer.send(part, builder, done)
        return mark

    def unmarked(self, part: Part) -> int:
        """Events in ``part`` that no watermark covers yet."""
        return self._lanes[part].count

    def overdue(self, part: Part) -> bool:
        """Do so many events wait for a watermark in ``part`` that it is time for one?"""
        return self.unmarked(part) >= MARK_EVENTS

    @property
    def worn(self) -> bool:
        """Is it time to close this copy and open it anew?"""
        return self._added >= RENEW_EVENTS or time.monotonic() >= self._renew_at

    async def _hand_over(self, part: Part, lane: _Lane) -> None:
        builders = [*lane.full, lane.builder]
        lane.full, lane.builder = [], None
        for builder in builders:
            await self._producer.send(part, builder)

    def check(self) -> None:
        """Raise what made a batch fail, if one did."""
        self._producer.check()

    async def drain(self) -> None:
        """Hand over and wait until brokers have everything."""
        await self.flush()
        await self._producer.flush()

    async def close(self) -> None:
        """Let go; what was not drained is told again after the next open."""
        await asyncio.gather(self._producer.close(), self._connection.close())


def _enter(end: End, record: Record, enough: Callable[[Watermark], bool]) -> None:
    kind = header(record.headers, "ce_type")
    if kind == TYPE:
        end.count = 0
        mark = msgspec.json.decode(record.value or b"", type=Watermark)
        if enough(mark):
            end.mark, end.offset = mark, record.offset
            end.held.clear()
    elif kind != FENCE:
        end.count += 1
        end.held.add((header(record.headers, "ce_id") or b"").decode())
