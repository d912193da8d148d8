"""A county with Kafka and a township's leaf below it, over a line that can be cut."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from agents.demo.levels import fetch_json
from agents.demo.servers import AgentProcess, free_ports
from contracts.envelope import Event
from tests.live.brokers import Behind
from tests.live.line import Line
from tests.live.streams import Writer

LEAF, COUNTY = "370102001", "370102"
TOKEN = "a-token-of-the-leaf"
#: What the city brought to the county: the tests write it.
UPSTREAM = "division.v1.from.3701"
CONTRACTS = Path(__file__).parent / "leaf_contracts.py"
#: The changes are of this hour: a store that is days behind is told everything again.
_BEGAN = time.time_ns() // 1000 - 600_000_000
_GRANT = 'contract = "division.v1"\nto = "370102001"\npurpose = "windows"\n'


def division(number: int, street: int = 1, name: str = "", *, version: int = 0) -> Event:
    """A village of one of the county's streets; ``version`` tells its changes apart."""
    parent = f"{COUNTY}{street:03}"
    code = f"{parent}{number:03}"
    value = {"code": code, "name": name or f"v{version}", "level": "village", "parent": parent}
    return Event(
        key=code,
        value=None if name == "gone" else msgspec.json.encode(value),
        id=f"{code}-{version}",
        source="/3701/division.v1",
        type="division.v1.deleted" if name == "gone" else "division.v1.changed",
        time=_BEGAN + version,
        dataschema="division.v1/1.0",
        sequence=f"{version:016}",
        scope=code,
    )


