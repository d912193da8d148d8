"""From a real table to a real topic: killed in the copy and in the stream, and still exactly once."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.source import Change, Changes
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.letters import read_letters
from agents.kafka.topics import data_topic, dead, dead_topic, ensure
from agents.kafka.wire import Claim
from contracts.envelope import event_of
from tests.live.capture import DIVISION, capture
from tests.live.scripted import begin
from tests.live.streams import ids, read_all, until_true

pytestmark = pytest.mark.live


@pytest.fixture
async def office(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with an empty table of divisions."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text)"
        )
        yield connection


async def fill(office: psycopg.AsyncConnection[Any], rows: int) -> None:
    await office.execute(
        "INSERT INTO division SELECT (100000000 + n)::text, 'old', 'township', NULL"
        " FROM generate_series(1, %s) n",
        (rows,),
    )


def folded(records: list[Any]) -> dict[str, Any]:
    """The state a topic's events leave, and a look that no key goes back."""
    state: dict[str, Any] = {}
    latest: dict[str, str] = {}
    for record in records:
        event = event_of(record.value, record.headers)
        assert event.sequence > latest.get(event.key, ""), "out of order"
        latest[event.key] = event.sequence
        state.pop(event.key, None)
        if event.value is not None:
            state[event.key] = msgspec.json.decode(event.value)["name"]
    return state


async def test_a_capture_killed_again_and_again_ends_in_the_tables_state(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str
) -> None:
    """Red when ``Intake._resume`` holds no ids: tried."""
    await fill(office, 4000)
    chance = random.Random(4)
    bad: set[str] = set()

    async def write() -> None:
        for number in range(700):
            code = f"{100_000_000 + chance.randrange(5000)}"
            kind = chance.random()
            if kind < 0.15:
                await office.execute("DELETE FROM division WHERE code = %s", (code,))
            elif kind < 0.2:
                wrong = f"wrong-{number}"
                bad.add(wrong)
                await office.execute(
                    "INSERT INTO division VALUES (%s, 'n', 'township', NULL)", (wrong,)
                )
            else:
                await office.execute(
                    "INSERT INTO division VALUES (%s, %s, 'township', NULL)"
                    " ON CONFLICT (code) DO UPDATE SET name = excluded.name",
                    (code, f"v{number}"),
                )
            await asyncio.sleep(0.008)

    async def kill_and_start() -> None:
        for _ in range(7):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.live.capture", kafka.bootstrap, database
            )
            await asyncio.sleep(chance.uniform(0.8, 1.5))
            process.kill()
            await process.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(write(), name="write")
        group.create_task(kill_and_start(), name="kill")
    part = capture(kafka.bootstrap, database)
    stop = asyncio.Event()
    running = asyncio.create_task(supervise(part, stop), name="capture")
    before = len(bad)
    await office.execute("INSERT INTO division VALUES ('999999999', 'last', 'township', NULL)")
    cluster = Cluster(kafka.bootstrap)
    name = part.hop.contract
    await until_true(lambda: part.hop.complete and part.hop.lag == 0, 30.0)
    while "999999999" not in folded((await read_all(cluster, name))[0]):
        await asyncio.sleep(0.2)
    stop.set()
    await running

    records, marks = await read_all(cluster, name)
    assert len(ids(records)) == len(set(ids(records))), "repeated"
    cursor = await office.execute("SELECT code, name FROM division WHERE code NOT LIKE 'wrong%'")
    assert folded(records) == dict(await cursor.fetchall())
    assert marks[-1].time > 0
    letters, _ = await read_all(cluster, dead(name))
    assert len(ids(letters)) == len(set(ids(letters)))
    found = await read_letters(cluster, [name])
    assert before == len(bad)
    assert {letter["key"] for letter in found} == bad
    assert {(letter["path"], letter["rule"]) for letter in found} == {("$.code", "shape")}


async def test_what_compaction_took_from_the_copys_end_is_not_told_again(
    kafka: KafkaServer,
) -> None:
    """An agent away for long: of two changes of a key only the newer stands behind the watermark.

    Red when ``Intake._resume`` looks at ids alone: tried. An aborted transaction leaves the gap that
    the log cleaner would.
    """
    contract = msgspec.structs.replace(DIVISION, subject="thinned")
    cluster = Cluster(kafka.bootstrap)
    data = data_topic(contract, contract.name)
    await ensure(cluster, [data, dead_topic(data)])
    parts = [(topic.name, n) for topic in (data, dead_topic(data)) for n in range(3)]
    copy = Copy(cluster, Claim("levelsync-37-thinned.v1"), parts)
    await copy.open()
    for part in copy.parts:
        await copy.mark(part, {"round": 1, "at": "first"}, 1)
    await copy.drain()
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, transactional_id="in-place-of-the-cleaner"
    ) as cleaner:
        await cleaner.begin_transaction()
        for number in range(3):
            await cleaner.send_and_wait(data.name, b"older", b"370101", number)
        await cleaner.abort_transaction()
    newer = [("ce_id", b"second"), ("ce_sequence", b"02")]
    for number in range(3):
        copy.add((data.name, number), b"370101", b"{}", newer, 0)
    await copy.drain()
    await copy.close()

    source, hop, stop, running = begin(contract, cluster)
    row = {"code": "370101", "name": "n", "level": "county", "parent": "3701"}
    changes = [
        Change(name, sequence, 1, "370101", row)
        for name, sequence in (("first", "01"), ("second", "02"), ("third", "03"))
    ]
    await source.told.put(Changes(changes, "last", 1, passed=True))
    await until_true(lambda: hop.events == 1)
    stop.set()
    await running
    told = ids((await read_all(cluster, data.name))[0])
    assert "first" not in told
    assert "third" in told


