"""What the log does not tell of a table in partitions, and the ways out that the messages name."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.requests import Requests
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from tests.live.capture import capture
from tests.live.streams import read_all, until_true
from tests.live.test_backfill import answered, running, table
from tests.live.test_intake import folded

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture
async def office(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Divisions in two partitions, a hundred rows in each."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            """
            CREATE TABLE division (code text, name text, level text, parent text,
                PRIMARY KEY (code, level)) PARTITION BY LIST (level);
            CREATE TABLE county PARTITION OF division FOR VALUES IN ('county');
            CREATE TABLE township PARTITION OF division FOR VALUES IN ('township');
            INSERT INTO division SELECT (370100 + n)::text, 'c', 'county' FROM generate_series(1, 99) n;
            INSERT INTO division SELECT (370101000 + n)::text, 't', 'township'
                FROM generate_series(1, 99) n;
            """
        )
        yield connection


@pytest.mark.parametrize(
    "statement", ["TRUNCATE county", "ALTER TABLE division DETACH PARTITION county"]
)
async def test_a_copy_anew_deletes_what_went_with_a_partition(
    kafka: KafkaServer,
    office: psycopg.AsyncConnection[Any],
    database: str,
    tmp_path: Path,
    statement: str,
) -> None:
    """Red when a truncate of some partitions is passed over: tried."""
    async with running(capture(kafka.bootstrap, database, str(tmp_path))) as part:
        await until_true(lambda: part.hop.complete and part.hop.events == 198)
        await office.execute(statement.encode())
        await until_true(lambda: part.hop.state == "stopped")
        assert "levelsync backfill NODE.toml CONTRACT --anew" in (part.hop.error or "")
    await office.execute("INSERT INTO division VALUES ('370101200', 'new', 'township')")
    requests = Requests(tmp_path)
    request = requests.ask("backfill", part.hop.contract, anew=True)
    async with running(capture(kafka.bootstrap, database, str(tmp_path))):
        assert (await answered(requests, request)).state == "done"
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert folded(records) == await table(office)
    assert len(await table(office)) == 100


async def test_the_rows_of_an_attached_partition_come_by_the_backfill_its_warning_names(
    kafka: KafkaServer, office: psycopg.AsyncConnection[Any], database: str, tmp_path: Path
) -> None:
    async with running(capture(kafka.bootstrap, database, str(tmp_path))) as part:
        await until_true(lambda: part.hop.complete and part.hop.events == 198)
        await office.execute(
            """
            CREATE TABLE village (code text NOT NULL, name text, level text NOT NULL, parent text);
            INSERT INTO village VALUES ('370101001201', 'v', 'village');
            """
        )
        await office.execute(
            "ALTER TABLE division ATTACH PARTITION village FOR VALUES IN ('village')"
        )
        await until_true(lambda: part.hop.warnings)
        (warning,) = part.hop.warnings.values()
        found = re.search(r'--where "(.*)"', warning)
        assert found
        requests = Requests(tmp_path)
        request = requests.ask("backfill", part.hop.contract, where=found[1])
        answer = await answered(requests, request)
        assert (answer.state, answer.facts) == ("done", {"rows": 1})
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert folded(records) == await table(office)
    assert len(await table(office)) == 199
