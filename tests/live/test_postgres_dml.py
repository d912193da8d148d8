"""Random writes to a table of many types end in the same rows as read back from the topic.

The plan is Hypothesis's: transactions of inserts, updates, deletes, changed keys and truncates, some
rolled back whole or to a savepoint, with restarts of the capture between them, in order or at once. One
table and one topic go through all examples; after each they are compared whole.

By command, long: ``DML_EXAMPLES=300 deploy/test -m slow -k random_writes_for_long``.
"""

import asyncio
import datetime
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.postgres import PostgresSource
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.letters import read_letters
from contracts.envelope import event_of
from contracts.model import Contract
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.live.streams import ids, read_all

pytestmark = pytest.mark.live

#: Column -> its type, its shape in the contract, and what may be written to it.
KINDS: dict[str, tuple[str, Shape, st.SearchStrategy[Any]]] = {
    "whole": ("bigint", Integer(nullable=True), st.integers(-(2**63), 2**63 - 1)),
    "exact": (
        "numeric(18,2)", Decimal(digits=18, places=2, nullable=True),
        st.decimals(-(10**15), 10**15, places=2),
    ),
    "rough": ("double precision", Number(nullable=True), st.floats(allow_nan=False, allow_infinity=False)),
    "yes": ("boolean", Boolean(nullable=True), st.booleans()),
    "day": ("date", Date(nullable=True), st.dates()),
    "moment": ("timestamptz", DateTime(nullable=True), st.datetimes(timezones=st.just(datetime.UTC))),
    "local": ("timestamp", DateTime(nullable=True), st.datetimes(min_value=datetime.datetime(1902, 1, 1))),
    "mood": ("mood", Enum(values=("bad", "good", "so, so"), nullable=True), st.sampled_from(["good", "bad", "so, so"])),
    "tags": (
        "text[]", Array(items=String(nullable=True), nullable=True),
        st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5), max_size=4),
    ),
    "more": (
        "jsonb", Map(values=String(), nullable=True),
        st.dictionaries(st.sampled_from(["a", "乙"]), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)),
    ),
    "large": ("text", String(nullable=True), st.sampled_from([1, 3_000, 9_000]).map("大".__mul__)),
}  # fmt: skip

TABLE = (
    "CREATE TYPE mood AS ENUM ('good', 'bad', 'so, so');"
    "CREATE TABLE kinds (code text PRIMARY KEY, name text, level text, parent text, "
    + ", ".join(f'"{name}" {kind}' for name, (kind, _, _) in KINDS.items())
    + "); ALTER TABLE kinds ALTER large SET STORAGE EXTERNAL"
)

KEYS = [f"3701{number:02}" for number in range(1, 9)]
VALUES = st.fixed_dictionaries(
    {"large": KINDS["large"][2]},
    optional={
        name: st.none() | values for name, (_, _, values) in KINDS.items() if name != "large"
    },
)
PUT = st.tuples(st.just("put"), st.sampled_from(KEYS), VALUES)
TOUCH = st.tuples(st.just("touch"), st.sampled_from(KEYS))
STATEMENT = st.one_of(
    *(PUT, PUT, PUT, TOUCH, TOUCH),
    st.tuples(st.just("rename"), st.sampled_from(KEYS), st.sampled_from(KEYS)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("some"), st.integers(2, 40)),
    st.tuples(st.just("truncate")),
)
#: Statements, how they end, and whether the capture is started anew meanwhile.
TRANSACTION = st.tuples(
    st.lists(STATEMENT, min_size=1, max_size=6),
    st.sampled_from(["commit", "commit", "commit", "rollback", "half"]),
    st.sampled_from([False, False, False, True]),
)


def contract_of(name: str) -> Contract:
    fields = [
        Field(name=field, title=Text("列", field), shape=shape, required=False)
        for field, (_, shape, _) in KINDS.items()
    ]
    division = CONTRACTS["division.v1"]
    return msgspec.structs.replace(division, subject=name, fields=(*division.fields, *fields))


class Captured:
    """A table and its topic, with a capture between that can be started anew."""

    def __init__(self, kafka: KafkaServer, dsn: str) -> None:
        self.name = dsn.rpartition("=")[2]
        self.contract = contract_of(self.name)
        self.cluster = Cluster(kafka.bootstrap)
        self._dsn = dsn
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        contract = self.contract
        self.hop = hop = Hop("capture", contract.name, "", contract.name)

        def source() -> PostgresSource:
            return PostgresSource(
                dsn=self._dsn,
                table="public.kinds",
                columns={field: field for field in contract.field_names},
                shapes={field: contract.shape_of(field) for field in contract.field_names},
                key="code",
                name=self.name,
            )

        intake = Intake(
            hop,
            contract=contract,
            cluster=self.cluster,
            node="37",
            source=source,
            requests=Requests(Path("requests")),
        )
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(supervise(intake, self._stop), name="capture")

    async def end(self, *, at_once: bool) -> None:
        """Stop in order, or as if it had been killed."""
        assert self._task
        if at_once:
            self._task.cancel()
        self._stop.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def caught_up(self, written: int) -> None:
        """Until the topic is complete beyond ``written``, microseconds since 1970 UTC."""
        async with asyncio.timeout(40):
            while self.hop.complete <= written:
                assert self.hop.state != "stopped", self.hop.error
                await asyncio.sleep(0.05)

    async def read(self) -> dict[str, Any]:
        """The topic's rows; no key goes back, and nothing is there twice."""
        records, _ = await read_all(self.cluster, self.contract.name)
        assert len(ids(records)) == len(set(ids(records))), "repeated"
        state: dict[str, Any] = {}
        latest: dict[str, str] = {}
        for record in records:
            event = event_of(record.value, record.headers)
            assert event.sequence > latest.get(event.key, ""), "out of order"
            latest[event.key] = event.sequence
            state.pop(event.key, None)
            if event.value is not None:
                state[event.key] = msgspec.json.decode(event.value)
        return state


