"""What becomes of the table itself: changed, truncated, cut in partitions, under names of any kind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from agents.base.errors import SourceMismatch
from agents.base.status import Hop
from agents.capture.postgres import PostgresSource
from agents.capture.source import Sweep
from contracts.shape import Boolean, Integer, Shape, String
from tests.live.reading import Reading

pytestmark = pytest.mark.live

COLUMNS = {"key": "id", "name": "full_name", "age": "age", "alive": "alive"}
SHAPES: dict[str, Shape] = {
    "key": String(), "name": String(), "age": Integer(), "alive": Boolean()
}  # fmt: skip


@pytest.fixture
async def base(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with an empty table ``person``."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE person (id text PRIMARY KEY, full_name varchar(20), age int, alive boolean)"
        )
        yield connection


def source(dsn: str, **other: Any) -> PostgresSource:
    name = "levelsync_" + dsn.rpartition("=")[2]
    settings: dict[str, Any] = {
        "table": "public.person", "columns": COLUMNS, "shapes": SHAPES, "key": "key", **other
    }  # fmt: skip
    return PostgresSource(dsn=dsn, name=name, **settings)


async def begun(dsn: str, **other: Any) -> Reading:
    reading = Reading(source(dsn, **other))
    await reading.open(None)
    await reading.quiet()
    return reading


async def refused(reading: Reading) -> SourceMismatch:
    """Read on, each position being safe at once, until the source stops."""
    with pytest.raises(SourceMismatch) as stopped:
        await reading.until(lambda: False, confirm=True)
    return stopped.value


def keys(reading: Reading) -> list[str]:
    return [one.key for one in reading.told]


# ---- ALTER TABLE -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("altered", "undone", "says"),
    [
        (
            "RENAME full_name TO called",
            "RENAME called TO full_name",
            'ALTER TABLE "public"."person" RENAME COLUMN called TO full_name',
        ),
        (
            "DROP full_name",
            "ADD full_name text",
            'ALTER TABLE "public"."person" ADD COLUMN full_name character varying(20)',
        ),
        (
            "ALTER full_name TYPE bytea USING full_name::bytea",
            "ALTER full_name TYPE text USING convert_from(full_name, 'UTF8')",
            "before=character varying(20), now=bytea",
        ),
        (
            "ALTER age TYPE jsonb USING to_jsonb(age)",
            "ALTER age TYPE int USING (age#>>'{}')::int",
            "ALTER COLUMN age TYPE integer",
        ),
        (
            "ALTER alive TYPE date USING NULL",
            "ALTER alive TYPE boolean USING NULL",
            "the contract's boolean",
        ),
    ],
)
async def test_a_column_the_contract_needs_stops_it_before_a_wrong_event(
    base: psycopg.AsyncConnection[Any], database: str, altered: str, undone: str, says: str
) -> None:
    """And once the ALTER is undone it goes on from there, without loss or repeat.

    Red when the layout is not looked at again: tried."""
    reading = await begun(database)
    await base.execute("INSERT INTO person VALUES ('1', 'a', 1, true)")
    await base.execute(f"ALTER TABLE person {altered}".encode())
    await base.execute("INSERT INTO person (id) VALUES ('2')")
    stopped = await refused(reading)
    await reading.close()
    assert says in str(stopped)
    assert keys(reading) == ["1"]
    assert reading.last

    await base.execute(f"ALTER TABLE person {undone}".encode())
    await base.execute("INSERT INTO person (id) VALUES ('3')")
    again = Reading(source(database))
    await again.open(reading.last.position)
    await again.until(lambda: "3" in keys(again))
    await again.close()
    # What was written between is taken from the table, since the log has it in the other layout.
    assert keys(again) == ["2", "3"]
    assert again.told[0].fields["name"] is None


async def test_a_renamed_column_that_the_node_file_then_names_goes_on_in_its_middle(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    """No older row comes again under the new name. Red when a source that stops does not wait for
    what it told to be safe: tried."""
    reading = await begun(database)
    async with base.transaction():
        await base.execute("INSERT INTO person VALUES ('1', 'a', 1, true)")
        await base.execute("ALTER TABLE person RENAME full_name TO called")
        await base.execute("INSERT INTO person VALUES ('2', 'b', 2, true)")
    await base.execute("INSERT INTO person VALUES ('3', 'c', 3, true)")
    # What was told is safe some reads later, as by a watermark.
    told: list[Any] = []
    safe: Any = None

    async def read() -> None:
        nonlocal safe
        while True:
            last = await reading.source.read()
            reading.told += last.changes
            told.append(last.position)
            if len(told) > 3:
                safe = told[-4]
                await reading.source.confirm(safe)

    with pytest.raises(SourceMismatch):
        await asyncio.wait_for(read(), 20)
    await reading.close()
    assert keys(reading) == ["1"]
    again = Reading(source(database, columns={**COLUMNS, "name": "called"}))
    await again.open(safe)
    try:
        await again.until(lambda: len(again.told) == 2)
    finally:
        await again.close()
    assert [(one.key, one.fields["name"]) for one in again.told] == [("2", "b"), ("3", "c")]


async def test_columns_nobody_needs_and_wider_types_go_on(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = await begun(database)
    try:
        for number, statement in enumerate(
            (
                "ADD extra jsonb",
                "ALTER age TYPE bigint",
                "ALTER full_name TYPE text",
                "DROP extra",
                "ALTER age TYPE numeric",
                "RENAME CONSTRAINT person_pkey TO other",
            )
        ):
            await base.execute(f"ALTER TABLE person {statement}".encode())
            await base.execute("INSERT INTO person VALUES (%s, 'a', 7, true)", (f"{number}",))
        await reading.until(lambda: len(reading.told) == 6)
    finally:
        await reading.close()
    assert [one.fields["age"] for one in reading.told] == ["7"] * 6


async def test_a_column_that_a_new_revision_needs_is_there_in_older_rows_too(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Rows that the log has without it are read from the table. Red when they are refused: tried."""
    reading = await begun(database)
    assert reading.last
    position = reading.last.position
    await reading.close()
    await base.execute("INSERT INTO person VALUES ('1', 'a', 1, true)")
    await base.execute("ALTER TABLE person ADD phone text DEFAULT 'none'")
    await base.execute("INSERT INTO person VALUES ('2', 'b', 1, true, '110')")
    again = Reading(
        source(
            database, columns={**COLUMNS, "phone": "phone"}, shapes={**SHAPES, "phone": String()}
        )
    )
    await again.open(position)
    await again.until(lambda: len(again.told) == 2)
    await again.close()
    assert [(one.key, one.fields["phone"]) for one in again.told] == [("1", "none"), ("2", "110")]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("age jsonb", "can fill the contract's integer, got jsonb"),
        ("age int GENERATED ALWAYS AS (length(id)) VIRTUAL", "is virtual"),
    ],
)
async def test_a_column_that_can_never_fit_is_refused_at_the_start(
    base: psycopg.AsyncConnection[Any], database: str, made: str, says: str
) -> None:
    await base.execute(f"ALTER TABLE person DROP age, ADD {made}".encode())
    with pytest.raises(SourceMismatch, match=says):
        await Reading(source(database)).open(None)


