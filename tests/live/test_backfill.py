"""Rows told again on demand: beside the stream, over kills, and anew when the history was lost."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.errors import Unavailable
from agents.base.requests import Answer, Request, Requests
from agents.base.run import supervise
from agents.capture.intake import Intake
from agents.capture.postgres_slot import drop_slot
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from contracts.envelope import header
from tests.live.capture import capture
from tests.live.streams import ids, read_all, until_true
from tests.live.test_intake import fill, folded

pytestmark = [pytest.mark.live, pytest.mark.slow]

Office = psycopg.AsyncConnection[Any]


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A connection to a database with an empty table of divisions."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text)"
        )
        yield connection


@contextlib.asynccontextmanager
async def running(part: Intake) -> AsyncIterator[Intake]:
    """The capture runs meanwhile."""
    stop = asyncio.Event()
    task = asyncio.create_task(supervise(part, stop), name="capture")
    try:
        yield part
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


async def answered(requests: Requests, request: Request, seconds: float = 30.0) -> Answer:
    """The last answer to a request."""

    def over() -> bool:
        answer = requests.answer_to(request)
        return answer is not None and answer.state != "running"

    await until_true(over, seconds)
    answer = requests.answer_to(request)
    assert answer
    return answer


async def table(office: Office) -> dict[str, str]:
    return dict(await (await office.execute("SELECT code, name FROM division")).fetchall())


def kinds(records: list[Any]) -> list[str]:
    """``copied``, ``changed``, ``deleted`` of each event."""
    types = [(header(record.headers, "ce_type") or b"").decode() for record in records]
    return [each.rpartition(".")[2] for each in types]


async def test_a_backfill_tells_every_row_again_while_the_stream_goes_on(
    kafka: KafkaServer, office: Office, database: str, tmp_path: Path
) -> None:
    await fill(office, 1000)
    async with running(capture(kafka.bootstrap, database, str(tmp_path))) as part:
        await until_true(lambda: part.hop.complete and part.hop.events == 1000)
        requests = Requests(tmp_path)
        first = requests.ask("backfill", part.hop.contract)
        second = requests.ask(
            "backfill", part.hop.contract, where="code LIKE '10000001%' -- braces {} and 100 %s"
        )
        wrong = requests.ask(
            "backfill", part.hop.contract, where="true); DROP TABLE division; SELECT (true"
        )
        at_a_row = requests.ask(
            "backfill", part.hop.contract, where="1 / (code::int - 100000900) <> 0"
        )
        await office.execute(
            "CREATE FUNCTION writes() RETURNS bool LANGUAGE sql AS"
            " 'INSERT INTO division VALUES (''0''); SELECT true'"
        )
        writing = requests.ask("backfill", part.hop.contract, where="writes()")
        nonsense = requests.ask("backfill", part.hop.contract, where="nom = 'x'")
        for number in range(100):
            await office.execute(
                "UPDATE division SET name = 'new' WHERE code = %s", (f"{100_000_001 + 7 * number}",)
            )
        assert (await answered(requests, first)).state == "done"
        answer = await answered(requests, second)
        assert answer == Answer("done", {"rows": 10})
        assert part.hop.gauges["copy_share"] == 1.0
        for request, says in (
            (wrong, "multiple commands"),
            (nonsense, '"nom" does not exist'),
            (at_a_row, "division by zero"),
            (writing, "read-only transaction"),
        ):
            answer = await answered(requests, request)
            assert answer.state == "failed"
            assert says in answer.facts["error"]
        assert "copy_share" not in part.hop.gauges, "the last one failed"
        assert part.hop.complete, "the topic was as complete as ever"
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert folded(records) == await table(office)
    assert len(ids(records)) == len(set(ids(records)))
    told = kinds(records)
    assert told.count("changed") == 100
    # A row that changed while its chunk was on its way was told by its change.
    assert 1000 + 900 + 10 <= told.count("copied") <= 1000 + 1000 + 10 + 900


async def test_a_backfill_killed_in_the_middle_goes_on_where_it_was(
    kafka: KafkaServer, office: Office, database: str, tmp_path: Path
) -> None:
    """Red when a request taken up again is another run: tried."""
    await fill(office, 20_000)
    requests = Requests(tmp_path)
    contract = f"{database.rpartition('=')[2]}.v1"
    request: Request | None = None
    for turn in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.live.capture", kafka.bootstrap, database, str(tmp_path)
        )
        if request is None:
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(Unavailable):
                        records, marks = await read_all(Cluster(kafka.bootstrap), contract)
                        if marks and len(records) == 20_000 and marks[-1].time:
                            break
                    await asyncio.sleep(0.2)
            request = requests.ask("backfill", contract)
            while not requests.answer_to(request):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
        else:
            await asyncio.sleep(0.9 + 0.2 * turn)
        process.kill()
        await process.wait()
        await office.execute("DELETE FROM division WHERE code = %s", (f"{100_000_100 + turn}",))
    assert request
    async with running(capture(kafka.bootstrap, database, str(tmp_path))):
        answer = await answered(requests, request)
        # The last deletion is no part of it, and may come later.
        async with asyncio.timeout(20):
            while folded(records := (await read_all(Cluster(kafka.bootstrap), contract))[0]) != (
                await table(office)
            ):
                await asyncio.sleep(0.2)
    assert answer.state == "done"
    assert len(ids(records)) == len(set(ids(records))), "repeated"
    copied = [each for each in ids(records) if f".copy.{request.id}." in each]
    assert 19_995 <= len(copied) <= 20_000


async def test_a_copy_anew_after_a_lost_slot_deletes_what_went_while_nobody_looked(
    kafka: KafkaServer, office: Office, database: str, tmp_path: Path
) -> None:
    """Red without the sweep: tried."""
    await fill(office, 500)
    part = capture(kafka.bootstrap, database, str(tmp_path))
    async with running(part):
        await until_true(lambda: part.hop.complete)
    await drop_slot(office, database.rpartition("=")[2])
    await office.execute("DELETE FROM division WHERE code < '100000100'")
    await office.execute("UPDATE division SET name = 'unseen' WHERE code > '100000400'")
    await office.execute("INSERT INTO division VALUES ('200000000', 'born', 'township', NULL)")

    stopped = capture(kafka.bootstrap, database, str(tmp_path))
    async with running(stopped):
        await until_true(lambda: stopped.hop.state == "stopped")
    assert "The replication slot is gone" in str(stopped.hop.error)
    assert "--anew" in str(stopped.hop.error)

    requests = Requests(tmp_path)
    request = requests.ask("backfill", part.hop.contract, anew=True)
    again = capture(kafka.bootstrap, database, str(tmp_path))
    async with running(again):
        assert (await answered(requests, request)).state == "done"
        await office.execute("UPDATE division SET name = 'after' WHERE code = '200000000'")
        await office.execute("DELETE FROM division WHERE code = '100000499'")
        await until_true(lambda: again.hop.events >= 500 - 99 + 1 + 99 + 2)
    records, marks = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert folded(records) == await table(office)
    assert len(ids(records)) == len(set(ids(records)))
    assert kinds(records).count("deleted") == 99 + 1
    assert marks[-1].position["at"]["era"] == 1
