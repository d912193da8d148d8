"""The first copy of tables of every kind: cut in the middle, and every row is told once."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from agents.capture import postgres_copy
from agents.capture.postgres import PostgresSource
from agents.capture.postgres_slot import drop_slot
from tests.live.reading import Reading

pytestmark = pytest.mark.live

Office = psycopg.AsyncConnection[Any]


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        yield connection


def source(dsn: str, chunk: int = 20) -> PostgresSource:
    name = "levelsync_" + dsn.rpartition("=")[2]
    columns = {"key": "k", "name": "v"}
    return PostgresSource(
        dsn=dsn, table="public.thing", columns=columns, key="key", name=name, chunk=chunk
    )


async def copied_over_a_cut(dsn: str, reads: int = 3, chunk: int = 20) -> list[Any]:
    """Every change of a copy that is cut after some reads and opened again with what was told."""
    first = Reading(source(dsn, chunk))
    await first.open(None, frozenset())
    start = await first.source.read()
    first.told += start.changes
    for _ in range(reads):
        first.told += (await first.source.read()).changes
    await first.close()
    held = frozenset(change.id for change in first.told)
    again = Reading(source(dsn, chunk))
    # No watermark was drawn: it begins where the slot does, and all that was told comes again.
    await again.open(None, held)
    try:
        await again.quiet()
    finally:
        await again.close()
    return first.told + [change for change in again.told if change.id not in held]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", "n - 60"),
        ("numeric(12, 3)", "(n - 60) * 0.5"),
        ("double precision", "(n - 60) / 7.0::float8"),
        ("uuid", "md5(n::text)::uuid"),
        ("timestamptz", "timestamptz '2024-01-01' + n * interval '1 hour 1 microsecond'"),
        ("date", "date '0044-03-15 BC' + n * 7000"),
        ("bytea", "decode(md5(n::text), 'hex')"),
        ("character(12)", "'k' || n"),
        ('varchar(40) COLLATE "C"', "chr(64 + n) || '人' || n"),
        ("text", "CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN '''%s\\{}' ELSE '\"' END || n"),
        ("mood", "('m' || n % 130)::mood"),
        ("number_of_a_house", "(n - 60)"),
        ("int4range", "int4range(n, n + 5)"),
        ("inet", "inet '10.0.0.0' + n"),
        ("int[]", "ARRAY[n % 7, n]"),
        ("interval", "n * interval '1 day 3 seconds'"),
    ],
)
async def test_keys_of_any_type_that_has_an_order(
    office: Office, database: str, kind: str, value: str
) -> None:
    """Red when the last key is what the record holds, not what the server wrote: tried with bytea."""
    names = ", ".join(f"'m{number}'" for number in range(130))
    await office.execute(f"CREATE TYPE mood AS ENUM ({names})".encode())
    await office.execute("CREATE DOMAIN number_of_a_house AS int CHECK (VALUE > -1000)")
    await office.execute(f"CREATE TABLE thing (k {kind} PRIMARY KEY, v text)".encode())
    await office.execute(
        f"INSERT INTO thing SELECT {value}, 'v' || n FROM generate_series(1, 130) n".encode()
    )
    told = await copied_over_a_cut(database)
    assert sorted(change.fields["name"] for change in told) == sorted(
        f"v{number}" for number in range(1, 131)
    )


async def test_a_key_that_stands_several_times_is_told_once(office: Office, database: str) -> None:
    """Partitioned tables have the region in their primary key."""
    await office.execute(
        "CREATE TABLE thing (region int, k text, v text, PRIMARY KEY (k, region))"
        " PARTITION BY LIST (region);"
        "CREATE TABLE thing_1 PARTITION OF thing FOR VALUES IN (1);"
        "CREATE TABLE thing_2 PARTITION OF thing FOR VALUES IN (2, 3)"
    )
    await office.execute(
        "INSERT INTO thing SELECT region, lpad((n / 3)::text, 4, '0'), 'v' FROM"
        " generate_series(0, 200) n, generate_series(1, 3) region ON CONFLICT DO NOTHING"
    )
    told = await copied_over_a_cut(database, chunk=10)
    assert sorted(change.key for change in told) == [f"{number:04}" for number in range(67)]


async def test_a_table_without_an_index_on_its_key_and_one_without_rows(
    office: Office, database: str
) -> None:
    await office.execute("CREATE TABLE thing (k text, v text)")
    await office.execute("ALTER TABLE thing REPLICA IDENTITY FULL")
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        assert reading.told == []
        assert reading.last
        assert reading.last.complete
        await office.execute("INSERT INTO thing SELECT n, 'v' FROM generate_series(1, 90) n")
        await reading.until(lambda: len(reading.told) == 90)
    finally:
        await reading.close()
    name = "levelsync_" + database.rpartition("=")[2]
    await drop_slot(office, name)
    told = await copied_over_a_cut(database)
    assert len({change.key for change in told}) == len(told) == 90


async def test_wide_rows_make_small_chunks(
    office: Office, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when only rows are counted: tried."""
    monkeypatch.setattr(postgres_copy, "BYTES", 1024 * 1024)
    await office.execute("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    await office.execute("ALTER TABLE thing ALTER v SET STORAGE EXTERNAL")
    await office.execute(
        "INSERT INTO thing SELECT n, repeat('x', 100_000) FROM generate_series(1, 400) n"
    )
    reading = Reading(source(database, chunk=4000))
    await reading.open(None, frozenset())
    sizes = []
    try:
        while len(reading.told) < 400:
            before = len(reading.told)
            reading.told += (await reading.source.read()).changes
            sizes.append(len(reading.told) - before)
    finally:
        await reading.close()
    # The first rows are asked for before it is known how wide they are.
    assert max(sizes) <= 2 * postgres_copy.FEW
    assert len(sizes) >= 8


async def test_a_chunk_that_waits_for_a_lock_gives_up_and_tries_again(
    office: Office, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_copy, "LOCK", 1)
    await office.execute("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    await office.execute("INSERT INTO thing SELECT n, 'v' FROM generate_series(1, 100) n")
    reading = Reading(source(database))
    await reading.open(None, frozenset())
    try:
        async with office.transaction():
            await office.execute("LOCK TABLE thing IN ACCESS EXCLUSIVE MODE")
            for _ in range(3):
                reading.told += (await reading.source.read()).changes
        await reading.quiet()
    finally:
        await reading.close()
    assert len({change.key for change in reading.told}) == len(reading.told) == 100
