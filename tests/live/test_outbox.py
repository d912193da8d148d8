"""An outbox: what an application inserts is told once and in order, and goes from the table."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from agents.capture.outbox import DDL
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.letters import read_letters
from contracts.envelope import event_of
from tests.live.outbox import TABLE, outbox
from tests.live.streams import ids, read_all, until_true
from tests.live.test_backfill import kinds, running
from tests.live.test_intake import folded

pytestmark = [pytest.mark.live, pytest.mark.slow]

App = psycopg.AsyncConnection[Any]


@pytest.fixture
async def app(database: str) -> AsyncIterator[App]:
    """The application's connection to a database with an empty outbox."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(f"CREATE SCHEMA app; {DDL.format(TABLE)}".encode())
        yield connection


def division(code: str, name: str) -> str:
    return json.dumps({"code": code, "name": name, "level": "township", "parent": None})


async def insert(app: App, contract: str, key: str, name: str | None, **more: Any) -> None:
    """Insert an upsert, or a deletion without a name."""
    row = {
        "contract": contract,
        "key": key,
        "op": "delete" if name is None else "upsert",
        "payload": None if name is None else division(key, name),
        **more,
    }
    names, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await app.execute(f"INSERT INTO {TABLE} ({names}) VALUES ({marks})".encode(), row)


async def left(app: App) -> int:
    row = await (await app.execute(f"SELECT count(*) FROM {TABLE}".encode())).fetchone()
    assert row
    return int(row[0])


async def emptied(app: App) -> None:
    async with asyncio.timeout(20):
        while await left(app):
            await asyncio.sleep(0.1)


async def test_what_is_inserted_is_told_in_order_and_goes_from_the_table(
    kafka: KafkaServer, app: App, database: str
) -> None:
    """Red when the copy goes by id instead of position: tried."""
    part = outbox(kafka.bootstrap, database)
    name = part.hop.contract
    for number in range(20):
        await insert(app, name, "370102001", f"before {number}")
    await insert(app, "another.v1", "370102001", "not ours")
    async with running(part):
        await until_true(lambda: part.hop.events == 20)
        async with app.transaction():
            await insert(app, name, "370102002", "first")
            await app.execute(f"DELETE FROM {TABLE}".encode())
        async with app.transaction(force_rollback=True):
            await insert(app, name, "370102003", "rolled back")
        await insert(app, name, "370102002", "second")
        await insert(app, name, "370102001", None)
        await until_true(lambda: part.hop.events == 23)
        await emptied(app)
        await until_true(lambda: part.hop.gauges["outbox_deleted_rows"] >= 2)
    records, _ = await read_all(Cluster(kafka.bootstrap), name)
    assert folded(records) == {"370102002": "second"}
    first = [event_of(record.value, record.headers) for record in records]
    told = [json.loads(e.value)["name"] for e in first if e.key == "370102001" and e.value]
    assert told == [f"before {number}" for number in range(20)]
    assert set(kinds(records)) == {"changed", "deleted"}


async def test_a_wrong_row_is_a_dead_letter_with_its_place_and_bytes(
    kafka: KafkaServer, app: App, database: str
) -> None:
    part = outbox(kafka.bootstrap, database, columns={"name": "called"})
    name = part.hop.contract
    async with running(part):
        await until_true(lambda: part.hop.complete)
        right = {"code": "370102001", "called": "n", "level": "township", "parent": None}
        await insert(app, name, "370102001", "", payload=json.dumps(right))
        await insert(app, name, "370102002", "", payload='["no object"]')
        await insert(app, name, "370102003", "", payload=json.dumps(right))
        await insert(app, name, "370102004", "", payload=json.dumps({**right, "level": "x"}))
        await app.execute(f"UPDATE {TABLE} SET key = 'k' WHERE key = '370102001'".encode())
        await until_true(lambda: part.hop.events + part.hop.rejected >= 4)
        await emptied(app)
    letters = await read_letters(Cluster(kafka.bootstrap), [name])
    found = {letter["key"]: letter for letter in letters}
    assert part.hop.events == 1
    assert found["370102002"]["rule"] == "type"
    assert base64.b64decode(found["370102002"]["raw"]) == b'["no object"]'
    assert found["370102002"]["origin"] == "app.outbox position=2"
    assert found["370102003"]["rule"] == "key-mismatch"
    assert found["370102004"]["path"] == "$.level"


