"""A copy is its own position: one fenced writer, resumed from the end of what it wrote.

A copy is a set of partitions that this agent alone writes. Opening it takes over from the writer
before, draws a fence nobody else can write below, and reads each partition's end back to the last
watermark. That watermark names the upstream position to resume from; the ids that stand after it are
told again by upstream and must be left out.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from agents.base.errors import LevelsyncError
from agents.base.keyring import Signer
from agents.base.statement import (
    ZERO,
    Seal,
    Statement,
    chained,
    digest,
    event_chained,
    sealed,
)
from agents.base.watermark import FENCE, FENCE_KEY, KEY, TYPE, UNCOUNTED, Watermark
from agents.kafka.batches import HEADER_BYTES, NONE, Batch, Builder
from agents.kafka.cluster import Cluster
from agents.kafka.ends import End, look_back
from agents.kafka.messages import Part
from agents.kafka.packed import PackedBuilder, packed_chained
from agents.kafka.producer import FencedProducer
from agents.kafka.wire import Claim, Connection, Limits
from contracts.envelope import Header

_MARK_HEADERS: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("ce_type", TYPE))
_FENCE_HEADERS: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("ce_type", FENCE))

#: A watermark is due after this many events, so that the end to be read back on open stays small.
MARK_EVENTS = 20_000
#: A copy is opened anew well before brokers forget the writer.
RENEW_SECONDS = 20 * 3600
#: A batch we build closes at this size; one record may still be larger.
BATCH_BYTES = 512 * 1024
#: A batch of so many bytes is worth a request of its own, however few records it holds.
WORTH_BYTES = 64 * 1024
#: So is one of so many records: opening and building costs more than the request.
WORTH_RECORDS = 24
#: Records a second that single batches should still reach on a long line; where the round trip is too
#: long for that, they are put together.
WORTH_RATE = 20_000


#: Is told the offset at which something stands, once brokers have it.
Done = Callable[[int], None]


class Unfit(LevelsyncError):
    """A record can never be in this topic; ``rule`` is the short name of why."""

    rule = "unfit"


class NoKey(Unfit):
    """A record has no key, and the topic is compacted by key."""

    rule = "no-key"
    hint = "Have it written with a key."


class TooLarge(Unfit):
    """A record is larger than the topic takes."""

    rule = "too-large"
    hint = (
        "Raise max.message.bytes of the topic and of its broker, or have the record made smaller."
    )


class _Lane(msgspec.Struct):
    """What was written to one partition since the last watermark."""

    stream: str
    number: int
    count: int
    limits: Limits
    #: Compaction has been among the events after the last watermark: their number is not known.
    uncounted: bool = False
    builder: Builder | PackedBuilder | None = None
    #: Who waits for the offset of a record of the batch being built: its number in it, and whom to tell.
    waiting: list[tuple[int, Done]] = []
    full: list[tuple[Batch, Done | None]] = []
    #: The chain over batches handed over so far, and over events added; None where nobody signs them.
    batches: bytes | None = None
    events: bytes | None = None
    #: The first watermark of those that are signed without a break.
    since: int = 0

    def seal(self) -> None:
        """Close the batch that is being built."""
        assert self.builder
        self.full.append((self.builder.build(), _all(self.waiting)))
        self.builder, self.waiting = None, []


class Copy:
    """The one writer of ``parts``. Not for use after an error: close it and open another.

    An open ``connection`` is used and left open; without one the copy has its own. Whoever opens
    another with the same ``claim`` notices when somebody else took over meanwhile. ``signer`` signs its
    watermarks; one that only passes on what others made is no ``maker``.
    """

    def __init__(
        self,
        cluster: Cluster,
        claim: Claim,
        parts: Iterable[Part],
        connection: Connection | None = None,
        signer: Signer | None = None,
        *,
        maker: bool = True,
    ) -> None:
        self.cluster = cluster
        self._signer = signer
        self._maker = maker
        self.parts = list(parts)
        #: To the copy's cluster, for other questions about it.
        self.connection = connection or Connection(cluster)
        self._owns_connection = connection is None
        self._claim = claim
        self._producer = FencedProducer(self.connection, claim)
        self._lanes: dict[Part, _Lane] = {}
        #: Signed partitions at whose end somebody else has written: we would sign that as ours.
        self.strange: list[Part] = []
        self._bounds: dict[Part, tuple[int, int]] = {}
        self._renew_at = time.monotonic() + RENEW_SECONDS

    async def open(self) -> dict[Part, End]:
        """Take over, and say where each partition ends. Raises Unavailable, NotAllowed."""
        try:
            if self._owns_connection:
                await self.connection.__aenter__()
            await self._producer.start(self.parts)
            fences = await self._fence()
            bounds = await self.connection.ends(self.parts)
            self._bounds = {part: (bounds[part][0], fences[part]) for part in self.parts}
            limits, looks = await asyncio.gather(
                self.connection.limits(topic for topic, _ in self.parts),
                asyncio.gather(*(self.look_back(part, lambda mark: True) for part in self.parts)),
            )
            ends = dict(zip(self.parts, looks, strict=True))
        except BaseException:
            await self.close()
            raise
        for part, end in ends.items():
            mark = end.mark
            end.stream = end.stream or uuid.uuid4().hex[:12]
            self._lanes[part] = _Lane(
                stream=end.stream,
                number=mark.number if mark else 0,
                count=end.count,
                limits=limits[part[0]],
                uncounted=end.thinned,
            )
            if self._signs(part):
                lane = self._lanes[part]
                lane.batches, lane.since = end.batches, end.since
                lane.events = end.events if self._maker else None
                if end.mark and end.writers - {end.drew, self._claim.producer}:
                    self.strange.append(part)
        return ends

    def _signs(self, part: Part) -> bool:
        """Letters are this node's own, and nobody reads them by their watermarks."""
        signer = self._signer
        return signer is not None and signer.key is not None and not part[0].endswith(".dead")

    async def _fence(self) -> dict[Part, int]:
        """Write a fence record to every partition; from here on the writer before is refused."""
        fences: dict[Part, int] = {}
        for part in self.parts:

            def written(offset: int, part: Part = part) -> None:
                fences[part] = offset

            await self._producer.send(part, _single(FENCE_KEY, b"{}", _FENCE_HEADERS), written)
        await self._producer.flush()
        return fences

    async def look_back(self, part: Part, enough: Callable[[Watermark], bool]) -> End:
        """Read ``part`` back from our fence to the last watermark that is ``enough``."""
        first, fence = self._bounds[part]
        return await look_back(self.connection, part, first, fence, enough)

    def first(self, part: Part) -> int:
        """The first offset of ``part`` when this copy was opened."""
        return self._bounds[part][0]

    def add(
        self,
        part: Part,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        timestamp: int,
        codec: int = NONE,
        done: Done | None = None,
    ) -> None:
        """Put an event at the end of ``part``, in memory until :meth:`flush` or :meth:`mark`.

        ``done`` is called with the event's offset once brokers have it. Raises TooLarge or NoKey, and
        the event is not in it.
        """
        lane = self._lanes[part]
        if key is None and lane.limits.keyed:
            raise NoKey(topic=part[0], partition=part[1])
        builder = lane.builder
        if isinstance(builder, Builder) and builder.codec == codec:
            if builder.append(key, value, headers, timestamp):
                if done:
                    lane.waiting.append((builder.count - 1, done))
                lane.count += 1
                if lane.events is not None:
                    lane.events = event_chained(lane.events, timestamp, key, value, headers)
                return
            lane.seal()
        elif builder is not None:
            lane.seal()
        lane.builder = builder = Builder(min(BATCH_BYTES, lane.limits.largest), codec)
        builder.append(key, value, headers, timestamp)
        if _size(key, value, headers) > lane.limits.largest:
            # Perhaps it fits when it is compressed.
            self._alone(part, lane, builder, key, done)
        elif done:
            lane.waiting.append((0, done))
        lane.count += 1
        if lane.events is not None:
            lane.events = event_chained(lane.events, timestamp, key, value, headers)

    def add_packed(
        self,
        part: Part,
        key: bytes,
        value: bytes | None,
        headers: bytes,
        timestamp: int,
        done: Done | None = None,
        canonical: bytes | None = None,
    ) -> None:
        """As :meth:`add`, with headers as :mod:`agents.kafka.packed` packs them, ``canonical`` where
        the caller has that ready."""
        lane = self._lanes[part]
        builder = lane.builder
        if builder.__class__ is PackedBuilder and builder.append(key, value, headers, timestamp):
            if done:
                lane.waiting.append((builder.count - 1, done))
            lane.count += 1
            if lane.events is not None:
                lane.events = packed_chained(lane.events, timestamp, key, value, headers, canonical)
            return
        if builder is not None:
            lane.seal()
        lane.builder = builder = PackedBuilder(min(BATCH_BYTES, lane.limits.largest))
        builder.append(key, value, headers, timestamp)
        if builder.size > lane.limits.largest:
            self._alone(part, lane, builder, key, done)
        elif done:
            lane.waiting.append((0, done))
        lane.count += 1
        if lane.events is not None:
            lane.events = packed_chained(lane.events, timestamp, key, value, headers, canonical)

    def _alone(
        self,
        part: Part,
        lane: _Lane,
        builder: Builder | PackedBuilder,
        key: bytes | None,
        done: Done | None,
    ) -> None:
        """Close a batch with one large record. Raises TooLarge when it is too large after all."""
        alone = builder.build()
        lane.builder = None
        if len(alone.data) > lane.limits.largest:
            raise TooLarge(
                topic=part[0], partition=part[1], bytes=len(alone.data), largest=lane.limits.largest,
            )  # fmt: skip
        lane.full.append((alone, done))

    def worth(self, batch: Batch) -> bool:
        """Is a batch in hand better passed on as it is than put together with others?"""
        return len(batch.data) >= WORTH_BYTES or batch.count >= max(
            WORTH_RECORDS, WORTH_RATE * min(self._producer.round_trip, 1.0)
        )

    async def pass_on(
        self, part: Part, batch: Batch, known: bytes | None = None, done: Done | None = None
    ) -> bool:
        """Put a whole batch of events at the end of ``part``, unopened; ``known`` is its digest where the
        caller has it, ``done`` is called with its base offset once brokers have it.

        False when the topic takes none that large: then its records must go one by one.
        """
        lane = self._lanes[part]
        if len(batch.data) > lane.limits.largest:
            return False
        await self._hand_over(part, lane)
        await self._producer.send(part, batch, done)
        lane.count += batch.count
        if lane.batches is not None:
            lane.batches = chained(lane.batches, known or batch.digest)
        if lane.events is not None:
            for record in batch.records():
                lane.events = event_chained(
                    lane.events, record.timestamp, record.key, record.value, record.headers
                )
        return True

    def signs(self, part: Part) -> bool:
        """Are the batches of ``part`` signed?"""
        return self._lanes[part].batches is not None

    async def flush(self) -> None:
        """Hand everything added to the brokers, waiting only for a place in the queue."""
        for part, lane in self._lanes.items():
            await self._hand_over(part, lane)

    async def mark(
        self,
        part: Part,
        position: Any,
        complete: int,
        done: Done | None = None,
        *,
        carries: Seal | None = None,
        apart: str = "",
        made_from: Mapping[str, str] | None = None,
    ) -> Watermark:
        """Draw a watermark under everything added to ``part``, in a batch of its own.

        ``position`` is where upstream stood, ``complete`` the time up to which that is all; ``done``
        is called with the watermark's offset once brokers have it. For the rest see
        :class:`agents.base.watermark.Watermark` and :class:`agents.base.statement.Statement`.
        """
        lane = self._lanes[part]
        await self._hand_over(part, lane)
        lane.number += 1
        count = UNCOUNTED if lane.uncounted else lane.count
        mark = Watermark(lane.stream, lane.number, count, complete, position, None, carries, apart)
        if self._signs(part):
            mark = self._signed(part, lane, mark, made_from or {})
        else:
            lane.batches = lane.events = None
        lane.count, lane.uncounted = 0, False
        await self._producer.send(
            part, _single(KEY, msgspec.json.encode(mark), _MARK_HEADERS), done
        )
        return mark

    def _signed(
        self, part: Part, lane: _Lane, mark: Watermark, made_from: Mapping[str, str]
    ) -> Watermark:
        """``mark`` with our signature; the first after we were given a key is the last without."""
        signer = self._signer
        assert signer
        assert signer.key
        if lane.batches is None:
            lane.batches, lane.since = ZERO, lane.number + 1
            lane.events = ZERO if self._maker else None
            return mark
        statement = Statement(
            node=signer.node,
            key=signer.public,
            topic=part[0],
            partition=part[1],
            stream=mark.stream,
            number=mark.number,
            count=mark.count,
            time=mark.time,
            at=time.time_ns() // 1000,
            since=lane.since,
            batches=lane.batches,
            events=lane.events or b"",
            anew=lane.uncounted,
            position=digest(mark.position),
            made_from=dict(made_from),
            carries=digest(mark.carries.said) if mark.carries else "",
            apart=mark.apart,
        )
        return msgspec.structs.replace(mark, seal=sealed(statement, signer.key))

    def unmarked(self, part: Part) -> int:
        """Events in ``part`` that no watermark covers yet."""
        return self._lanes[part].count

    def overdue(self, part: Part) -> bool:
        """Do so many events wait for a watermark in ``part`` that it is time for one?"""
        return self.unmarked(part) >= MARK_EVENTS

    @property
    def worn(self) -> bool:
        """Is it time to close this copy and open it anew?"""
        return time.monotonic() >= self._renew_at

    async def _hand_over(self, part: Part, lane: _Lane) -> None:
        if lane.builder is not None:
            lane.seal()
        full, lane.full = lane.full, []
        for batch, done in full:
            if lane.batches is not None:
                lane.batches = chained(lane.batches, batch.digest)
            await self._producer.send(part, batch, done)

    def check(self) -> None:
        """Raise what made a batch fail, if one did."""
        self._producer.check()

    async def drain(self) -> None:
        """Hand over and wait until brokers have everything."""
        await self.flush()
        await self._producer.flush()

    async def close(self) -> None:
        """Let go; what was not drained is told again after the next open."""
        await self._producer.close()
        if self._owns_connection:
            await self.connection.close()


def _all(waiting: list[tuple[int, Done]]) -> Done | None:
    """Tells each of ``waiting`` where its record stands, from the offset of the batch."""
    if not waiting:
        return None

    def done(base: int) -> None:
        for number, each in waiting:
            each(base + number)

    return done


def _single(key: bytes, value: bytes, headers: Sequence[Header]) -> Batch:
    """One record in a batch of its own: how whole batches can pass and still no line is missed."""
    builder = Builder(BATCH_BYTES)
    builder.append(key, value, headers)
    return builder.build()


def _size(key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> int:
    """Bytes of a batch with this one record, at most."""
    return (
        HEADER_BYTES
        + 40
        + len(key or b"")
        + len(value or b"")
        + sum(10 + len(name.encode()) + len(content or b"") for name, content in headers)
    )
