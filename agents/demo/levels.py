"""Three levels on this machine: their databases, brokers and agents, in one temporary folder."""

import asyncio
import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from agents.base.keys import signing_key
from agents.base.statement import public_of
from agents.demo.guard import Guard
from agents.demo.office import Clerks
from agents.demo.people import People
from agents.demo.servers import (
    AgentProcess,
    KafkaServer,
    NotStarted,
    PostgresServer,
    free_ports,
    node_examples,
)

NODES = ("37", "3701", "370102")
PARENTS = {"3701": "37", "370102": "3701"}
Say = Callable[[str], None]


class Levels:
    """``async with Levels(say) as levels``: everything runs inside the block and is gone after."""

    def __init__(self, say: Say, *, residents: int, licences: int, seed: int = 37) -> None:
        self._say = say
        self._rows = (residents, licences)
        self._began = time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix="levelsync-demo-"))
        self.folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        Guard.of_this_process().sweep(self.folder)
        ports = free_ports(4 + len(NODES) + 2)
        self.brokers = {
            node: KafkaServer(self.folder / f"kafka-{node}", port, f"kafka-{node}")
            for node, port in zip(NODES, ports[:3], strict=True)
        }
        self.postgres = PostgresServer(self.folder / "postgres", ports[3])
        self.agents: dict[str, AgentProcess] = {}
        self._listen = dict(zip(NODES, ports[4:7], strict=True))
        self.windows = {"37": ports[7], "370102": ports[8]}
        self.clerks = Clerks(
            People(seed), self.postgres.dsn("province"), self.postgres.dsn("county")
        )

    def url(self, node: str, path: str) -> str:
        """An address of the window of ``node``."""
        return f"http://127.0.0.1:{self.windows[node]}{path}"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        self._tell("starting three Kafka brokers and PostgreSQL")
        async with asyncio.TaskGroup() as group:
            group.create_task(self.postgres.start(), name="postgres")
            for broker in self.brokers.values():
                group.create_task(broker.start(), name=broker.name)
        self._tell("filling the offices' tables with real divisions and invented people")
        for database in ("province", "county"):
            await self.postgres.create(database)
        await self.clerks.furnish(*self._rows)
        self._tell("starting the agents of province, city and county")
        for node in NODES:
            self.agents[node] = self._agent(node)
            self.agents[node].start()
        await asyncio.gather(*(agent.ready(60.0) for agent in self.agents.values()))
        await self._until_filled()
        self._tell("the first copy has reached the county's window")

    def _agent(self, node: str) -> AgentProcess:
        text = (node_examples() / f"{node}.toml").read_text(encoding="utf-8")
        places = {
            "127.0.0.1:9092": self.brokers["37"].bootstrap,
            "127.0.0.1:9192": self.brokers["3701"].bootstrap,
            "127.0.0.1:9292": self.brokers["370102"].bootstrap,
            "127.0.0.1:8637": f"127.0.0.1:{self._listen['37']}",
            "127.0.0.1:8638": f"127.0.0.1:{self._listen['3701']}",
            "127.0.0.1:8639": f"127.0.0.1:{self._listen['370102']}",
            "127.0.0.1:8737": f"127.0.0.1:{self.windows['37']}",
            "127.0.0.1:8739": f"127.0.0.1:{self.windows['370102']}",
        }
        for example, real in places.items():
            text = text.replace(f'"{example}"', f'"{real}"')
        text += f"\n{self._trust()}"
        file = self.folder / f"{node}.toml"
        file.write_text(text, encoding="utf-8")
        province, county = self.postgres.dsn("province"), self.postgres.dsn("county")
        env = {"CIVIL_DSN": province, "POPULATION_DSN": province, "LICENCE_DSN": county}
        return AgentProcess(file, self.folder, f"127.0.0.1:{self._listen[node]}", env)

    def _trust(self) -> str:
        """Everybody signs, and takes nothing that is not signed."""
        keys = {
            node: signing_key(self.folder / f"state-{node}" / "signing.key", make=True)
            for node in NODES
        }
        return "[trust]\n" + "".join(
            f'"{node}" = ["{public_of(key)}"]\n' for node, key in keys.items()
        )

    async def _until_filled(self, seconds: float = 60.0) -> None:
        """Wait until the county's window has all its residents."""
        county = sum(1 for code in self.clerks.residents.values() if code.startswith("370102"))
        deadline = time.monotonic() + seconds
        while True:
            found = {row["name"]: row for row in await self.contracts("370102")}
            resident = found.get("resident.v2")
            if resident and resident["records"] == county and resident["complete_as_of"]:
                return
            if time.monotonic() > deadline:
                raise NotStarted(
                    f"Expected {county} residents at the county's window, got {resident}\n"
                    + "\n".join(agent.tail(5) for agent in self.agents.values())
                )
            await asyncio.sleep(0.1)

    async def contracts(self, node: str) -> list[dict[str, Any]]:
        """What the window of ``node`` says of its contracts; nothing while it does not answer."""
        try:
            found = await asyncio.to_thread(fetch_json, self.url(node, "/v1/contracts"))
        except OSError:
            return []
        rows: list[dict[str, Any]] = found["contracts"]
        return rows

    async def status(self, node: str) -> dict[str, Any] | None:
        """/status of an agent; None while it does not answer."""
        try:
            found: dict[str, Any] = await asyncio.to_thread(
                fetch_json, f"http://{self.agents[node].listen}/status"
            )
        except OSError:
            return None
        return found

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:5.1f} s  {text}")

    async def __aexit__(self, *_: object) -> None:
        for agent in self.agents.values():
            await agent.stop(5.0)
        servers = (self.postgres, *self.brokers.values())
        await asyncio.gather(*(server.stop(5.0) for server in servers))
        shutil.rmtree(self.folder, ignore_errors=True)


def fetch_json(url: str) -> Any:
    """GET ``url``. Raises OSError when it does not answer."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)
