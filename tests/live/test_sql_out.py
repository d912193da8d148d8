"""A table of a real PostgreSQL is kept as the window's store is, whatever dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row

from agents.base.window import SqlOut, Window
from agents.demo.servers import PostgresServer
from agents.window.sql_out import connected
from agents.window.sql_table import Table
from tests.live.out import NAME, PERMIT, Desk, delivered, delivering, killed, permit
from tests.live.streams import until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]


def into(dsn: str, table: str = "app.permit", **more: Any) -> Window:
    settings = {"create": True, "purpose": "counter", **more}
    return Window(sql=(SqlOut(dsn=dsn, contract=NAME, table=table, **settings),))


@pytest.fixture
async def base(database: str) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    async with await psycopg.AsyncConnection.connect(
        database, autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


async def rows(base: Any, table: str = "app.permit") -> dict[str, Any]:
    cursor = await base.execute(f"SELECT * FROM {table}")
    return {row["number"]: row for row in await cursor.fetchall()}


def as_rows(desk: Desk, *scopes: str) -> dict[str, dict[str, Any]]:
    return {key: shown(record) for key, record in desk.records(*scopes).items()}


def shown(record: dict[str, Any]) -> dict[str, Any]:
    """A record or a row, so that the two compare."""
    filled: dict[str, Any] = {
        "visits": 0,
        "paid": False,
        "goods": [],
        "status": "valid",
        "fee": None,
    } | record
    filled["since"] = str(filled["since"])
    filled["issued_at"] = "2026-11-25" in str(filled["issued_at"])
    filled["fee"] = None if filled["fee"] is None else str(filled["fee"])
    return dict(sorted(filled.items()))


async def same(base: Any, desk: Desk, *scopes: str) -> bool:
    return {key: shown(row) for key, row in (await rows(base)).items()} == as_rows(desk, *scopes)


async def test_a_table_is_made_from_the_contract_and_kept(
    base: Any, database: str, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    desk.change(700)
    async with delivering(desk, into(database)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
        assert await same(base, desk)
        desk.change(300)
        await until_true(lambda: delivered(desk, hop))
        assert await same(base, desk)
    assert desk.journal.lines == [("sql", "follow", NAME, "app.permit")]
    cursor = await base.execute(
        "SELECT column_name AS name, data_type AS type, is_nullable = 'YES' AS open,"
        " col_description('app.permit'::regclass, ordinal_position) AS title"
        " FROM information_schema.columns WHERE table_name = 'permit' ORDER BY ordinal_position"
    )
    made = {
        row["name"]: (row["type"], row["open"], row["title"]) for row in await cursor.fetchall()
    }
    assert made["number"] == ("text", False, "编号")
    assert made["floor"] == ("integer", False, "楼层")
    assert made["visits"] == ("bigint", True, "次数")
    assert made["fee"] == ("numeric", True, "费用")
    assert made["since"] == ("date", False, "起始日期")
    assert made["issued_at"] == ("timestamp with time zone", False, "发证时间")
    assert made["goods"] == ("jsonb", True, "货物")
    position = await (await base.execute("SELECT * FROM app.levelsync_position")).fetchone()
    assert (position["table"], position["seq"]) == ("permit", desk.store.last)
    assert position["complete_as_of"] is not None


async def test_scopes_fields_columns_and_masks_say_what_goes_into_it(
    base: Any, database: str, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    desk.change(300)
    settings = into(
        database, scopes=("370102",), fields=("number", "division_code", "holder"),
        mask={"holder": "last4"}, columns={"holder": "holder's name"},
    )  # fmt: skip
    async with delivering(desk, settings) as (hop,):
        await until_true(lambda: delivered(desk, hop))
        desk.change(300)  # some of it moves in and out of the scope
        await until_true(lambda: delivered(desk, hop))
    found = await rows(base)
    assert found.keys() == desk.records("370102").keys()
    assert all(row.keys() == {"number", "division_code", "holder's name"} for row in found.values())
    assert all("王" not in row["holder's name"] for row in found.values())
    # Less is to be seen from now on: what stands there is taken away.
    less = msgspec.structs.replace(settings.sql[0], scopes=("370102001",))
    async with delivering(desk, Window(sql=(less,))) as (hop,):
        await until_true(lambda: delivered(desk, hop))
    assert (await rows(base)).keys() == desk.records("370102001").keys()


async def test_a_row_the_table_refuses_stops_its_own_key_alone(
    base: Any, database: str, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    async with delivering(desk, into(database)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
        await base.execute("ALTER TABLE app.permit ADD CHECK (floor < 100)")
        await base.execute("ALTER TABLE app.permit ADD UNIQUE (visits)")
        numbers = [number for number in range(90, 130) if number % 7]
        desk.write(
            [(f"k{each}", permit(f"k{each}", each, "370102001"), "370102001") for each in numbers]
        )
        await until_true(lambda: hop.lag == 0 and hop.rejected > 0)
        refused = {
            f"k{number}" for number in numbers if number % 200 - 9 >= 100
        }  # fmt: skip
        kept = await (await base.execute("SELECT * FROM app.levelsync_refused")).fetchall()
        assert {row["key"] for row in kept} == refused
        assert all("check constraint" in row["error"] for row in kept)
        assert (await rows(base)).keys() == desk.records().keys() - refused
        assert hop.rejected == len(refused)
        assert "levelsync_refused" in hop.warnings["refused"]
        # Two swap what must be unique: each is in the other's way for a moment.
        one, other = permit("k91", 92, "370102001"), permit("k92", 91, "370102001")
        desk.write([("k91", one, "370102001"), ("k92", other, "370102001")])
        desk.put("k120", permit("k120", 1, "370102001"))
        await until_true(lambda: hop.lag == 0 and hop.events >= len(numbers) + 3)
        refused -= {"k120"}
        kept = await (await base.execute("SELECT key FROM app.levelsync_refused")).fetchall()
        stuck = {row["key"] for row in kept}
        assert stuck <= refused | {"k91", "k92"}
        assert (await rows(base)).keys() == desk.records().keys() - refused
        await base.execute("ALTER TABLE app.permit DROP CONSTRAINT permit_floor_check")
        await base.execute("ALTER TABLE app.permit DROP CONSTRAINT permit_visits_key")
    # It is tried again by itself; here at once.
    async with delivering(desk, into(database)) as (hop,):
        await until_true(lambda: hop.state == "running" and "refused" in hop.warnings)
        desk.write([(key, permit(key, 5, "370102001"), "370102001") for key in sorted(stuck)])
        await until_true(lambda: delivered(desk, hop))
    assert await same(base, desk)
    assert not await (await base.execute("SELECT FROM app.levelsync_refused")).fetchall()


async def test_a_position_too_old_or_of_another_store_has_everything_compared(
    base: Any, database: str, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "one")
    desk.change(1_200)
    async with delivering(desk, into(database)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
    before = {
        row["number"]: row["v"]
        for row in await (await base.execute("SELECT number, xmin::text AS v FROM app.permit")).fetchall()
    }  # fmt: skip
    desk.change(200)
    desk.store._base.execute("DELETE FROM change WHERE seq <= 1300")
    async with delivering(desk, into(database)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
    assert await same(base, desk)
    after = await (await base.execute("SELECT number, xmin::text AS v FROM app.permit")).fetchall()
    # Rows that are as they should be are not written again.
    assert sum(before.get(row["number"]) == row["v"] for row in after) > 20
    other = Desk(tmp_path / "two", seed=9, keys=50)
    other.change(100)
    # An empty store is not a store in which everything is gone.
    other.reading.hop.lag = 7
    async with delivering(other, into(database)) as (hop,):
        await until_true(lambda: hop.lag == 0 and NAME in hop.warnings)
        await asyncio.sleep(0.3)
        assert len(await rows(base)) > 100
        other.reading.hop.lag = 0
        await until_true(lambda: delivered(other, hop))
    assert await same(base, other)


async def test_kill_9_of_the_agent_and_restarts_of_the_server_leave_the_table_as_the_store_is(
    postgres: PostgresServer, base: Any, database: str, tmp_path: Path
) -> None:
    await killed(tmp_path, into(database), 3_000, seed=4, kills=6)
    desk = Desk(tmp_path)
    assert desk.store.last >= 3_000
    assert await same(base, desk)
    async with delivering(desk, into(database)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
        for _ in range(2):
            for _ in range(10):
                desk.change(20)
                await asyncio.sleep(0.01)
            await postgres.kill()
            desk.change(20)
            await until_true(lambda: hop.state == "retrying")
            await postgres.start()
            await until_true(lambda: delivered(desk, hop), 30)
    async with await psycopg.AsyncConnection.connect(database, row_factory=dict_row) as anew:
        assert await same(anew, desk)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("", "There is no table app.permit"),
        (
            "CREATE TABLE app.permit (number text PRIMARY KEY, division_code text)",
            "There is no column `holder`",
        ),
        (
            "CREATE TABLE app.permit (number text, division_code text, holder text)",
            "Nothing keeps `number` unique",
        ),
        (
            "CREATE TABLE app.permit (number text UNIQUE, division_code text, holder date)",
            "Column `holder` is date, and the contract's is text",
        ),
        (
            "CREATE TABLE app.permit (number text UNIQUE, division_code text, holder text, n int NOT NULL)",
            "Column `n` must be filled",
        ),
    ],
)
async def test_what_does_not_fit_is_said_with_the_sql_that_mends_it(
    base: Any, database: str, tmp_path: Path, made: str, expected: str
) -> None:
    await base.execute("CREATE SCHEMA app")
    if made:
        await base.execute(made)
    desk = Desk(tmp_path)
    desk.change(50)
    settings = into(database, create=False, fields=("number", "division_code", "holder"))
    async with delivering(desk, settings) as (hop,):
        await until_true(lambda: hop.state == "retrying")
        assert expected in str(hop.error)
        connection = await connected(database, "test")
        shown = Desk(tmp_path / "other").office(settings)
        assert shown
        table = Table(connection, settings.sql[0], _seen(settings))
        for _ in range(5):
            for misfit in await table.misfits():
                await base.execute(misfit.do)
        await connection.close()
        await until_true(lambda: delivered(desk, hop))
    assert (await rows(base)).keys() == desk.records().keys()


def _seen(settings: Window) -> Any:
    from agents.window.rights import sight_of

    return sight_of(settings.sql[0], "s").contract(PERMIT)


async def test_rights_that_are_missing_are_said_and_nothing_else_is_touched(
    postgres: PostgresServer, base: Any, database: str, tmp_path: Path
) -> None:
    await base.execute("CREATE SCHEMA app")
    await base.execute("CREATE TABLE app.permit (number text PRIMARY KEY, holder text, division_code text)")  # fmt: skip
    await base.execute("CREATE ROLE clerk LOGIN PASSWORD 'secret-word'")
    try:
        await base.execute("INSERT INTO app.permit VALUES ('theirs', 'x', '37')")
        desk = Desk(tmp_path)
        desk.change(50)
        login = database.replace("user=postgres", "user=clerk password=secret-word")
        settings = into(login, create=False, fields=("number", "division_code", "holder"))
        async with delivering(desk, settings) as (hop,):
            await until_true(lambda: hop.state == "retrying")
            said = str(hop.error)
            assert "may not SELECT, INSERT, UPDATE, DELETE in app.permit" in said
            assert "secret-word" not in said
            await base.execute("GRANT USAGE, CREATE ON SCHEMA app TO clerk")
            await base.execute("GRANT ALL ON app.permit TO clerk")
            await until_true(lambda: "did not come from here" in str(hop.error))
            assert "secret-word" not in str(hop.error)
            assert (await rows(base)).keys() == {"theirs"}
            await base.execute("TRUNCATE app.permit")
            await until_true(lambda: delivered(desk, hop))
        assert (await rows(base)).keys() == desk.records().keys()
    finally:
        await base.execute("DROP OWNED BY clerk")
        await base.execute("DROP ROLE clerk")


async def test_of_two_that_fill_one_table_the_newer_does(
    base: Any, database: str, tmp_path: Path
) -> None:
    one, two = Desk(tmp_path / "one"), Desk(tmp_path / "two", seed=3)
    one.change(50)
    two.change(60)
    async with delivering(one, into(database)) as (first,):
        await until_true(lambda: delivered(one, first))
        async with delivering(two, into(database)) as (second,):
            await until_true(lambda: first.state == "stopped")
            assert "Another agent fills this table" in str(first.error)
            await until_true(lambda: delivered(two, second))
            assert await same(base, two)
            await base.execute("UPDATE app.levelsync_position SET writer = '', store = ''")
            await base.execute("DELETE FROM app.permit WHERE number < '2'")
            await until_true(lambda: second.state == "retrying", 30)
            await until_true(lambda: delivered(two, second), 30)
            assert await same(base, two)
