"""Both plugins tell the same, each on a real server that has both."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from agents.base.errors import SourceMismatch
from agents.capture.postgres import PostgresSource
from contracts.shape import Shape, String
from tests.live.reading import Reading

pytestmark = [pytest.mark.live, pytest.mark.parametrize("plugin", ["pgoutput", "wal2json"])]

COLUMNS = {"key": "id", "name": "full_name", "note": "note"}
SHAPES: dict[str, Shape] = dict.fromkeys(COLUMNS, String())


@pytest.fixture
async def base(elsewhere: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with an empty table ``person``."""
    async with await psycopg.AsyncConnection.connect(elsewhere, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE person (id text PRIMARY KEY, full_name text, note text, extra int)"
        )
        await connection.execute("ALTER TABLE person ALTER note SET STORAGE EXTERNAL")
        yield connection


def source(dsn: str, plugin: str, **other: Any) -> PostgresSource:
    settings: dict[str, Any] = {
        "table": "public.person", "columns": COLUMNS, "shapes": SHAPES, "key": "key", **other
    }  # fmt: skip
    name = "levelsync_" + dsn.rpartition("=")[2]
    return PostgresSource(dsn=dsn, name=name, plugin=plugin, chunk=50, **settings)


def told(reading: Reading) -> list[tuple[str, Any]]:
    return [(one.key, one.fields and one.fields["name"]) for one in reading.told]


async def test_every_kind_of_change(
    base: psycopg.AsyncConnection[Any], elsewhere: str, plugin: str
) -> None:
    large = "大" * 9_000
    await base.execute(
        "INSERT INTO person SELECT n::text, 'old' FROM generate_series(1000, 1119) n"
    )
    reading = Reading(source(elsewhere, plugin))
    await reading.open(None)
    await reading.quiet()
    assert len(reading.told) == 120
    reading.told = []
    async with base.transaction():
        await base.execute("INSERT INTO person VALUES ('1', '李\"雷', %s)", (large,))
        await base.execute("SAVEPOINT one")
        await base.execute("INSERT INTO person VALUES ('rolled', 'back')")
        await base.execute("ROLLBACK TO one")
    await base.execute("UPDATE person SET full_name = 'b' WHERE id = '1'")
    await reading.until(lambda: len(reading.told) == 2)
    assert reading.told[1].fields["note"] == large
    await base.execute("UPDATE person SET id = '2' WHERE id = '1'")
    await reading.until(lambda: len(reading.told) == 4)
    assert reading.told[3].fields["note"] == large
    await base.execute("DELETE FROM person WHERE id = '2'")
    await base.execute("TRUNCATE person")
    await base.execute("INSERT INTO person VALUES ('3', NULL)")
    await reading.until(lambda: len(reading.told) == 7)
    await reading.close()
    sweep = reading.told.pop(5)
    assert told(reading) == [
        ("1", '李"雷'), ("1", "b"), ("1", None), ("2", "b"), ("2", None), ("3", None)
    ]  # fmt: skip
    assert reading.told[3].fields
    assert reading.told[4].sequence < sweep.before < reading.told[5].sequence
    sequences = [one.sequence for one in reading.told]
    assert sequences == sorted(sequences)


async def test_an_update_first_seen_without_its_large_column_is_whole(
    base: psycopg.AsyncConnection[Any], elsewhere: str, plugin: str
) -> None:
    """Red when columns that a layout lacks are not looked for in the table: tried."""
    large = "大" * 9_000
    await base.execute("INSERT INTO person VALUES ('1', 'a', %s)", (large,))
    reading = Reading(source(elsewhere, plugin))
    await reading.open(None)
    await reading.quiet()
    await base.execute("UPDATE person SET full_name = 'b'")
    await reading.until(lambda: len(reading.told) == 2)
    await reading.close()
    assert reading.told[1].fields == {"key": "1", "name": "b", "note": large}


async def test_a_column_that_is_renamed_under_an_update_stops(
    base: psycopg.AsyncConnection[Any], elsewhere: str, plugin: str
) -> None:
    await base.execute("INSERT INTO person VALUES ('1', 'a', 'n')")
    reading = Reading(source(elsewhere, plugin))
    await reading.open(None)
    await reading.quiet()
    await base.execute("UPDATE person SET extra = 1")
    await base.execute("ALTER TABLE person RENAME full_name TO called")
    await base.execute("UPDATE person SET extra = 2")
    with pytest.raises(SourceMismatch, match="RENAME COLUMN called TO full_name"):
        await reading.until(lambda: False, confirm=True)
    await reading.close()
    assert told(reading) == [("1", "a"), ("1", "a")]


async def test_ids_and_sequences_do_not_depend_on_the_plugin(
    base: psycopg.AsyncConnection[Any], elsewhere: str, plugin: str
) -> None:
    """A slot may be made anew with the other one: each change keeps its name."""
    one = Reading(source(elsewhere, plugin))
    await one.open(None)
    await one.quiet()
    other = "wal2json" if plugin == "pgoutput" else "pgoutput"
    name = "levelsync_other_" + elsewhere.rpartition("=")[2]
    settings = {"table": "public.person", "columns": COLUMNS, "key": "key"}
    two = Reading(PostgresSource(dsn=elsewhere, name=name, plugin=other, **settings))  # type: ignore[arg-type]
    await two.open(None)
    await two.quiet()
    async with base.transaction():
        await base.execute("INSERT INTO person VALUES ('1', 'a'), ('2', 'b')")
        await base.execute("UPDATE person SET id = '3' WHERE id = '1'")
    for reading in (one, two):
        await reading.until(lambda reading=reading: len(reading.told) == 4)
        await reading.close()
    assert one.told == two.told


async def test_generated_columns_are_told_or_refused(
    base: psycopg.AsyncConnection[Any], elsewhere: str, plugin: str
) -> None:
    await base.execute(
        "ALTER TABLE person DROP full_name,"
        " ADD full_name text GENERATED ALWAYS AS (upper(note)) STORED"
    )
    reading = Reading(source(elsewhere, plugin))
    if plugin == "pgoutput":
        with pytest.raises(SourceMismatch, match="PostgreSQL 18"):
            await reading.open(None)
        return
    await reading.open(None)
    await reading.quiet()
    await base.execute("INSERT INTO person VALUES ('1', 'n')")
    await reading.until(lambda: reading.told)
    await reading.close()
    assert told(reading) == [("1", "N")]
