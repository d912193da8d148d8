"""One transaction of very many rows: bounded memory, watermarks within it, resumed where it was.

By command, long: ``LARGE_ROWS=2000000 deploy/test -m slow -k two_million -s``.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.watermark import FENCE, TYPE, Watermark
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.ends import look_back
from agents.kafka.reader import scan
from agents.kafka.wire import Connection
from contracts.envelope import header

pytestmark = pytest.mark.live

#: MiB that the capture may have at most.
MOST = 150


@pytest.fixture
async def office(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with an empty table of divisions."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text)"
        )
        yield connection


class Captured:
    """The capture as a process, and what its topic's watermarks say."""

    def __init__(self, kafka: KafkaServer, dsn: str) -> None:
        self.topic = f"{dsn.rpartition('=')[2]}.v1"
        self.largest = 0.0
        self._command = [sys.executable, "-m", "tests.live.capture", kafka.bootstrap, dsn]
        self._cluster = Cluster(kafka.bootstrap)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._command)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    def weigh(self) -> None:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.largest = max(self.largest, int(line.split()[1]) / 1024)

    async def mark(self) -> Watermark | None:
        """The last watermark of the first partition."""
        async with Connection(self._cluster) as connection:
            if self.topic not in await connection.topics():
                return None
            part = (self.topic, 0)
            start, end = (await connection.ends([part]))[part]
            return (await look_back(connection, part, start, end)).mark

    async def until(self, question: Any, seconds: float) -> Watermark:
        async with asyncio.timeout(seconds):
            while True:
                self.weigh()
                mark = await self.mark()
                if mark is not None and question(mark.position["at"]):
                    return mark
                await asyncio.sleep(0.3)

    async def told(self) -> tuple[int, int]:
        """How many events the topic holds, and of how many keys."""
        count, keys = 0, set()
        async with Connection(self._cluster) as connection:
            for partition in range((await connection.topics())[self.topic]):
                part = (self.topic, partition)
                start, end = (await connection.ends([part]))[part]
                async for record in scan(connection, part, start, end):
                    if header(record.headers, "ce_type") not in (TYPE, FENCE):
                        count += 1
                        keys.add(record.key)
        return count, len(keys)


async def passes(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str, rows: int
) -> None:
    captured = Captured(kafka, database)
    await captured.start()
    await captured.until(lambda at: at["copy"]["done"], 30)
    await office.execute(
        "INSERT INTO division SELECT (100000000 + n)::text, 'name', 'township', NULL"
        " FROM generate_series(1, %s) n",
        (rows,),
    )
    cursor = await office.execute("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
    row = await cursor.fetchone()
    assert row
    reached = []
    for share in (0.2, 0.5):
        mark = await captured.until(lambda at, share=share: _number(at) > rows * share, 300)
        reached.append(_number(mark.position["at"]))
        await captured.kill()
        await captured.start()
    await captured.until(lambda at: at["lsn"] >= row[0], 600)
    captured.weigh()
    await captured.kill()
    print(f"{rows} rows, killed at {reached}: at most {captured.largest:.0f} MiB")
    assert captured.largest < MOST
    assert await captured.told() == (rows, rows)


def _number(position: dict[str, Any]) -> int:
    return int((position.get("within") or (0, 0))[1])


@pytest.mark.slow
async def test_a_large_transaction_killed_in_its_middle_is_told_once(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Red when watermarks are drawn between transactions alone: tried."""
    await passes(kafka, office, database, 150_000)


@pytest.mark.slow
async def test_two_million_rows_pass_in_bounded_memory(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str
) -> None:
    await passes(kafka, office, database, int(os.environ.get("LARGE_ROWS", "2000000")))