class Office:
    """``async with Office(folder, broker) as office``: both agents run inside the block.

    ``grant`` are the terms under which the county gives its divisions.
    """

    def __init__(self, folder: Path, broker: Behind, grant: str = "") -> None:
        self.folder = folder
        self.broker = broker
        self.line: Line = broker.line()
        self.grant = grant
        self.agents: dict[str, AgentProcess] = {}
        ports = free_ports(5)
        self._listen = {COUNTY: ports[0], LEAF: ports[1]}
        self.windows = {COUNTY: ports[2], LEAF: ports[3]}
        self.intake = ports[4]

    async def __aenter__(self) -> "Office":
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "notices").mkdir(exist_ok=True)
        await self.line.__aenter__()
        for node in (COUNTY, LEAF):
            self.write(node)
            self.agents[node] = AgentProcess(
                self.file(node), self.folder, f"127.0.0.1:{self._listen[node]}"
            )
            self.agents[node].start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for agent in self.agents.values():
            await agent.stop(5.0)
        await self.line.__aexit__()

    def file(self, node: str) -> Path:
        return self.folder / f"{node}.toml"

    def write(self, node: str) -> None:
        """Write the node file; the agent reads it again by itself."""
        self.file(node).write_text(self.text(node), encoding="utf-8")

    def text(self, node: str) -> str:
        head = (
            f'[node]\nid = "{node}"\nname = "{node}"\n'
            f'level = "{"county" if node == COUNTY else "township"}"\n\n'
            f'[agent]\nlisten = "127.0.0.1:{self._listen[node]}"\nstate = "state-{node}"\n\n'
            f'[window]\nlisten = "127.0.0.1:{self.windows[node]}"\n\n'
        )
        near, far = self.broker.near.bootstrap, self.broker.far.bootstrap
        if node == COUNTY:
            given = "" if self.grant == "none" else f"[[grant]]\n{_GRANT}{self.grant}\n"
            return (
                f'{head}[kafka]\nbootstrap = "{near}"\n\n'
                f'[parent]\nid = "3701"\nbootstrap = "{near}"\n\n{given}'
            )
        return (
            f'{head}[parent]\nid = "{COUNTY}"\nbootstrap = "{far}"\n'
            'pull = ["division.v1"]\npush = ["visit.v1", "notice.v1", "access.v1"]\n\n'
            f'[intake]\nlisten = "127.0.0.1:{self.intake}"\n\n'
            f'[[intake.sender]]\nname = "hall"\ntoken = "{TOKEN}"\ncontracts = ["visit.v1"]\n'
            "rate = 0\n\n"
            '[[source]]\nkind = "http"\ncontract = "visit.v1"\n\n'
            '[[source]]\nkind = "files"\ncontract = "notice.v1"\nfolder = "notices"\n'
            'mode = "delta"\nsettle = 0.1\n'
        )

    def grants(self, terms: str) -> None:
        """From now on the county gives its divisions under ``terms``; ``none``: no more."""
        self.grant = terms
        self.write(COUNTY)

    # ---- what they say -------------------------------------------------------------------------

    async def ask(self, node: str, path: str) -> Any:
        """JSON of the window of ``node``; None while it does not answer, or says no."""
        try:
            return await asyncio.to_thread(
                fetch_json, f"http://127.0.0.1:{self.windows[node]}{path}"
            )
        except (OSError, urllib.error.HTTPError):
            return None

    async def contract(self, node: str, name: str) -> dict[str, Any]:
        """What the window of ``node`` says of a contract; empty where it is not there."""
        found = await self.ask(node, "/v1/contracts")
        rows = found["contracts"] if found else []
        return next((row for row in rows if row["name"] == name), {})

    async def until(
        self, node: str, name: str, expected: Mapping[str, Any], seconds: float = 40.0
    ) -> None:
        """Wait until the window of ``node`` holds just ``expected``, records by key."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while (found := await self.records(node, name)) != expected:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            more, less = found.keys() - expected.keys(), expected.keys() - found.keys()
            raise AssertionError(
                f"{name} at {node}: {len(found)} instead of {len(expected)}, more {sorted(more)[:5]},"
                f" less {sorted(less)[:5]}\n{self.agents[node].tail(25)}"
            ) from None

    async def records(self, node: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        after = ""
        while page := await self.ask(node, f"/v1/{name}/records?limit=1000&after={after}"):
            found.update((each["key"], each["record"]) for each in page["records"])
            if not (after := page["next"] or ""):
                break
        return found

    async def status(self, node: str = LEAF) -> list[dict[str, Any]]:
        """The hops of an agent; none while it does not answer."""
        try:
            found = await asyncio.to_thread(fetch_json, f"http://{self.agents[node].listen}/status")
        except OSError:
            return []
        hops: list[dict[str, Any]] = found["hops"]
        return hops

    def told(self, contract: str) -> list[tuple[str, str, str]]:
        """Key, id and sequence of every change the leaf's store has told, in its order."""
        path = self.folder / f"state-{LEAF}" / "window.sqlite"
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return base.execute(
                "SELECT key, id, sequence FROM change WHERE contract = ? ORDER BY seq", (contract,)
            ).fetchall()
        finally:
            base.close()

    async def command(self, *words: str, code: int = 0) -> str:
        """What a command prints; it must end with ``code``."""
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "agents.cli", *words],
            capture_output=True, text=True, check=False, cwd=self.folder, timeout=60,
            env={**os.environ, "LANG": "C.UTF-8"},
        )  # fmt: skip
        assert said.returncode == code, said.stdout + said.stderr
        return said.stdout

    async def publish(self) -> None:
        """The township publishes its contracts."""
        await self.command(
            "contract", "publish", f"{CONTRACTS}:VISIT", f"{CONTRACTS}:NOTICE",
            "--node", str(self.file(LEAF)),
        )  # fmt: skip

    async def restart(self, node: str = LEAF) -> None:
        """kill -9, and begin again."""
        await self.agents[node].kill()
        self.agents[node].start()


async def write(writer: Writer, events: Iterable[Event]) -> None:
    """Write in pieces, so that whoever reads meets watermarks on the way."""
    pending = list(events)
    for start in range(0, len(pending), 200):
        await writer.write(pending[start : start + 200])
        await asyncio.sleep(0.02)


class Hall:
    """The program at the service hall that sends visits; sends again until it is answered."""

    def __init__(self, office: Office, session: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{office.intake}/v1/intake/visit.v1"
        self._session = session

    async def send(self, *numbers: int, matter: str = "card", batch: str = "") -> dict[str, Any]:
        """Send one visit each as lines, under a key of its own; the answer with its status."""
        body = b"".join(
            json.dumps({"number": f"n{n}", "division": LEAF, "matter": matter}).encode() + b"\n"
            for n in numbers
        )
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": f'"{batch or numbers}"',
        }
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return {**found, "status": answer.status, "retry": answer.headers.get("Retry-After")}

    async def insist(self, *numbers: int, matter: str = "card", seconds: float = 30.0) -> Any:
        """Send until it is taken."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answer = await self.send(*numbers, matter=matter)
                except (aiohttp.ClientError, OSError):
                    answer = {"status": 0}
                if answer["status"] == 202:
                    return answer
                await asyncio.sleep(0.1)
