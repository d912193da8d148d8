"""Capture from a real PostgreSQL: a first copy beside the stream, then every change once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from agents.base.errors import SlotLost, SourceMismatch, Unavailable
from agents.capture.postgres import PostgresSource
from agents.capture.postgres_slot import patiently
from agents.demo.servers import PostgresServer
from tests.live.reading import Reading

pytestmark = pytest.mark.live

COLUMNS = {"key": "id", "name": "full_name", "note": "note", "alive": "alive", "at": "at"}


@pytest.fixture
async def base(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with an empty table ``office.person``."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA office")
        await connection.execute(
            "CREATE TABLE office.person (id text PRIMARY KEY, full_name text, note text,"
            " alive boolean, at timestamptz DEFAULT '2024-05-01 10:00:00+08', extra int)"
        )
        yield connection


def source(dsn: str, **other: Any) -> PostgresSource:
    name = "levelsync_" + dsn.rpartition("=")[2]
    settings: dict[str, Any] = {"table": "office.person", "columns": COLUMNS, "chunk": 50, **other}
    return PostgresSource(dsn=dsn, key="key", name=name, **settings)


async def opened(source: PostgresSource, position: Any = None) -> None:
    """Open and close: for what must be refused."""
    async with source:
        await source.open(position, frozenset())


async def table(base: psycopg.AsyncConnection[Any]) -> dict[str, dict[str, Any]]:
    rows = await (
        await base.execute("SELECT id, full_name, note, alive FROM office.person")
    ).fetchall()
    return {row[0]: {"name": row[1], "note": row[2], "alive": row[3]} for row in rows}


def known(state: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        key: {name: fields[name] for name in ("name", "note", "alive")}
        for key, fields in state.items()
    }


async def test_every_kind_of_change_is_told_with_plain_values(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        await base.execute("INSERT INTO office.person VALUES ('1', '李雷', NULL, true)")
        await base.execute("UPDATE office.person SET alive = false WHERE id = '1'")
        await base.execute("UPDATE office.person SET id = '2' WHERE id = '1'")
        await base.execute("DELETE FROM office.person WHERE id = '2'")
        await reading.until(lambda: len(reading.told) == 5)
    finally:
        await reading.close()
    first = {"key": "1", "name": "李雷", "note": None, "alive": True, "at": "2024-05-01T02:00:00Z"}
    assert [(change.key, change.fields) for change in reading.told] == [
        ("1", first),
        ("1", {**first, "alive": False}),
        ("1", None),
        ("2", {**first, "key": "2", "alive": False}),
        ("2", None),
    ]
    sequences = [change.sequence for change in reading.told]
    assert sequences == sorted(sequences)
    assert len({change.id for change in reading.told}) == 5


async def test_a_large_column_that_did_not_change_is_still_there(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute("ALTER TABLE office.person ALTER note SET STORAGE EXTERNAL")
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        large = "大" * 20_000
        await base.execute("INSERT INTO office.person VALUES ('1', 'a', %s)", (large,))
        await base.execute("UPDATE office.person SET full_name = 'b'")
        await reading.until(lambda: len(reading.told) == 2)
    finally:
        await reading.close()
    assert reading.told[1].fields
    assert reading.told[1].fields["name"] == "b"
    assert reading.told[1].fields["note"] == large


async def test_what_the_table_does_not_show_yet_is_waited_for(
    base: psycopg.AsyncConnection[Any], database: str, postgres: PostgresServer
) -> None:
    """A commit that waits for a synchronous standby is in the log, and in no snapshot.

    Red when the table is read at once: tried; then the row is taken for one that is gone."""
    await base.execute("ALTER TABLE office.person ALTER note SET STORAGE EXTERNAL")
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    await reading.quiet()
    large = "大" * 9_000
    await base.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
    await base.execute("SELECT pg_reload_conf()")
    try:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as writer:

            async def write() -> None:
                async with writer.transaction():
                    await writer.execute(
                        "INSERT INTO office.person VALUES ('1', 'a', %s)", (large,)
                    )
                    await writer.execute("UPDATE office.person SET full_name = 'b'")

            async with asyncio.TaskGroup() as group:
                group.create_task(write(), name="write")
                told = group.create_task(
                    reading.until(lambda: len(reading.told) == 2), name="reading"
                )
                await asyncio.sleep(1.5)
                assert not told.done()
                await base.execute("ALTER SYSTEM RESET synchronous_standby_names")
                await base.execute("SELECT pg_reload_conf()")
    finally:
        await base.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await base.execute("SELECT pg_reload_conf()")
        await reading.close()
    assert [one.fields["name"] for one in reading.told] == ["a", "b"]
    assert reading.told[1].fields["note"] == large


async def write_on(base: psycopg.AsyncConnection[Any], turns: int) -> None:
    for turn in range(turns):
        async with base.transaction():
            await base.execute(
                "UPDATE office.person SET full_name = %s WHERE id = %s", (f"u{turn}", f"{turn:05}")
            )
            await base.execute(
                "INSERT INTO office.person VALUES (%s, 'new', 'n', true)", (f"{turn:05}x",)
            )
            await base.execute("DELETE FROM office.person WHERE id = %s", (f"{turn + 400:05}",))


async def fill(base: psycopg.AsyncConnection[Any], rows: int) -> None:
    await base.execute(
        "INSERT INTO office.person SELECT lpad(n::text, 5, '0'), 'old', 'o', false"
        " FROM generate_series(0, %s) n",
        (rows - 1,),
    )


async def test_the_first_copy_under_writes_ends_in_the_tables_state(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await fill(base, 900)
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(write_on(base, 300), name="writes")
            await reading.until(lambda: reading.last and reading.last.complete)
        await reading.quiet()
    finally:
        await reading.close()
    assert known(reading.state) == await table(base)
    assert len({change.id for change in reading.told}) == len(reading.told)


async def test_a_copy_cut_anywhere_goes_on_where_it_was_without_repeat(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await fill(base, 600)
    told: list[Any] = []
    position: Any = None
    held: set[str] = set()
    writes = asyncio.create_task(write_on(base, 250), name="writes")
    for turn in range(8):
        reading = Reading(source(database))
        await reading.open(position, frozenset(held))
        try:
            if turn == 7:
                await writes
                await reading.quiet()
            else:
                for _ in range(4):
                    last = await reading.source.read()
                    reading.told += last.changes
                    if last.settled and last.passed and turn % 3 != 2:
                        # A watermark: all told so far is in the copy, and only later ids are held.
                        told += [one for one in reading.told if one.id not in held]
                        reading.told, position = [], last.position
                        held.clear()
                        if turn % 2:
                            await reading.source.confirm(position)
            new = [one for one in reading.told if one.id not in held]
            told += new
            held |= {one.id for one in new}
        finally:
            await reading.close()
    reading.told = told
    assert known(reading.state) == await table(base)
    names = [change.id for change in told]
    assert len(set(names)) == len(names)


async def test_what_was_not_confirmed_is_told_again_under_the_same_ids(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    await reading.quiet()
    assert reading.last
    position = reading.last.position
    await reading.source.confirm(position)
    await fill(base, 20)
    await reading.until(lambda: len(reading.told) == 20)
    await reading.close()

    again = Reading(source(database))
    await again.open(position, frozenset())
    try:
        await again.until(lambda: len(again.told) == 20)
        assert again.told == reading.told
        await again.quiet()
    finally:
        await again.close()


async def test_a_large_transaction_is_resumed_in_its_middle(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Positions stand within it, and what was told before one is not told again.

    Red when a position within a transaction is not kept, or its first number not skipped: tried."""
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    await reading.quiet()
    async with base.transaction():
        await fill(base, 12_000)
        await base.execute("UPDATE office.person SET id = id || 'x' WHERE id < '00500'")
        await base.execute("DELETE FROM office.person WHERE id >= '11000'")
    await reading.until(lambda: reading.told)
    assert reading.last
    assert reading.last.settled
    position, safe = reading.last.position, list(reading.told)
    assert 0 < position["within"][1] < 12_000
    await reading.until(lambda: len(reading.told) > len(safe))
    beyond = reading.told[len(safe) :]
    await reading.close()

    again = Reading(source(database))
    await again.open(position, frozenset(one.id for one in beyond))
    await again.until(lambda: len(again.told) >= len(beyond))
    assert again.last
    assert again.last.passed, "what was held is all told again, long before the transaction ends"
    assert again.last.position["within"]
    await again.quiet()
    await again.close()
    assert again.told[: len(beyond)] == beyond
    assert len({one.id for one in safe + again.told}) == len(safe + again.told)
    again.told = safe + again.told
    assert known(again.state) == await table(base)


