"""Single-row commits at a steady rate, and when each was made:

python -m tests.bench.commits DSN RATE FIRST COUNT CONNECTIONS OUT

OUT becomes a JSON object: the key of each row, and the monotonic second right after its COMMIT
returned. The clock is the machine's, so another process can compare it with its own.
"""

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg

from agents.demo.servers import Server
from tests.bench.residents import FIELDS, TABLE, row

_INSERT: LiteralString = "INSERT INTO {} VALUES ({})"


class Commits(Server):
    """The process that writes."""

    def __init__(
        self, folder: Path, dsn: str, rate: int, first: int, count: int, connections: int = 8
    ) -> None:
        super().__init__("commits", folder)
        self._out = folder / "commits.json"
        self._arguments = [dsn, *map(str, (rate, first, count, connections, self._out))]

    def start(self) -> None:
        """Begin to write; :meth:`made` tells when it was."""
        self._spawn([sys.executable, "-m", "tests.bench.commits", *self._arguments])

    def made(self) -> dict[str, float] | None:
        """When each row was committed, by key; None while rows are still being written."""
        if not self._out.exists():
            return None
        return msgspec.json.decode(self._out.read_bytes(), type=dict[str, float])


async def _write(dsn: str, rate: int, first: int, count: int, connections: int) -> dict[str, float]:
    insert = _INSERT.format(TABLE, ", ".join(["%s"] * len(FIELDS))).encode()
    made: dict[str, float] = {}
    numbers = iter(range(count))

    async with contextlib.AsyncExitStack() as stack:
        open_ = [
            await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0)
            )
            for _ in range(connections)
        ]
        began = time.monotonic()

        async def work(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute("SET synchronous_commit = on")
            for number in numbers:
                values = row(first + number)
                early = began + number / rate - time.monotonic()
                if early > 0:
                    await asyncio.sleep(early)
                await connection.execute(insert, values)
                made[values[0]] = time.monotonic()

        async with asyncio.TaskGroup() as group:
            for each in open_:
                group.create_task(work(each), name="commits")
    return made


def _main(dsn: str, rate: str, first: str, count: str, connections: str, out: str) -> None:
    made = asyncio.run(_write(dsn, int(rate), int(first), int(count), int(connections)))
    whole = Path(out + ".part")
    whole.write_bytes(msgspec.json.encode(made))
    whole.rename(out)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _main(*sys.argv[1:])
