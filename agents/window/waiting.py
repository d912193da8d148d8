"""What a reader brings, waited for until somebody says stop, and cut into pieces of bounded work."""

import asyncio
from collections.abc import Iterator

from agents.base.stream import Reader, Slice


class Waiting:
    """``async with Waiting(reader, stop) as waiting``: what ``reader`` brings until ``stop`` is set."""

    def __init__(self, reader: Reader, stop: asyncio.Event) -> None:
        self._reader = reader
        self._stop = stop
        self._reading: asyncio.Task[list[Slice]] | None = None

    async def __aenter__(self) -> "Waiting":
        self._stopping = asyncio.create_task(self._stop.wait(), name="stop")
        return self

    async def next(self, patience: float | None = None) -> list[Slice] | None:
        """What is there next; None when ``stop`` is set, or ``patience`` seconds are over before."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._reader.read(), name="read")
        await asyncio.wait(
            (self._reading, self._stopping),
            timeout=patience,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._stopping.done() or not self._reading.done():
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._stopping, self._reading) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cut(piece: Slice, size: int) -> Iterator[Slice]:
    """``piece`` in slices of at most ``size`` records; itself where it has no more."""
    records = piece.records
    if len(records) <= size:
        yield piece
        return
    for at in range(0, len(records), size):
        last = at + size >= len(records)
        following = piece.next if last else records[at + size].offset
        yield Slice(piece.topic, piece.partition, records[at : at + size], following, piece.end)