async def test_a_stored_generated_column_is_told(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute(
        "ALTER TABLE person DROP age, ADD age int GENERATED ALWAYS AS (length(id)) STORED"
    )
    reading = await begun(database)
    await base.execute("INSERT INTO person VALUES ('abc', 'a', true)")
    await reading.until(lambda: reading.told)
    await reading.close()
    assert reading.told[0].fields["age"] == "3"


async def test_two_fields_may_come_from_one_column(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = await begun(database, columns={**COLUMNS, "also": "id"})
    await base.execute("INSERT INTO person VALUES ('abc', 'a', 1, true)")
    await reading.until(lambda: reading.told)
    await reading.close()
    assert reading.told[0].fields["also"] == "abc"


# ---- identity --------------------------------------------------------------------------------


async def test_an_identity_without_the_key_is_refused_at_the_start_and_later(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Red when relations' flags are not looked at: tried."""
    await base.execute("ALTER TABLE person ADD other text NOT NULL DEFAULT 'x' UNIQUE")
    reading = await begun(database)
    await base.execute("ALTER TABLE person REPLICA IDENTITY USING INDEX person_other_key")
    await base.execute("INSERT INTO person VALUES ('1', 'a', 1, true)")
    await base.execute("UPDATE person SET id = '2'")
    stopped = await refused(reading)
    await reading.close()
    assert "REPLICA IDENTITY FULL" in str(stopped)
    assert keys(reading) == ["1"]
    with pytest.raises(SourceMismatch, match="replica identity"):
        await Reading(source(database)).open(None)


@pytest.mark.parametrize("identity", ["FULL", "USING INDEX by_id", "DEFAULT"])
async def test_any_identity_with_the_key_will_do(
    base: psycopg.AsyncConnection[Any], database: str, identity: str
) -> None:
    """A large column that did not change is there with each, and a changed key is two changes."""
    await base.execute("ALTER TABLE person ALTER full_name TYPE text")
    await base.execute("ALTER TABLE person ALTER full_name SET STORAGE EXTERNAL")
    await base.execute("CREATE UNIQUE INDEX by_id ON person (id)")
    await base.execute(f"ALTER TABLE person REPLICA IDENTITY {identity}".encode())
    reading = await begun(database)
    large = "大" * 9_000
    await base.execute("INSERT INTO person VALUES ('1', %s, 1, true)", (large,))
    for statement, told in (
        ("UPDATE person SET age = 2", 2),
        ("UPDATE person SET id = '2'", 4),
        ("DELETE FROM person", 5),
    ):
        await base.execute(statement.encode())
        await reading.until(lambda told=told: len(reading.told) == told)
    await reading.close()
    assert keys(reading) == ["1", "1", "1", "2", "2"]
    assert [one.fields is None for one in reading.told] == [False, False, True, False, True]
    assert reading.told[1].fields["name"] == large


# ---- TRUNCATE --------------------------------------------------------------------------------


async def test_a_truncate_is_a_sweep_alone_in_the_order_of_its_transaction(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = await begun(database)
    await base.execute("INSERT INTO person VALUES ('0', 'a', 1, true)")
    async with base.transaction():
        await base.execute("INSERT INTO person VALUES ('1', 'a', 1, true)")
        await base.execute("TRUNCATE person")
        await base.execute("INSERT INTO person VALUES ('2', 'a', 1, true)")
    told: list[list[Any]] = []
    places: list[Any] = []

    def two() -> bool:
        assert reading.last
        if reading.last.changes:
            told.append(list(reading.last.changes))
            places.append(reading.last.position["within"])
            assert reading.last.settled
        return any(getattr(one, "key", "") == "2" for one in reading.told)

    await reading.until(two)
    await reading.close()
    (swept,) = [one for one in told if isinstance(one[0], Sweep)]
    assert len(swept) == 1
    sweep = swept[0]
    at = told.index(swept)
    assert sweep.before == sweep.sequence > told[at - 1][-1].sequence
    assert told[at + 1][0].sequence > sweep.sequence
    assert places[at][1] == 2
    assert reading.state.keys() == {"2"}


# ---- partitions ------------------------------------------------------------------------------


@pytest.fixture
async def parted(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """``person`` cut in two by age, one of the two cut again and elsewhere."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            """
            CREATE SCHEMA "老.人";
            CREATE TABLE person (id text, full_name text, age int, alive boolean,
                PRIMARY KEY (id, age)) PARTITION BY RANGE (age);
            CREATE TABLE young PARTITION OF person FOR VALUES FROM (0) TO (60);
            CREATE TABLE old PARTITION OF person FOR VALUES FROM (60) TO (200)
                PARTITION BY RANGE (age);
            CREATE TABLE "老.人"."O ld" PARTITION OF old FOR VALUES FROM (60) TO (200);
            """
        )
        yield connection


async def test_rows_of_partitions_are_the_tables_own_and_move_between_them(
    parted: psycopg.AsyncConnection[Any], database: str
) -> None:
    await parted.execute("INSERT INTO person VALUES ('c', 'copied', 70, true)")
    reading = await begun(database)
    await parted.execute("INSERT INTO person VALUES ('1', 'a', 1, true), ('2', 'b', 61, true)")
    await parted.execute("UPDATE person SET age = 60 WHERE id = '1'")
    await parted.execute("DELETE FROM person WHERE id = '2'")
    await parted.execute("CREATE TABLE older PARTITION OF person FOR VALUES FROM (200) TO (300)")
    await parted.execute("INSERT INTO person VALUES ('3', 'c', 200, true)")
    await reading.until(lambda: "3" in keys(reading))
    await parted.execute("TRUNCATE person")
    await reading.until(lambda: not reading.state)
    await reading.close()
    moved = [(one.key, one.fields and one.fields["age"]) for one in reading.told[:-1]]
    assert moved == [
        ("c", "70"), ("1", "1"), ("2", "61"), ("1", None), ("1", "60"), ("2", None), ("3", "200")
    ]  # fmt: skip


async def test_a_partition_truncated_alone_stops_the_contract_and_names_the_way_out(
    parted: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Red with publish_via_partition_root, which tells nothing of it: tried."""
    reading = await begun(database)
    await parted.execute("INSERT INTO person VALUES ('1', 'a', 1, true), ('2', 'b', 61, true)")
    await parted.execute("TRUNCATE young")
    await parted.execute("INSERT INTO person VALUES ('3', 'b', 61, true)")
    stopped = await refused(reading)
    await reading.close()
    assert "public.young" in str(stopped)
    assert "--anew" in str(stopped)
    assert keys(reading) == ["1", "2"]


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE person DETACH PARTITION young", "DROP TABLE young"]
)
async def test_a_partition_that_goes_stops_the_contract_also_when_it_went_unseen(
    parted: psycopg.AsyncConnection[Any], database: str, statement: str
) -> None:
    reading = await begun(database)
    await parted.execute(statement.encode())
    stopped = await refused(reading)
    await reading.close()
    assert "--anew" in str(stopped)
    assert reading.last
    position = reading.last.position
    with pytest.raises(SourceMismatch, match="detached or dropped"):
        await Reading(source(database)).open(position)


async def test_rows_that_come_with_a_partition_are_warned_of(
    parted: psycopg.AsyncConnection[Any], database: str
) -> None:
    hop = Hop("capture", "x.v1", "", "")
    reading = await begun(database, hop=hop)
    assert reading.last
    position = reading.last.position
    await parted.execute("CREATE TABLE made PARTITION OF person FOR VALUES FROM (200) TO (201)")
    await parted.execute(
        "CREATE TABLE joined (id text NOT NULL, full_name text, age int NOT NULL, alive boolean)"
    )
    await parted.execute("INSERT INTO joined VALUES ('j', 'a', 300, true)")
    await parted.execute(
        "ALTER TABLE person ATTACH PARTITION joined FOR VALUES FROM (300) TO (301)"
    )
    await reading.until(lambda: hop.warnings)
    await parted.execute("INSERT INTO joined VALUES ('k', 'a', 300, true)")
    await reading.until(lambda: "k" in keys(reading))
    await reading.close()
    assert list(hop.warnings) == ["partition public.joined"]
    assert "levelsync backfill" in hop.warnings["partition public.joined"]

    unseen = Hop("capture", "x.v1", "", "")
    again = Reading(source(database, hop=unseen))
    await again.open(position)
    await again.close()
    assert unseen.warnings == hop.warnings


async def test_children_by_inheritance_are_refused(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute("CREATE TABLE child () INHERITS (person)")
    with pytest.raises(SourceMismatch, match="inheritance"):
        await Reading(source(database)).open(None)


async def test_a_table_dropped_and_made_again_is_another_one(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    reading = await begun(database)
    await base.execute("DROP TABLE person")
    await base.execute(
        "CREATE TABLE person (id text PRIMARY KEY, full_name text, age int, alive boolean)"
    )
    stopped = await refused(reading)
    await reading.close()
    assert "dropped" in str(stopped)
    assert reading.last
    position = reading.last.position
    with pytest.raises(SourceMismatch):
        await Reading(source(database)).open(position)


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", ["pgoutput", "wal2json"])
async def test_names_of_any_kind_are_taken_as_they_stand(elsewhere: str, plugin: str) -> None:
    async with await psycopg.AsyncConnection.connect(elsewhere, autocommit=True) as base:
        await base.execute(
            """
            CREATE SCHEMA "人口.库";
            CREATE TABLE "人口.库"."Per ""s',*on" ("编 号" text PRIMARY KEY, "A.b" text);
            CREATE TABLE other (id int PRIMARY KEY);
            """
        )
        reading = Reading(
            source(
                elsewhere,
                table='"人口.库"."Per ""s\',*on"',
                columns={"key": "编 号", "name": "A.b"},
                plugin=plugin,
            )
        )
        await base.execute("""INSERT INTO "人口.库"."Per ""s',*on" VALUES ('1', 'copied')""")
        await reading.open(None)
        await reading.quiet()
        await base.execute("INSERT INTO other VALUES (1)")
        await base.execute("""INSERT INTO "人口.库"."Per ""s',*on" VALUES ('2', 'streamed')""")
        await reading.until(lambda: len(reading.told) == 2)
        await reading.close()
    assert [(one.key, one.fields) for one in reading.told] == [
        ("1", {"key": "1", "name": "copied"}),
        ("2", {"key": "2", "name": "streamed"}),
    ]
