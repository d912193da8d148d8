"""``levelsync backfill`` beside a running agent: it wakes what has stopped, and says how far it is."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.capture.postgres_slot import drop_slot
from agents.cli import backfill, main
from agents.demo.levels import fetch_json
from agents.demo.servers import AgentProcess, KafkaServer, PostgresServer, free_ports
from agents.kafka.cluster import Cluster
from tests.live.streams import read_all
from tests.live.test_backfill import table
from tests.live.test_doctor import node_file
from tests.live.test_intake import fill, folded
from tests.live.test_postgres_rights import source_table

pytestmark = [pytest.mark.live, pytest.mark.slow]

SLOT = "levelsync_37_division_v1"


@pytest.fixture
async def broker(servers: Path) -> AsyncIterator[KafkaServer]:
    """A broker whose ``division.v1`` is this test's."""
    server = KafkaServer(servers / "kafka-backfill", free_ports(1)[0])
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def alone(servers: Path) -> AsyncIterator[PostgresServer]:
    """A PostgreSQL whose slots are this test's."""
    server = PostgresServer(servers / "postgres-backfill", free_ports(1)[0])
    await server.start()
    yield server
    await server.stop()


async def status(listen: int) -> dict[str, Any]:
    """The capture, as the agent says."""
    found = await asyncio.to_thread(fetch_json, f"http://127.0.0.1:{listen}/status")
    hop: dict[str, Any] = next(each for each in found["hops"] if each["hop"] == "capture")
    return hop


async def until_state(listen: int, state: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            try:
                if (hop := await status(listen))["state"] == state:
                    return hop
            except (OSError, StopIteration, RuntimeError):
                pass
            await asyncio.sleep(0.1)


async def test_a_contract_stopped_for_a_lost_slot_is_brought_back_by_one_command(
    broker: KafkaServer,
    alone: PostgresServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Red when a request does not wake what has stopped: tried."""
    dsn = await alone.create("office")
    (listen,) = free_ports(1)
    path = node_file(tmp_path, broker.bootstrap, source_table(dsn), listen)
    path.write_text(path.read_text().replace("civil.division", "public.division"))
    agent = AgentProcess(path, tmp_path, f"127.0.0.1:{listen}")

    async def called(*arguments: str) -> tuple[int, Any]:
        call = ["backfill", str(path), *arguments, "--json"]
        code = await asyncio.to_thread(main, call)
        said = capsys.readouterr().out
        return code, json.loads(said) if said else None

    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as office:
        await office.execute(
            "CREATE TABLE division (code text PRIMARY KEY, name text, level text, parent text)"
        )
        await fill(office, 300)
        agent.start()
        try:
            await agent.ready()
            async with asyncio.timeout(20):
                while (await status(listen))["events"] < 300:
                    await asyncio.sleep(0.1)
            code, answer = await called("division.v1", "--where", "code > '100000200'", "--wait")
            assert (code, answer["state"], answer["rows"]) == (0, "done", 100)
            code, answer = await called("division.v1", "--where", "nonsense", "--wait")
            assert code == 1
            assert "Expected an SQL condition" in answer["error"]
            assert (await called("division.v2"))[0] == 2
            await agent.stop()
            await asyncio.sleep(0.5)
            await drop_slot(office, SLOT)
            await office.execute("DELETE FROM division WHERE code < '100000051'")
            agent.start()
            hop = await until_state(listen, "stopped")
            assert "slot is gone" in hop["error"]
            code, answer = await called("division.v1", "--anew", "--wait")
            assert (code, answer["state"], answer["rows"]) == (0, "done", 250)
            await until_state(listen, "running")
            records, _ = await read_all(Cluster(broker.bootstrap), "division.v1")
            assert folded(records) == await table(office)
        finally:
            await agent.stop()
    monkeypatch.setattr(backfill, "PATIENCE", 1.0)
    code, answer = await called("division.v1")
    assert code == 1
    assert "does not answer" in answer["error"]
    assert not list((tmp_path / "state" / "requests").glob("*.request")), "it is withdrawn"
