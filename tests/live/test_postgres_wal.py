"""The log that a slot holds back: watched while Kafka is away, and let go while others are busy."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.capture import postgres_wal
from agents.demo.servers import KafkaServer, PostgresServer, free_ports
from tests.live.capture import capture
from tests.live.reading import Reading
from tests.live.streams import until_true
from tests.live.test_backfill import running
from tests.live.test_postgres_source import source

pytestmark = [pytest.mark.live, pytest.mark.slow]

Office = psycopg.AsyncConnection[Any]
MB = 1 << 20


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text);"
            "CREATE SCHEMA office; CREATE TABLE office.person (id text PRIMARY KEY, full_name text,"
            " note text, alive boolean, at timestamptz)"
        )
        yield connection


async def write(office: Office, megabytes: int) -> None:
    """Something that is not ours."""
    await office.execute(
        "CREATE TABLE IF NOT EXISTS other (v text); ALTER TABLE other ALTER v SET STORAGE EXTERNAL"
    )
    for _ in range(megabytes):
        await office.execute(
            "INSERT INTO other SELECT repeat('x', 100000) FROM generate_series(1, 10)"
        )


async def test_the_budget_warns_then_alarms_while_kafka_is_away_and_calms_again(
    office: Office, database: str, tmp_path: Path, servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when the capture looks at Kafka before its source: tried."""
    monkeypatch.setattr(postgres_wal, "LOOK", 0.3)
    kafka = KafkaServer(servers / "wal", free_ports(1)[0], "wal")
    await kafka.start()
    try:
        settings = {"wal_budget": 30 * MB, "heartbeat": 1.0}
        part = capture(kafka.bootstrap, database, str(tmp_path), **settings)
        hop = part.hop
        async with running(part):
            await until_true(lambda: hop.complete and "wal_retained_bytes" in hop.gauges)
            assert not hop.warnings
            await kafka.stop()
            await write(office, 17)
            await until_true(lambda: "wal" in hop.warnings, 30)
            assert hop.gauges["wal_retained_bytes"] > 15 * MB
            await write(office, 14)
            await until_true(lambda: "wal" in hop.alarms, 30)
            assert "wal_budget of 30 MB" in (hop.trouble() or "")
            await kafka.start()
            # What is let go is known to the server with its next record of running transactions.
            async with asyncio.timeout(60):
                while hop.alarms or hop.warnings:
                    await office.execute("SELECT pg_log_standby_snapshot()")
                    await asyncio.sleep(0.5)
            assert hop.trouble() is None
    finally:
        await kafka.stop()


@pytest.mark.parametrize("heartbeat", [0.0, 0.5])
async def test_other_databases_that_are_busy_do_not_fill_the_disk(
    postgres: PostgresServer, office: Office, database: str, heartbeat: float
) -> None:
    """Seen: keepalives alone carry the confirmation on, also without heartbeats."""
    other = await postgres.create("busy_" + database.rpartition("=")[2])
    reading = Reading(source(database, heartbeat=heartbeat))
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        async with await psycopg.AsyncConnection.connect(other, autocommit=True) as busy:
            await write(busy, 20)
        row = await (await office.execute("SELECT pg_current_wal_lsn() - '0/0'")).fetchone()
        assert row
        end = int(row[0])
        await reading.until(
            lambda: reading.last and reading.last.position["lsn"] >= end, confirm=True
        )
        await asyncio.sleep(0.5)
        row = await (
            await office.execute(
                "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots"
                " WHERE database = current_database()"
            )
        ).fetchone()
        assert row
        assert int(row[0]) >= end
    finally:
        await reading.close()
        await office.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = current_database() AND NOT active"
        )


async def test_an_idle_server_is_left_idle_by_heartbeats(office: Office, database: str) -> None:
    """Red when a heartbeat is written whatever the server did: tried."""
    reading = Reading(source(database, heartbeat=0.2))
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        upkeep = reading.source._upkeep
        for _ in range(3):
            await reading.source.read()
        before = upkeep.beats
        for _ in range(7):
            await reading.source.read()
        # The server's own work may come by, a checkpoint or a vacuum; without a look there are dozens.
        assert upkeep.beats - before <= 4
    finally:
        await reading.close()
