"""THE fault suite of capture: agent, PostgreSQL and Kafka are killed, and the topic is the table.

First in the middle of the first copy, then while one big transaction comes by, then in the stream of
random changes; what is killed and when is drawn from a seed. In the end the topic's events, folded, are
the table's rows, in the order of each key, and none was told twice.

By command, long::

    CAPTURE_SEEDS=1-20 CAPTURE_ROWS=100000 CAPTURE_FAULTS=12 deploy/test -m slow -k capture_many -s
"""

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from agents.base.errors import Unavailable
from agents.demo.servers import KafkaServer, PostgresServer, Server, free_ports
from agents.kafka.cluster import Cluster
from contracts.envelope import event_of
from tests.live.streams import ids, read_all

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROWS, FAULTS = 6_000, 2


class CaptureProcess(Server):
    """``tests.live.capture``, to be killed."""

    def __init__(self, folder: Path, bootstrap: str, dsn: str) -> None:
        super().__init__("capture", folder)
        self._command = [sys.executable, "-m", "tests.live.capture", bootstrap, dsn]

    async def start(self) -> None:
        self._spawn(self._command)


class Office:
    """A database, a broker and a capture between them, each of which may be killed at any time."""

    def __init__(self, servers: Path, folder: Path, seed: int, rows: int) -> None:
        kafka, postgres = free_ports(2)
        self.kafka = KafkaServer(servers / f"loose-kafka-{seed}", kafka)
        self.postgres = PostgresServer(servers / f"loose-postgres-{seed}", postgres)
        self.chance = random.Random(seed)
        self.done: list[str] = []
        self._folder = folder
        self._rows = rows
        self._number = 0

    async def __aenter__(self) -> "Office":
        await asyncio.gather(self.kafka.start(), self.postgres.start())
        self.dsn = await self.postgres.create("office")
        async with self.table() as table:
            await table.execute(
                "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text)"
            )
            await table.execute(
                "INSERT INTO division SELECT (100000000 + n)::text, 'old', 'township', NULL"
                " FROM generate_series(1, %s) n",
                (self._rows,),
            )
        self.capture = CaptureProcess(self._folder, self.kafka.bootstrap, self.dsn)
        await self.capture.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self.capture, self.postgres, self.kafka):
            await server.kill()

    @contextlib.asynccontextmanager
    async def table(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(
            self.dsn, autocommit=True, connect_timeout=5
        ) as connection:
            yield connection

    async def change(self, table: psycopg.AsyncConnection[Any]) -> None:
        """One transaction of a few random changes."""
        chance = self.chance
        async with table.transaction():
            for _ in range(chance.randrange(1, 4)):
                self._number += 1
                code = f"{100_000_001 + chance.randrange(self._rows + self._rows // 5)}"
                if chance.random() < 0.2:
                    await table.execute("DELETE FROM division WHERE code = %s", (code,))
                else:
                    await table.execute(
                        "INSERT INTO division VALUES (%s, %s, 'township', NULL)"
                        " ON CONFLICT (code) DO UPDATE SET name = excluded.name",
                        (code, f"v{self._number}"),
                    )

    async def keep_changing(self) -> None:
        """Random changes until cancelled; what is under way when the server dies may be lost."""
        while True:
            with contextlib.suppress(psycopg.Error):
                async with self.table() as table:
                    while True:
                        await self.change(table)
                        await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

    async def big_transaction(self) -> None:
        """Every row changes at once; again when the server died on it."""
        self._number += 1
        while True:
            with contextlib.suppress(psycopg.Error):
                async with self.table() as table:
                    await table.execute(
                        "UPDATE division SET name = %s || right(code, 4)", (f"big{self._number}-",)
                    )
                    return
            await asyncio.sleep(0.1)

    async def suffer(self, faults: int, within: float) -> None:
        """Kill one after the other and start it again, each at least once, at random moments."""
        servers = {"agent": self.capture, "postgres": self.postgres, "kafka": self.kafka}
        kinds = list(servers)
        order = [*kinds, *self.chance.choices(kinds, k=max(0, faults - len(kinds)))]
        self.chance.shuffle(order)
        for kind in order:
            await asyncio.sleep(self.chance.uniform(0.05, within))
            server: Any = servers[kind]
            await server.kill()
            await server.start()
            self.done.append(kind)

    async def topic(self) -> dict[str, str]:
        """What the events leave. Fails where one is told twice or a key goes back."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(Unavailable):  # the broker may only just be back
                    records, _ = await read_all(Cluster(self.kafka.bootstrap), "office.v1")
                    break
                await asyncio.sleep(0.2)
        assert len(ids(records)) == len(set(ids(records))), "repeated"
        state: dict[str, str] = {}
        latest: dict[str, str] = {}
        for record in records:
            event = event_of(record.value, record.headers)
            assert event.sequence > latest.get(event.key, ""), "out of order"
            latest[event.key] = event.sequence
            state.pop(event.key, None)
            if event.value is not None:
                state[event.key] = msgspec.json.decode(event.value)["name"]
        return state

    async def settle(self, seconds: float = 60.0) -> None:
        """Until a row written now stands in the topic: everything before it does too. Then compare."""
        self._number += 1
        last = f"last{self._number}"
        async with self.table() as table:
            await table.execute(
                "INSERT INTO division VALUES ('999999999', %s, 'township', NULL)"
                " ON CONFLICT (code) DO UPDATE SET name = excluded.name",
                (last,),
            )
            cursor = await table.execute("SELECT code, name FROM division")
            rows: dict[str, str] = dict(await cursor.fetchall())
        deadline = time.monotonic() + seconds
        while (found := await self.topic()).get("999999999") != last or len(found) < len(rows):
            assert time.monotonic() < deadline, f"not there: {self.capture.tail()}"
            await asyncio.sleep(0.5)
        assert found == rows


async def everything_goes_wrong(
    servers: Path, folder: Path, seed: int, rows: int, faults: int
) -> None:
    async with Office(servers, folder, seed, rows) as office:
        # In the first copy, while the table changes.
        changing = asyncio.create_task(office.keep_changing(), name="changes")
        try:
            await office.suffer(faults, 1.0)
        finally:
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
        await office.settle()
        # While one big transaction comes by.
        async with asyncio.TaskGroup() as group:
            group.create_task(office.big_transaction(), name="big")
            group.create_task(office.suffer(faults, 0.7), name="faults")
        await office.settle()
        # In the stream.
        changing = asyncio.create_task(office.keep_changing(), name="changes")
        try:
            await office.suffer(faults, 1.5)
        finally:
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
        await office.settle()
        print(f"seed {seed}: equal after {' '.join(office.done)}")


async def test_a_capture_through_kills_of_everything_ends_in_the_tables_rows(
    servers: Path, tmp_path: Path
) -> None:
    """Red when ``Intake._take`` does not look at the held ids: tried."""
    await everything_goes_wrong(servers, tmp_path, seed=11, rows=ROWS, faults=FAULTS)


async def test_capture_many_seeds(servers: Path, tmp_path: Path) -> None:
    first, _, last = os.environ.get("CAPTURE_SEEDS", "1-5").partition("-")
    rows = int(os.environ.get("CAPTURE_ROWS", "50000"))
    faults = int(os.environ.get("CAPTURE_FAULTS", "8"))
    for seed in range(int(first), int(last or first) + 1):
        await everything_goes_wrong(servers, tmp_path, seed, rows, faults)
