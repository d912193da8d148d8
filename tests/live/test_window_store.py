"""A real agent's window is read anew when an operator asks: beside it, and while it is away."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.demo.levels import fetch_json
from agents.demo.servers import AgentProcess, KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from tests.bench.lookups import record
from tests.bench.window_store import _event
from tests.live.streams import Writer

pytestmark = pytest.mark.live

COUNT = 300


async def records(address: str) -> int:
    """How many the window has; -1 while it does not answer."""
    try:
        found = await asyncio.to_thread(fetch_json, f"http://{address}/v1/contracts")
    except (OSError, RuntimeError):
        return -1
    return sum(each["records"] for each in found["contracts"] if each["name"] == "resident.v2")


async def until_whole(address: str) -> None:
    async with asyncio.timeout(60):
        while await records(address) != COUNT:
            await asyncio.sleep(0.1)


async def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of a command."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["window", "rebuild", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


async def test_a_window_is_rebuilt_beside_the_agent_and_without_it(
    kafka: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listen, window = (f"127.0.0.1:{port}" for port in free_ports(2))
    node = tmp_path / "node.toml"
    node.write_text(
        f'[node]\nid = "3791"\nname = "t"\nlevel = "city"\n[agent]\nlisten = "{listen}"\n'
        f'state = "{tmp_path / "state"}"\n[kafka]\nbootstrap = "{kafka.bootstrap}"\n'
        f'[window]\nlisten = "{window}"\n'
    )
    store = tmp_path / "state" / "window.sqlite"
    agent = AgentProcess(node, tmp_path, listen)
    cluster = Cluster(kafka.bootstrap)
    async with (
        Writer(cluster, "correction.v1.from.379101"),  # which the agent reads, and shows nobody
        Writer(cluster, "resident.v2.from.379101") as writer,
    ):
        await writer.write([_event(record(number), number) for number in range(COUNT)])
        agent.start()
        try:
            await until_whole(window)
            code, found = await told(capsys, str(node))
            assert (code, found["ok"]) == (0, True), found
            (done,) = found["contracts"]
            assert (done["contract"], done["state"], done["held"]) == ("resident.v2", "done", COUNT)
            assert await records(window) == COUNT
            code, found = await told(capsys, str(node), "marriage.v1")
            assert (code, found["ok"]) == (1, False)
            assert "does not show this contract" in found["error"]
            await agent.stop()
            code, found = await told(capsys, str(node), "resident.v2")
            assert (code, found["contracts"][0]["state"]) == (0, "thrown away")
            agent.start()
            await until_whole(window)
            await agent.stop()
            store.write_bytes(b"\xff" * 100_000)
            code, found = await told(capsys, str(node), "resident.v2")
            assert (code, found["ok"]) == (1, False)
            assert "levelsync window rebuild" in found["error"]
            code, found = await told(capsys, str(node))
            assert (code, store.exists()) == (0, False)
            agent.start()
            await until_whole(window)
        finally:
            await agent.kill()
