"""An upgrade from the release before keeps positions and stores: nothing is told again, nothing is missing.

The release before is the last tag, or where there is none a commit from before the window's store was laid
out anew. Its agents are run from the repository's own history, killed, and today's go on in their folders.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.demo.servers import AgentProcess, KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from contracts.subjects import CONTRACTS
from tests.contracts.examples import example
from tests.live.streams import read_all

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
#: The last state whose window had all its records in one table, without a version.
BEFORE = "321572d84dc1a88b82b9232fe68651f9263eba38"
SENDER = "a-token-of-the-police-hall"
PROVINCE = """
[node]
id = "37"
name = "山东省"
level = "province"

[agent]
listen = "127.0.0.1:{ports[0]}"
state = "state-37"

[kafka]
bootstrap = "{bootstrap}"

[intake]
listen = "127.0.0.1:{ports[1]}"

[[intake.sender]]
name = "police"
token = "{sender}"
contracts = ["resident.v2"]

[[source]]
kind = "http"
contract = "resident.v2"

[[grant]]
contract = "resident.v2"
to = "3701"
purpose = "windows"
"""
CITY = """
[node]
id = "3701"
name = "济南市"
level = "city"

[agent]
listen = "127.0.0.1:{ports[2]}"
state = "state-3701"

[kafka]
bootstrap = "{below}"

[parent]
id = "37"
bootstrap = "{bootstrap}"
pull = ["resident.v2"]

[window]
listen = "127.0.0.1:{ports[3]}"
"""


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)


def release_before(folder: Path) -> Path:
    """The code of the release before, unpacked; skips the test where the history does not reach back."""
    tagged = git("describe", "--tags", "--abbrev=0", "HEAD~1")
    name = tagged.stdout.decode().strip() if tagged.returncode == 0 else BEFORE
    archive = git("archive", name, "agents", "contracts")
    if archive.returncode:
        pytest.skip(f"this clone has no {name[:12]}: git fetch --unshallow")
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


class Former(AgentProcess):
    """An agent of the release before."""

    def __init__(self, code: Path, node_file: Path, folder: Path, listen: str) -> None:
        super().__init__(node_file, folder, listen, {**os.environ, "PYTHONPATH": str(code)})
        self._code = code

    def start(self) -> None:
        """See :class:`AgentProcess`."""
        run = f"import sys; sys.path.insert(0, {str(self._code)!r}); from agents.cli import main;"
        command = [sys.executable, "-c", f"{run} sys.exit(main(['run', {str(self.node_file)!r}]))"]
        self._spawn(command, self._env)


class Offices:
    """A province and a city, each with a broker."""

    def __init__(self, folder: Path, bootstrap: str, below: str) -> None:
        self.folder, self.ports = folder, free_ports(4)
        self.files = {"37": folder / "37.toml", "3701": folder / "3701.toml"}
        for node, text in (("37", PROVINCE), ("3701", CITY)):
            self.files[node].write_text(
                text.format(ports=self.ports, bootstrap=bootstrap, below=below, sender=SENDER),
                encoding="utf-8",
            )
        self.listen = {"37": f"127.0.0.1:{self.ports[0]}", "3701": f"127.0.0.1:{self.ports[2]}"}
        self.agents: list[AgentProcess] = []

    async def run(self, make: Callable[[Path, str], AgentProcess]) -> None:
        self.agents = [make(self.files[node], self.listen[node]) for node in ("37", "3701")]
        for agent in self.agents:
            agent.start()
        for agent in self.agents:
            await agent.ready(120)

    async def stop(self, *, kill: bool = False) -> None:
        for agent in self.agents:
            await (agent.kill() if kill else agent.stop(20))
        self.agents = []

    async def send(self, records: list[dict[str, Any]], key: str) -> dict[str, Any]:
        """Send records to the province under one Idempotency-Key; the answer."""
        url = f"http://127.0.0.1:{self.ports[1]}/v1/intake/resident.v2"
        body = "\n".join(json.dumps(each) for each in records).encode()
        headers = {
            "Authorization": f"Bearer {SENDER}", "Content-Type": "application/x-ndjson",
            "Idempotency-Key": f'"{key}"',
        }  # fmt: skip
        request = urllib.request.Request(url, body, headers)

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read().splitlines()[-1])

        found: dict[str, Any] = await asyncio.to_thread(ask)
        return found

    async def seen(self) -> dict[str, dict[str, Any]]:
        """Every record that the city's window has, by its key."""
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            url = f"http://127.0.0.1:{self.ports[3]}/v1/resident.v2/records?limit=100{after}"

            def ask(url: str = url) -> Any:
                with urllib.request.urlopen(url, timeout=20) as answer:
                    return json.load(answer)

            page = await asyncio.to_thread(ask)
            found |= {each["key"]: each["record"] for each in page["records"]}
            if not page.get("next"):
                return found
            after = f"&after={page['next']}"

    async def until(self, count: int) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(120):
                while len(found) != count:
                    with contextlib.suppress(OSError, urllib.error.HTTPError):
                        found = await self.seen()
                    await asyncio.sleep(0.3)
        except TimeoutError:
            logs = "\n".join(agent.tail(15) for agent in self.agents)
            raise AssertionError(f"expected {count} records, got {len(found)}\n{logs}") from None
        return found


def residents(first: int, last: int) -> list[dict[str, Any]]:
    """Residents of the city, each another one."""
    found: dict[str, dict[str, Any]] = {}
    for seed in range(first, last):
        record = example("resident.v2", seed)
        record["division_code"] = "370102001"
        found[record["id_number"]] = record
    return list(found.values())


@pytest.mark.slow
async def test_an_upgrade_keeps_positions_and_stores(unshared: KafkaServer, tmp_path: Path) -> None:
    code = release_before(tmp_path / "before")
    below = KafkaServer(tmp_path / "kafka", free_ports(1)[0])
    await below.start()
    offices = Offices(tmp_path, unshared.bootstrap, below.bootstrap)
    before, after = residents(0, 150), residents(1000, 1050)
    try:
        await offices.run(lambda file, listen: Former(code, file, tmp_path, listen))
        await offices.send(before, "before")
        first = await offices.until(len(before))
        await offices.stop(kill=True)

        await offices.run(lambda file, listen: AgentProcess(file, tmp_path, listen))
        assert await offices.until(len(before)) == first, "the store is as it was"
        # What was taken before is known to have been, over the upgrade.
        await offices.send(before, "before")
        await offices.send(after, "after")
        second = await offices.until(len(before) + len(after))
    finally:
        logs = "\n".join(agent.tail(400) for agent in offices.agents)
        await offices.stop()
        ends = await topic_of(below, "resident.v2.from.37")
        await below.stop()
    assert set(second) == {each["id_number"] for each in (*before, *after)}
    assert "told again from the top" not in logs, "the window reads on where it was"
    told = {"resident.v2.from.37": ends} | {
        topic: await topic_of(unshared, topic) for topic in ("resident.v2", "resident.v2.to.3701")
    }
    assert told == dict.fromkeys(told, len(before) + len(after)), "nothing twice, nothing missing"


async def topic_of(server: KafkaServer, topic: str) -> int:
    """How many events stand in a topic; that its watermarks count the same is looked at on the way."""
    events, _ = await read_all(
        Cluster(server.bootstrap), topic, CONTRACTS["resident.v2"].partitions
    )
    return len(events)
