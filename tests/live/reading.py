"""Reading a PostgreSQL source until something is so, for tests of sources alone."""

import asyncio
from typing import Any

from agents.capture.postgres import PostgresSource
from agents.capture.source import Changes


class Reading:
    """Reads a source until something is so, and keeps all it told."""

    def __init__(self, source: PostgresSource) -> None:
        self.source = source
        self.told: list[Any] = []
        self.last: Changes | None = None

    async def open(self, position: Any, held: frozenset[str] = frozenset()) -> None:
        await self.source.__aenter__()
        try:
            await self.source.open(position, held)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self.source.__aexit__()

    async def until(self, question: Any, seconds: float = 15.0, *, confirm: bool = False) -> None:
        """With ``confirm`` everything told is at once as safe as a watermark would make it."""
        async with asyncio.timeout(seconds):
            while self.last is None or not question():
                self.last = await self.source.read()
                self.told += self.last.changes
                if confirm and self.last.settled:
                    await self.source.confirm(self.last.position)

    async def quiet(self) -> None:
        """Until the copy is done, everything is settled and some read brings nothing."""
        count = -1

        def nothing_new() -> bool:
            nonlocal count
            assert self.last
            same, count = count == len(self.told), len(self.told)
            return same and self.last.settled and bool(self.last.complete)

        await self.until(nothing_new)

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """The rows as what was told leaves them."""
        found: dict[str, dict[str, Any]] = {}
        for change in self.told:
            if not hasattr(change, "fields"):
                found.clear()
            elif change.fields is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.fields
        return found
