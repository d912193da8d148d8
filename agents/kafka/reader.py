"""Reads partitions of one cluster from given offsets, in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import msgspec

from agents.base.stream import Record, Slice
from agents.kafka.batches import Batch, committed, records_of
from agents.kafka.messages import Answer, Part
from agents.kafka.wire import Connection


class Stretch(msgspec.Struct):
    """Consecutive batches of one partition; otherwise as :class:`agents.base.stream.Slice`.

    The first batch may begin before ``start``, the offset that was asked for.
    """

    topic: str
    partition: int
    batches: list[Batch]
    start: int
    next: int
    end: int


async def scan(connection: Connection, part: Part, start: int, stop: int) -> AsyncIterator[Record]:
    """The records of one partition from offset ``start`` up to, not including, ``stop``."""
    while start < stop:
        (node,) = await connection.leaders([part])
        (answer,) = await connection.fetch(node, {part: start})
        records, start = records_of(answer.buffer, start, answer.aborted)
        for record in records:
            if record.offset < stop:
                yield record


async def scan_batches(
    connection: Connection, part: Part, start: int, stop: int
) -> AsyncIterator[Batch]:
    """As :func:`scan`, the batches unopened; the first may begin before ``start``, the last reach beyond
    ``stop``."""
    while start < stop:
        (node,) = await connection.leaders([part])
        (answer,) = await connection.fetch(node, {part: start})
        found = committed(answer.buffer, start, answer.aborted)
        for batch in found.batches:
            if batch.base < stop:
                yield batch
        start = found.next


class TopicReader:
    """A :class:`agents.base.stream.Reader` over Kafka.

    One request is under way per broker while the answer before it is worked on, so memory is bounded
    by two answers each. It never chooses an offset by itself. After any error it and its connection
    are made anew: that is how reading comes back from a broker's restart.

    With ``most``, :meth:`read` opens so many bytes of batches at once, and one batch at least: others get
    their turn in between.
    """

    def __init__(
        self, connection: Connection, start: Mapping[Part, int], *, most: int | None = None
    ) -> None:
        self._connection = connection
        self._most = most
        #: What was read and not opened yet.
        self._unopened: deque[Stretch] = deque()
        self._next = dict(start)
        self._under_way: dict[int, asyncio.Task[list[Answer]]] = {}
        self._leaders: dict[int, list[Part]] = {}

    async def __aenter__(self) -> "TopicReader":
        self._leaders = await self._connection.leaders(self._next)
        for node in self._leaders:
            self._ask(node)
        return self

    async def read(self) -> list[Slice]:
        """See :meth:`agents.base.stream.Reader.read`."""
        if self._unopened:
            await asyncio.sleep(0)
        else:
            self._unopened.extend(await self.read_batches())
        slices, opened = [], 0
        while self._unopened and (self._most is None or opened < self._most):
            stretch = self._unopened.popleft()
            records: list[Record] = []
            following = stretch.next
            for at, batch in enumerate(stretch.batches):
                if self._most is not None and opened >= self._most:
                    following = stretch.batches[at - 1].next if at else stretch.start
                    self._unopened.appendleft(
                        msgspec.structs.replace(stretch, batches=stretch.batches[at:])
                    )
                    break
                records.extend(batch.records(stretch.start))
                opened += len(batch.data)
            slices.append(Slice(stretch.topic, stretch.partition, records, following, stretch.end))
        return slices

    async def read_batches(self, ending: Iterable[asyncio.Future[Any]] = ()) -> list[Stretch]:
        """As :meth:`read`, the batches unopened; none when one of ``ending`` is done first.

        Raises also Corrupt.
        """
        await asyncio.wait(
            (*self._under_way.values(), *ending), return_when=asyncio.FIRST_COMPLETED
        )
        stretches: list[Stretch] = []
        for node, task in list(self._under_way.items()):
            if task.done():
                stretches.extend(self._stretch(answer) for answer in task.result())
                self._ask(node)
        return stretches

    def grown(self, counts: Mapping[str, int]) -> bool:
        """Does a topic have more partitions by now than it had by ``counts``?"""
        return any(self._connection.partitions(topic) > count for topic, count in counts.items())

    def _ask(self, node: int) -> None:
        # What stands first in a request is filled first: take turns, or a batch larger than a
        # partition's share waits behind another's backlog.
        parts = self._leaders[node]
        parts.append(parts.pop(0))
        wanted = {part: self._next[part] for part in parts}
        self._under_way[node] = asyncio.create_task(
            self._connection.fetch(node, wanted), name=f"fetch-{node}"
        )

    def _stretch(self, answer: Answer) -> Stretch:
        start = self._next[answer.part]
        found = committed(answer.buffer, start, answer.aborted)
        self._next[answer.part] = found.next
        return Stretch(*answer.part, found.batches, start, found.next, answer.end)

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._under_way.values())
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