async def test_a_round_that_not_every_partition_has_does_not_count(kafka: KafkaServer) -> None:
    """Red when ``Intake._resume`` takes the newest round for all: tried."""
    contract = msgspec.structs.replace(DIVISION, subject="rounds")
    cluster = Cluster(kafka.bootstrap)
    topics = [data_topic(contract, contract.name), dead_topic(data_topic(contract, contract.name))]
    await ensure(cluster, topics)
    copy = Copy(
        cluster,
        Claim("levelsync-37-rounds.v1"),
        [(topic.name, n) for topic in topics for n in range(3)],
    )
    await copy.open()
    for part in copy.parts:
        copy.add(part, b"k", b"{}", [("ce_id", b"old-%d" % part[1])], 0)
        await copy.mark(part, {"round": 1, "at": "first"}, 1)
        copy.add(part, b"k", b"{}", [("ce_id", b"new-%d" % part[1])], 0)
    for part in copy.parts[1:]:
        await copy.mark(part, {"round": 2, "at": "second"}, 1)
    await copy.drain()
    await copy.close()

    source, hop, stop, running = begin(contract, cluster)
    await until_true(lambda: source.opened)
    assert source.opened == ("first", frozenset({"new-0", "new-1", "new-2"}))
    # Nothing is marked before the source has passed what the copy held.
    await source.told.put(Changes([], "third", 5, passed=False))
    await asyncio.sleep(1.0)
    assert source.confirmed == []
    await source.told.put(Changes([], "third", 5, passed=True))
    await source.told.put(Changes([], "third", 5, passed=True))
    await until_true(lambda: hop.complete == 5)
    stop.set()
    await running
    assert set(source.confirmed) == {"third"}
    _, marks = await read_all(cluster, contract.name)
    assert {mark.position["round"] for mark in marks} >= {1, 2, 3}


async def test_only_the_owners_node_and_its_kind_of_source_publish_a_contract(
    kafka: KafkaServer,
) -> None:
    """Red when ``Intake.run`` does not look who drew the last watermark: tried."""
    contract = msgspec.structs.replace(DIVISION, subject="owned")
    cluster = Cluster(kafka.bootstrap)
    row = {"code": "370101", "name": "n", "level": "county", "parent": "3701"}

    async def tell(number: int, **other: Any) -> Hop:
        source, hop, stop, running = begin(contract, cluster, **other)
        change = Change(f"id-{number}", f"{number:02}", number, "370101", row)
        await source.told.put(Changes([change], number, number, passed=True))
        await until_true(lambda: hop.events or hop.state == "stopped")
        stop.set()
        await running
        return hop

    owner = await tell(1)
    other = await tell(2, node="37-civil")
    assert (owner.events, other.events) == (1, 0)
    assert "owner=37, here=37-civil" in (other.error or "")
    # The owner goes on, and may hand over.
    assert (await tell(3, kind="mqtt")).events == 1
    assert "before=mqtt, now=http" in ((await tell(4, kind="http")).error or "")
    assert (await tell(4, node="37-civil", predecessor="37", kind="mqtt")).events == 1
    assert ids((await read_all(cluster, contract.name))[0]) == ["id-1", "id-3", "id-4"]


async def test_the_slot_is_confirmed_only_after_kafka_has_it(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str
) -> None:
    part = capture(kafka.bootstrap, database)
    stop = asyncio.Event()
    running = asyncio.create_task(supervise(part, stop), name="capture")
    try:
        await until_true(lambda: part.hop.complete)
        await fill(office, 10)
        cursor = await office.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
        written = int((await cursor.fetchone())[0])  # type: ignore[index]

        async def confirmed() -> int:
            cursor = await office.execute(
                "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots"
                " WHERE database = current_database()"
            )
            return int((await cursor.fetchone())[0])  # type: ignore[index]

        async with asyncio.timeout(10):
            while await confirmed() < written:
                await asyncio.sleep(0.05)
        records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
        assert len(records) == 10
    finally:
        stop.set()
        await running
