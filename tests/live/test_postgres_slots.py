"""A history that does not go on from the topic's: every way in which it can, on real servers."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.errors import SlotLost, Unavailable
from agents.base.requests import Requests
from agents.capture import postgres_slot
from agents.capture.postgres_slot import drop_slot
from agents.demo.servers import KafkaServer, PostgresServer, free_ports
from agents.kafka.cluster import Cluster
from tests.live.capture import capture
from tests.live.reading import Reading
from tests.live.streams import ids, read_all, until_true
from tests.live.test_backfill import answered, kinds, running, table
from tests.live.test_intake import fill, folded
from tests.live.test_postgres_source import opened, source

pytestmark = [pytest.mark.live, pytest.mark.slow]

TABLE = "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text)"


@pytest.fixture
async def base(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with the table ``office.person``."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA office")
        await connection.execute(
            "CREATE TABLE office.person (id text PRIMARY KEY, full_name text, note text,"
            " alive boolean, at timestamptz)"
        )
        yield connection


@pytest.fixture(scope="module")
def alone(servers: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL for these tests alone: they take its log away and restore it."""
    server = PostgresServer(servers / "alone", free_ports(1)[0], "alone")
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


async def position_of(dsn: str) -> dict[str, Any]:
    """Where a first start ends."""
    reading = Reading(source(dsn))
    await reading.open(None, frozenset())
    await reading.quiet()
    await reading.close()
    assert reading.last
    position: dict[str, Any] = reading.last.position
    return position


async def test_a_slot_of_another_plugin_or_database_is_not_taken(
    base: psycopg.AsyncConnection[Any], database: str, postgres: PostgresServer
) -> None:
    position = await position_of(database)
    name = "levelsync_" + database.rpartition("=")[2]
    await drop_slot(base, name)
    await base.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (name,))
    with pytest.raises(SlotLost, match=r"another plugin.*found=test_decoding.*slot=levelsync"):
        await opened(source(database), position)
    await drop_slot(base, name)
    async with await psycopg.AsyncConnection.connect(
        postgres.dsn("postgres"), autocommit=True
    ) as other:
        await other.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        try:
            with pytest.raises(SlotLost, match=r"another database.*found=postgres"):
                await opened(source(database), position)
        finally:
            await drop_slot(other, name)


async def test_a_topic_filled_from_another_system_is_not_gone_on_with(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    position = await position_of(database)
    with pytest.raises(SlotLost, match=r"another database system.*expected=42.*two ways out"):
        await opened(source(database), {**position, "system": "42"})


async def test_a_slot_in_use_names_who_has_it(
    base: psycopg.AsyncConnection[Any], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_slot, "ACTIVE", 1.0)
    first = Reading(source(database))
    await first.open(None, frozenset())
    try:
        await first.quiet()
        assert first.last
        with pytest.raises(Unavailable, match=r"Another connection.*pid=\d+.*since=20"):
            await opened(source(database), first.last.position)
    finally:
        await first.close()


async def test_a_slot_closed_a_moment_ago_is_taken_again(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    position = await position_of(database)
    for _ in range(5):
        await opened(source(database), position)


async def test_an_invalidated_slot_says_why_and_since_when(alone: PostgresServer) -> None:
    """Red when only ``confirmed_flush_lsn`` is looked at: tried."""
    dsn = await alone.create("invalidated")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as base:
        await base.execute(
            "CREATE SCHEMA office; CREATE TABLE office.person (id text PRIMARY KEY, full_name text,"
            " note text, alive boolean, at timestamptz)"
        )
        position = await position_of(dsn)
        await base.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
        await base.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
        for _ in range(4):
            await base.execute("SELECT pg_switch_wal()")
            await base.execute("CREATE TABLE filler AS SELECT 1; DROP TABLE filler")
        await base.execute("CHECKPOINT")
        with pytest.raises(
            SlotLost, match=r"given up.*reason=wal_removed.*wal_status=lost.*inactive_since=20"
        ):
            await opened(source(dsn), position)
        await base.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        await base.execute("SELECT pg_reload_conf()")


async def test_a_restored_backup_stops_and_a_copy_anew_sorts_above_all_before(
    kafka: KafkaServer, alone: PostgresServer, tmp_path: Path
) -> None:
    """The restored server's log stands before what was told. Red when a later era's sequences are as
    those of the first: tried. Red when the log's end is not compared: tried, it goes on in silence."""
    dsn = await alone.create("restored")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as office:
        await office.execute(TABLE)
        await fill(office, 300)
    first = capture(kafka.bootstrap, dsn, str(tmp_path))
    async with running(first):
        await until_true(lambda: first.hop.complete and first.hop.events == 300)
    await alone.stop()
    backup = tmp_path / "backup"
    shutil.copytree(alone.folder / "pgdata", backup, symlinks=True)
    await alone.start()
    async with running(first):
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as office:
            await office.execute("CREATE TABLE much AS SELECT generate_series(1, 300000)")
            await office.execute("UPDATE division SET name = 'lost with the disk'")
            await office.execute("INSERT INTO division VALUES ('300000000', 'n', 'township', NULL)")
        await until_true(lambda: first.hop.events == 300 + 301)
        await asyncio.sleep(2.0)
    await alone.stop()
    _put_back(backup, alone.folder / "pgdata")
    await alone.start()

    stopped = capture(kafka.bootstrap, dsn, str(tmp_path))
    async with running(stopped):
        await until_true(lambda: stopped.hop.state == "stopped")
    assert "log ends before" in str(stopped.hop.error)
    requests = Requests(tmp_path)
    request = requests.ask("backfill", stopped.hop.contract, anew=True)
    again = capture(kafka.bootstrap, dsn, str(tmp_path))
    async with running(again):
        assert (await answered(requests, request)).state == "done"
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as office:
            await office.execute("UPDATE division SET name = 'after' WHERE code = '100000001'")
            await until_true(lambda: again.hop.events >= 300 + 1 + 1)
            state = await table(office)
    records, _ = await read_all(Cluster(kafka.bootstrap), again.hop.contract)
    assert folded(records) == state, "and every key's sequences have grown"
    assert len(ids(records)) == len(set(ids(records)))
    assert kinds(records).count("deleted") == 1


def _put_back(backup: Path, data: Path) -> None:
    owner = data.stat()
    shutil.rmtree(data)
    shutil.copytree(backup, data, symlinks=True)
    for each in (data, *data.rglob("*")):
        with contextlib.suppress(OSError):
            shutil.chown(each, owner.st_uid, owner.st_gid)
    data.chmod(0o700)


def test_sequences_of_later_eras_sort_above_those_before() -> None:
    sequences = [
        f"{postgres_slot.sequences_of(era)}{lsn:016X}{number:08X}"
        for era, lsn, number in (
            (0, 1, 0),
            (0, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF),
            (1, 1, 0),
            (1, 1, 1),
            (2, 0, 0),
            (300, 0, 0),
        )
    ]
    assert sequences == sorted(sequences)
