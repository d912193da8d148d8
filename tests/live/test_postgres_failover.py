"""A standby takes over: its slot goes on where ours was, or says that it cannot."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.errors import SlotLost
from agents.capture.postgres_slot import tag_of
from agents.demo.servers import NotInstalled, PostgresServer, free_ports
from tests.live.reading import Reading
from tests.live.test_postgres_source import source

pytestmark = [pytest.mark.live, pytest.mark.slow]


class Standby(PostgresServer):
    """A copy of ``primary`` that follows it, and keeps its failover slots."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        super().__init__(
            folder,
            free_ports(1)[0],
            "standby",
            settings={
                "sync_replication_slots": "on",
                "hot_standby_feedback": "on",
                "primary_slot_name": "standby",
                "primary_conninfo": f"{primary.dsn('postgres')} application_name=standby",
            },
        )
        self._primary = primary

    async def start(self) -> None:
        if not self._data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._user:
                self._give_away(self.folder)
            made = await asyncio.create_subprocess_exec(
                str(self._programs() / "pg_basebackup"), "-D", str(self._data), "-R", "-X", "stream",
                "-d", self._primary.dsn("postgres"), "-c", "fast",
                user=self._user, cwd=self.folder,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await made.communicate()
            assert not made.returncode, said.decode()
        await super().start()


@pytest.fixture
async def pair(servers: Path) -> AsyncIterator[tuple[PostgresServer, Standby]]:
    """A primary and its standby."""
    primary = PostgresServer(servers / "primary", free_ports(1)[0], "primary")
    standby = Standby(servers / "standby", primary)
    try:
        await primary.start()
    except NotInstalled as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    try:
        async with await psycopg.AsyncConnection.connect(
            primary.dsn("postgres"), autocommit=True
        ) as base:
            await base.execute("SELECT pg_create_physical_replication_slot('standby', true)")
        await standby.start()
        yield primary, standby
    finally:
        await standby.stop()
        await primary.stop()


async def value(dsn: str, query: str) -> Any:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as base:
        row = await (await base.execute(query.encode())).fetchone()
        return row[0] if row else None


async def until(dsn: str, query: str, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await value(dsn, query):
            await asyncio.sleep(0.1)


async def test_a_promoted_standby_goes_on_where_the_primary_was(
    pair: tuple[PostgresServer, Standby],
) -> None:
    """Red without failover slots: tried, it never gets there. Red when only the log's end is compared with
    what was told: tried, a history that never was is gone on with."""
    primary, standby = pair
    dsn = await primary.create("failover")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as base:
        await base.execute(
            "CREATE SCHEMA office; CREATE TABLE office.person (id text PRIMARY KEY, full_name text,"
            " note text, alive boolean, at timestamptz)"
        )
        reading = Reading(source(dsn))
        await reading.open(None)
        try:
            await reading.until(lambda: reading.last and reading.last.complete, confirm=True)
            # A synchronised slot is kept for good only once its reader has moved on.
            async with asyncio.timeout(30):
                for number in range(10_000):
                    await base.execute("INSERT INTO office.person (id) VALUES (%s)", (str(number),))
                    await base.execute("SELECT pg_log_standby_snapshot()")
                    await reading.until(
                        lambda number=number: len(reading.told) == number + 1, confirm=True
                    )
                    if await value(
                        standby.dsn("postgres"),
                        "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary"
                        " AND slot_name LIKE 'levelsync%'",
                    ):
                        break
                    await asyncio.sleep(0.2)
            await base.execute("INSERT INTO office.person (id) VALUES ('last')")
            await reading.until(lambda: reading.told[-1].key == "last")
            assert reading.last
            # What was told since the watermark is to be told again by the other.
            position, told = reading.last.position, len(reading.told)
            end = await value(dsn, "SELECT pg_current_wal_flush_lsn()")
            await until(
                standby.dsn("postgres"), f"SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"
            )
        finally:
            await reading.close()
    await primary.kill()
    await value(standby.dsn("postgres"), "SELECT pg_promote()")
    there = standby.dsn("failover")
    async with await psycopg.AsyncConnection.connect(there, autocommit=True) as base:
        await base.execute("INSERT INTO office.person (id) VALUES ('after')")

    beyond = frozenset({f"{tag_of(position['system'], 0)}.{position['lsn'] + (1 << 20):X}.0"})
    with pytest.raises(SlotLost, match="promoted before it had everything"):
        await refused(there, position, beyond)

    again = Reading(source(there))
    await again.open(position, frozenset())
    try:
        await again.until(lambda: again.told and again.told[-1].key == "after")
    finally:
        await again.close()
    assert [one.key for one in again.told] == ["after"]
    assert again.last
    assert again.last.position["timeline"] == 2
    assert told


async def refused(dsn: str, position: Any, held: frozenset[str]) -> None:
    """Open, and close again."""
    reading = Reading(source(dsn))
    await reading.open(position, held)
    await reading.close()
