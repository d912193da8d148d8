"""A tree of real agents: nation, province with a department, two cities, two counties."""

import asyncio
import urllib.error
from pathlib import Path
from typing import Any

import psycopg

from agents.demo.levels import fetch_json
from agents.demo.office import COUNTY_TABLES
from agents.demo.people import People
from agents.demo.servers import AgentProcess, KafkaServer, PostgresServer, free_ports

PLACES = ("0", "37", "3701", "3702", "370102", "370202")
NODES = ("0", "37", "37-civil", "3701", "3702", "370102", "370202")
_LEVELS = {1: "nation", 2: "province", 4: "city", 6: "county"}

DIVISIONS = [
    ("37", "山东省", "province", None),
    ("3701", "济南市", "city", "37"),
    ("3702", "青岛市", "city", "37"),
    ("370102", "历下区", "county", "3701"),
    ("370202", "市南区", "county", "3702"),
    *(
        (f"{county}{n:03}", f"街道{n}", "township", county)
        for county in ("370102", "370202")
        for n in range(1, 6)
    ),
]

_GRANTS = {
    "37-civil": [("division.v1", "37", 'scope = "0"')],
    "37": [
        ("division.v1", "3701", 'scope = "0"'),
        ("division.v1", "3702", ""),
        (
            "business_licence.v1",
            "37-civil",
            (
                'fields = ["credit_code", "division_code", "company_name", "legal_person_id"]\n'
                'mask = { legal_person_id = "last4" }'
            ),
        ),
    ],
    "3701": [("division.v1", "370102", 'scope = "0"')],
    "3702": [("division.v1", "370202", "")],
}
_SOURCES = {
    "37-civil": ("division.v1", "civil.division", 'columns = { parent = "parent_code" }'),
    "370102": (
        "business_licence.v1",
        "licence.certificate",
        'columns = { credit_code = "cert_no", division_code = "street_code" }',
    ),
}
_SOURCES["370202"] = _SOURCES["370102"]