async def test_an_idle_database_does_not_keep_its_log(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        await base.execute("CREATE TABLE other AS SELECT generate_series(1, 5000)")
        ends = await (await base.execute("SELECT pg_current_wal_flush_lsn() - '0/0'")).fetchone()
        assert ends
        await reading.until(lambda: reading.last and reading.last.position["lsn"] >= int(ends[0]))
        assert reading.last
        await reading.source.confirm(reading.last.position)
        await asyncio.sleep(0.5)
        row = await (
            await base.execute(
                "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots"
                " WHERE database = current_database()"
            )
        ).fetchone()
        assert row
        assert int(row[0]) >= int(ends[0])
    finally:
        await reading.close()


@pytest.mark.parametrize(
    ("done_to_the_slot", "says"),
    [
        ("pg_drop_replication_slot(slot_name)", "gone"),
        ("pg_replication_slot_advance(slot_name, pg_current_wal_lsn())", "beyond"),
    ],
)
async def test_a_slot_that_cannot_go_on_from_the_copys_end_is_not_guessed_around(
    base: psycopg.AsyncConnection[Any], database: str, done_to_the_slot: str, says: str
) -> None:
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    await reading.quiet()
    assert reading.last
    position = reading.last.position
    await reading.close()
    await fill(base, 10)
    do = f"SELECT {done_to_the_slot} FROM pg_replication_slots WHERE database = current_database()"
    await patiently(base, "levelsync", lambda: base.execute(do.encode()))
    with pytest.raises(SlotLost, match=says):
        await opened(source(database), position)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"table": "office.nobody"}, "Expected the table"),
        ({"columns": {**COLUMNS, "name": "nom"}}, r"missing=\['nom'\]"),
    ],
)
async def test_a_table_that_does_not_fit_is_refused_with_what_is_missing(
    base: psycopg.AsyncConnection[Any], database: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(SourceMismatch, match=says):
        await opened(source(database, **settings))


async def test_a_table_without_identity_is_not_published(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute("ALTER TABLE office.person DROP CONSTRAINT person_pkey")
    with pytest.raises(SourceMismatch, match="ADD PRIMARY KEY"):
        await opened(source(database))
    found = await (await base.execute("SELECT count(*) FROM pg_publication")).fetchone()
    assert found == (0,)


async def test_a_server_that_is_killed_ends_the_read_and_is_resumed(
    base: psycopg.AsyncConnection[Any], database: str, postgres: PostgresServer
) -> None:
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    await reading.quiet()
    assert reading.last
    await fill(base, 20)
    await reading.until(lambda: len(reading.told) == 20)
    position, held = reading.last.position, frozenset(one.id for one in reading.told)
    await base.execute("CHECKPOINT")  # what other tests wrote need not be recovered here
    await postgres.kill()
    with pytest.raises(Unavailable):
        await reading.until(lambda: False)
    await reading.close()
    await postgres.start()
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("INSERT INTO office.person (id) VALUES ('after')")
        again = Reading(source(database))
        await again.open(position, held)
        try:
            await again.until(lambda: any(one.key == "after" for one in again.told))
        finally:
            await again.close()
        assert [one.key for one in again.told if one.id not in held] == ["after"]
