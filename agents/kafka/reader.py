"""Reads partitions of one cluster from given offsets, in order."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from agents.base.stream import Record, Slice
from agents.kafka.batches import records_of
from agents.kafka.wire import Answer, Connection, Part


async def scan(connection: Connection, part: Part, start: int, stop: int) -> AsyncIterator[Record]:
    """The records of one partition from offset ``start`` up to, not including, ``stop``."""
    while start < stop:
        (node,) = await connection.leaders([part])
        (answer,) = await connection.fetch(node, {part: start})
        records, start = records_of(answer.buffer, start, answer.aborted)
        for record in records:
            if record.offset < stop:
                yield record


class TopicReader:
    """A :class:`agents.base.stream.Reader` over Kafka.

    One request is under way per broker, so memory is bounded by one answer each. It never chooses an
    offset by itself. After any error it and its connection are made anew: that is how reading comes
    back from a broker's restart.
    """

    def __init__(self, connection: Connection, start: Mapping[Part, int]) -> None:
        self._connection = connection
        self._next = dict(start)
        self._under_way: dict[int, asyncio.Task[list[Answer]]] = {}
        self._leaders: dict[int, list[Part]] = {}

    async def __aenter__(self) -> "TopicReader":
        self._leaders = await self._connection.leaders(self._next)
        return self

    async def read(self) -> list[Slice]:
        """See :meth:`agents.base.stream.Reader.read`."""
        for node, parts in self._leaders.items():
            if node not in self._under_way:
                wanted = {part: self._next[part] for part in parts}
                self._under_way[node] = asyncio.create_task(
                    self._connection.fetch(node, wanted), name=f"fetch-{node}"
                )
        await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        slices: list[Slice] = []
        for node, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[node]
                slices.extend(self._slice(answer) for answer in task.result())
        return slices

    def _slice(self, answer: Answer) -> Slice:
        records, following = records_of(answer.buffer, self._next[answer.part], answer.aborted)
        self._next[answer.part] = following
        return Slice(*answer.part, records, following, answer.end)

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._under_way.values())
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