class Tree:
    """``async with Tree(folder, postgres)``: everything runs inside the block."""

    def __init__(self, folder: Path, postgres: PostgresServer) -> None:
        self.folder = folder
        self.postgres = postgres
        self.brokers = {
            place: KafkaServer(folder / f"kafka-{place}", port, f"kafka-{place}")
            for place, port in zip(PLACES, free_ports(len(PLACES)), strict=True)
        }
        self.agents: dict[str, AgentProcess] = {}
        self.windows = dict(zip(NODES, free_ports(len(NODES)), strict=True))
        self.people = People(7)
        self.licences: dict[str, list[str]] = {}

    async def __aenter__(self) -> "Tree":
        async with asyncio.TaskGroup() as group:
            for broker in self.brokers.values():
                group.create_task(broker.start(), name=broker.name)
            for node in _SOURCES:
                group.create_task(self._furnish(node), name=node)
        for node in NODES:
            self.start(node)
        return self

    async def _furnish(self, node: str) -> None:
        dsn = await self.postgres.create(f"tree_{node.replace('-', '_')}")
        async with await psycopg.AsyncConnection.connect(dsn) as office:
            if node == "37-civil":
                await office.execute(
                    "CREATE SCHEMA civil; CREATE TABLE civil.division (code text PRIMARY KEY,"
                    " name text NOT NULL, level text NOT NULL, parent_code text)"
                )
                async with office.cursor() as cursor:
                    await cursor.executemany(
                        "INSERT INTO civil.division VALUES (%s, %s, %s, %s)", DIVISIONS
                    )
                return
            await office.execute(COUNTY_TABLES)
        self.licences[node] = []
        for _ in range(4):
            await self.add_licence(node)

    async def add_licence(self, node: str) -> str:
        """A new licence in a street of the county; its credit code."""
        row = self.people.licence() | {"street_code": f"{node}001"}
        names = ", ".join(row)
        marks = ", ".join(f"%({name})s" for name in row)
        await self.write(node, f"INSERT INTO licence.certificate ({names}) VALUES ({marks})", row)
        self.licences[node].append(row["cert_no"])
        return str(row["cert_no"])

    async def write(self, node: str, query: str, values: Any = None) -> None:
        """One committed statement in the database of ``node``."""
        dsn = self.postgres.dsn(f"tree_{node.replace('-', '_')}")
        async with await psycopg.AsyncConnection.connect(dsn) as office:
            await office.execute(query, values)

    def text(self, node: str) -> str:
        """The node file of ``node``."""
        scope, _, department = node.partition("-")
        parent = "" if department or node == "0" else _parent(node)
        parts = [
            f'[node]\nid = "{node}"\nname = "{node}"\nlevel = "{_LEVELS[len(scope)]}"',
            f'[agent]\nlisten = "127.0.0.1:{free_ports(1)[0]}"\nstate = "state-{node}"',
            f'[kafka]\nbootstrap = "{self.brokers[scope].bootstrap}"',
            f'[window]\nlisten = "127.0.0.1:{self.windows[node]}"',
        ]
        if parent:
            pull = "" if parent == "0" else '"division.v1"'
            push = '"business_licence.v1"' + (', "division.v1"' if node == "37" else "")
            parts.append(
                f'[parent]\nid = "{parent}"\nbootstrap = "{self.brokers[parent].bootstrap}"\n'
                f"pull = [{pull}]\npush = [{push}]"
            )
        for contract, to, terms in _GRANTS.get(node, []):
            parts.append(
                f'[[grant]]\ncontract = "{contract}"\nto = "{to}"\npurpose = "windows"\n{terms}'
            )
        if node in _SOURCES:
            contract, table, columns = _SOURCES[node]
            parts.append(
                f'[[source]]\nkind = "postgres"\ncontract = "{contract}"\ntable = "{table}"\n'
                f'dsn = "${{DSN}}"\n{columns}'
            )
        return "\n\n".join(parts) + "\n"

    def start(self, node: str, *, twin: str = "", share: str = "1/1") -> AgentProcess:
        """Start the agent of ``node``; a ``twin`` is another one for the same node, without a window
        when it has a ``share`` of the contracts only."""
        file = self.folder / f"{node}{twin}.toml"
        text = self.text(node)
        if twin:
            text = text.replace(f"state-{node}", f"state-{node}{twin}")
            window = f'[window]\nlisten = "127.0.0.1:{self.windows[node]}"'
            other = window.replace(str(self.windows[node]), str(free_ports(1)[0]))
            text = text.replace(window, other if share == "1/1" else "")
            text = text.replace("[agent]", f'[agent]\nshare = "{share}"')
        file.write_text(text, encoding="utf-8")
        listen = text.partition('listen = "')[2].partition('"')[0]
        env = {"DSN": self.postgres.dsn(f"tree_{node.replace('-', '_')}")}
        agent = AgentProcess(file, self.folder, listen, env)
        agent.start()
        self.agents[node + twin] = agent
        return agent

    async def records(self, node: str, contract: str) -> dict[str, dict[str, Any]] | None:
        """What the window of ``node`` holds, by key; None where the contract is not there."""
        url = f"http://127.0.0.1:{self.windows[node]}/v1/{contract}/records?limit=500"
        try:
            found = await asyncio.to_thread(fetch_json, url)
        except (urllib.error.HTTPError, OSError):
            return None
        return {each["key"]: each["record"] for each in found["records"]}

    async def until_records(
        self, node: str, contract: str, keys: set[str], seconds: float = 120.0
    ) -> None:
        """Wait until the window of ``node`` holds just ``keys``."""
        found: dict[str, Any] | None = None
        try:
            async with asyncio.timeout(seconds):
                while (found := await self.records(node, contract)) is None or set(found) != keys:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log = self.agents[node].tail(15)
            raise AssertionError(
                f"{contract} at {node}: expected {sorted(keys)}, got {found and sorted(found)}\n{log}"
            ) from None

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(agent.stop(5.0) for agent in self.agents.values()))
        await asyncio.gather(*(broker.stop(5.0) for broker in self.brokers.values()))


def _parent(node: str) -> str:
    return {2: "0", 4: node[:2], 6: node[:4]}[len(node)]