async def test_a_row_that_was_changed_is_refused_with_a_word(
    kafka: KafkaServer, app: App, database: str
) -> None:
    part = outbox(kafka.bootstrap, database, cleanup=False)
    async with running(part):
        await insert(app, part.hop.contract, "370102001", "n")
        await until_true(lambda: part.hop.events == 1 and part.hop.complete)
        await app.execute(f"UPDATE {TABLE} SET op = 'delete'".encode())
        await until_true(lambda: part.hop.rejected == 1)
    (letter,) = await read_letters(Cluster(kafka.bootstrap), [part.hop.contract])
    assert letter["rule"] == "outbox-update"
    assert await left(app) == 1, "it is not ours to clean up"


async def test_a_row_written_again_under_its_id_is_told_once(
    kafka: KafkaServer, app: App, database: str
) -> None:
    """Red when ids are not remembered: tried."""
    part = outbox(kafka.bootstrap, database)
    same = "018f2f3e-0000-7000-8000-000000000001"
    async with running(part):
        for key in ("370102001", "370102001", "370102002"):
            await insert(
                app, part.hop.contract, key, "n", **({"id": same} if key[-1] == "1" else {})
            )
            await emptied(app)
        await until_true(lambda: part.hop.events >= 2)
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert len(records) == 2
    assert ids(records).count(same) == 1


async def test_each_row_is_told_once_over_kills(
    kafka: KafkaServer, app: App, database: str
) -> None:
    name = f"{database.rpartition('=')[2]}.v1"

    async def write() -> None:
        for number in range(600):
            await insert(app, name, f"{370_102_001 + number % 37}", f"v{number}")
            await asyncio.sleep(0.008)

    async def kill_and_start() -> None:
        for _ in range(3):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.live.outbox", kafka.bootstrap, database
            )
            await asyncio.sleep(2.2)
            process.kill()
            await process.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(write(), name="write")
        group.create_task(kill_and_start(), name="kill")
    part = outbox(kafka.bootstrap, database)
    async with running(part):
        await emptied(app)
    records, _ = await read_all(Cluster(kafka.bootstrap), name)
    assert len(ids(records)) == len(set(ids(records))) == 600
    last = {f"{370_102_001 + number % 37}": f"v{number}" for number in range(600)}
    assert folded(records) == last


async def test_an_outbox_that_is_not_there_comes_with_the_sql_that_makes_it(
    kafka: KafkaServer, database: str
) -> None:
    part = outbox(kafka.bootstrap, database)
    async with running(part):
        await until_true(lambda: part.hop.state == "stopped")
    assert 'CREATE TABLE "app"."outbox" (' in str(part.hop.error)


async def test_a_rows_trace_context_goes_with_its_event(
    kafka: KafkaServer, app: App, database: str
) -> None:
    """Whether this agent traces or not; what is no trace context is left out."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await app.execute(f"ALTER TABLE {TABLE} ADD trace text".encode())
    part = outbox(kafka.bootstrap, database, traceparent="trace")
    name = part.hop.contract
    await insert(app, name, "370102001", "copied", trace=trace)
    async with running(part):
        await until_true(lambda: part.hop.events == 1)
        await insert(app, name, "370102002", "traced", trace=trace)
        await insert(app, name, "370102003", "not traced")
        await insert(app, name, "370102004", "nonsense", trace="here")
        await insert(app, name, "370102002", None, trace=trace)
        await until_true(lambda: part.hop.events == 5)
    records, _ = await read_all(Cluster(kafka.bootstrap), name)
    events = [event_of(record.value, record.headers) for record in records]
    found = {(event.key, event.value is None): event.traceparent for event in events}
    assert found == {
        ("370102001", False): trace,
        ("370102002", False): trace,
        ("370102003", False): "",
        ("370102004", False): "",
        ("370102002", True): trace,
    }