@pytest.fixture
async def office(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("SET timezone = 'UTC'")
        await connection.execute(TABLE.encode())
        yield connection


async def execute(office: psycopg.AsyncConnection[Any], statement: tuple[Any, ...]) -> None:
    kind = statement[0]
    if kind == "put":
        names = list(statement[2])
        values = [
            Jsonb(value) if name == "more" and value is not None else value
            for name, value in statement[2].items()
        ]
        listed = "".join(f', "{name}"' for name in names)
        marks = "".join(f", %s::{KINDS[name][0]}" for name in names)
        updates = ", ".join(
            ["name = excluded.name", *(f'"{name}" = excluded."{name}"' for name in names)]
        )
        await office.execute(
            f"INSERT INTO kinds (code, name, level{listed}) VALUES (%s, %s, 'county'{marks})"
            f" ON CONFLICT (code) DO UPDATE SET {updates}".encode(),
            (statement[1], f"n{len(names)}", *values),
        )
    elif kind == "touch":
        await office.execute(
            "UPDATE kinds SET parent = CASE parent WHEN '37' THEN '3701' ELSE '37' END WHERE code = %s",
            (statement[1],),
        )
    elif kind == "rename":
        await office.execute(
            "UPDATE kinds SET code = %s WHERE code = %s"
            " AND NOT EXISTS (SELECT FROM kinds WHERE code = %s)",
            (statement[2], statement[1], statement[2]),
        )
    elif kind == "delete":
        await office.execute("DELETE FROM kinds WHERE code = %s", (statement[1],))
    elif kind == "some":
        await office.execute(
            "INSERT INTO kinds (code, name, level) SELECT (370199000 + n)::text, 'many', 'township'"
            " FROM generate_series(1, %s) n ON CONFLICT (code) DO UPDATE SET name = kinds.name || '+'",
            (statement[1],),
        )
    else:
        await office.execute("TRUNCATE kinds")


async def transact(
    office: psycopg.AsyncConnection[Any], statements: list[tuple[Any, ...]], ends: str
) -> None:
    with_error = ends == "rollback"
    try:
        async with office.transaction():
            for number, statement in enumerate(statements):
                if ends == "half" and number == len(statements) // 2:
                    async with office.transaction(force_rollback=True):
                        for other in statements[number:]:
                            await execute(office, other)
                await execute(office, statement)
            if with_error:
                raise _Undone
    except _Undone:
        pass


class _Undone(Exception):
    pass


async def rows(office: psycopg.AsyncConnection[Any], contract: Contract) -> dict[str, Any]:
    """The table's rows as the topic must have them: made by PostgreSQL, not by what is tested."""
    listed = ", ".join(
        {
            "exact": "'exact', exact::text",
            "moment": """'moment', to_char(moment, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
            "local": """'local', to_char(local AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
        }.get(name, f"'{name}', \"{name}\"")
        for name in contract.field_names
    )
    cursor = await office.execute(f"SELECT code, json_build_object({listed}) FROM kinds".encode())
    return dict(await cursor.fetchall())


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Moments are the same whatever their offset, and a day is its text."""

    def value(name: str, given: Any) -> Any:
        if name in ("moment", "local") and given is not None:
            return datetime.datetime.fromisoformat(given).astimezone(datetime.UTC)
        return given

    return {name: value(name, given) for name, given in row.items()}


async def carried_out(
    captured: Captured,
    office: psycopg.AsyncConnection[Any],
    plan: list[tuple[list[tuple[Any, ...]], str, bool]],
) -> None:
    for number, (statements, ends, restart) in enumerate(plan):
        await transact(office, statements, ends)
        if restart:
            await captured.end(at_once=bool(number % 2))
            await transact(office, statements[:1], "commit")
            captured.begin()
    cursor = await office.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint")
    row = await cursor.fetchone()
    assert row
    await captured.caught_up(int(row[0]))
    found = {key: comparable(record) for key, record in (await captured.read()).items()}
    wanted = await rows(office, captured.contract)
    assert found == {key: comparable(record) for key, record in wanted.items()}
    assert await read_letters(captured.cluster, [captured.contract.name]) == []


async def through(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str, examples: int
) -> None:
    captured = Captured(kafka, database)
    captured.begin()
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 50,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.lists(TRANSACTION, min_size=1, max_size=6))
    def examine(plan: list[tuple[list[tuple[Any, ...]], str, bool]]) -> None:
        asyncio.run_coroutine_threadsafe(carried_out(captured, office, plan), loop).result(120)

    try:
        await asyncio.to_thread(examine)
    finally:
        await captured.end(at_once=False)


async def test_random_writes_end_in_the_same_rows(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Red when a truncate is left out, or an unchanged large column is told as null: tried."""
    await through(kafka, office, database, 8)


@pytest.mark.slow
async def test_random_writes_for_long(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str
) -> None:
    await through(kafka, office, database, int(os.environ.get("DML_EXAMPLES", "200")))
