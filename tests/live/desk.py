"""A window for its page: a real gateway and store over scripted streams, filled with invented people."""

import asyncio
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from agents.base.status import Status
from agents.base.stream import Slice
from agents.demo.people import COUNTY, People
from agents.kafka.cluster import Cluster
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.office import Office
from agents.window.store import Store
from contracts.divisions import divisions
from contracts.envelope import Event
from contracts.subjects import CONTRACTS
from tests.agents.window.scripted import Script

RESIDENT, LICENCE, DIVISION = "resident.v2", "business_licence.v1", "division.v1"
_COLUMNS = {
    RESIDENT: {
        "citizen_no": "id_number", "full_name": "name", "nation": "nationality",
        "street_code": "division_code", "address": "address_detail", "household": "household_no",
    },
    LICENCE: {"cert_no": "credit_code", "street_code": "division_code"},
}  # fmt: skip


class Brought:
    """A :class:`agents.base.stream.Reader` that brings what it is given."""

    def __init__(self) -> None:
        self.slices: asyncio.Queue[Slice] = asyncio.Queue()

    async def read(self) -> list[Slice]:
        return [await self.slices.get()]

    def grown(self, counts: Mapping[str, int]) -> bool:
        return False


class Stream:
    """One contract at the window, and the script of what comes of it."""

    def __init__(self, desk: "Desk", contract: str) -> None:
        self.topic = f"{contract}.from.3701"
        self.script = Script(self.topic)
        self.script.source = f"/37/{contract}"
        self.reader = Brought()
        self.follow = Follow(
            desk.status,
            contract=CONTRACTS[contract],
            cluster=Cluster("127.0.0.1:1"),
            store=desk.store,
            feed=desk.feed,
            sources=lambda: frozenset({self.topic}),
        )
        desk.status.show(self.follow.hop)
        #: Nothing is brought while it is, as when a contract has stopped.
        self.held = False

    async def read(self, stop: asyncio.Event) -> None:
        """Apply what is brought until ``stop`` is set."""
        await self.follow.read(stop, self.reader, {self.topic: 3})

    def put(self, key: str, record: dict[str, Any] | None) -> None:
        """A change committed now; None deletes."""
        contract, script = self.follow.contract, self.script
        script.sequence += 1
        script.again(
            Event(
                key=key,
                value=msgspec.json.encode(record) if record else None,
                id=f"{self.topic}/{script.sequence}",
                source=script.source,
                type=f"{contract.name}.{'changed' if record else 'deleted'}",
                time=now(),
                dataschema=contract.dataschema,
                sequence=f"{script.sequence:016}",
                scope=str(record[contract.scope]) if record else "",
            )
        )

    def bring(self) -> None:
        """Hand over what was scripted, under a watermark of now."""
        if not self.held:
            self.script.mark(now())
            self.reader.slices.put_nowait(self.script.slice())


def now() -> int:
    return time.time_ns() // 1000


class Desk:
    """``async with Desk(folder) as desk``: a window at ``desk.url`` that is complete as of each second.

    It can be closed and opened again at the same address, as an agent is.
    """

    def __init__(self, folder: Path, *, residents: int = 60, licences: int = 12) -> None:
        self.people = People(37)
        self.status = Status(COUNTY, "test")
        self.status.planned = True
        self.store = Store(folder / "window.sqlite")
        self.feed = Feed(self.store)
        self.streams = {name: Stream(self, name) for name in (RESIDENT, LICENCE, DIVISION)}
        self.residents: dict[str, dict[str, Any]] = {}
        self.licences: dict[str, dict[str, Any]] = {}
        self.port = 0
        self._rows = residents, licences
        self._stop = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def app(self) -> web.Application:
        """The window's application."""
        follows = {name: stream.follow for name, stream in self.streams.items()}
        return window_app(
            Office("历下区政务服务中心", COUNTY, self.store, self.feed, follows, self.status)
        )

    async def open(self) -> None:
        """Answer over HTTP, at the same port each time."""
        self._runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Answer no more."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> "Desk":
        residents, licences = self._rows
        for code, name, level, parent in divisions("37"):
            if code.startswith("370102") or len(code) <= 4:
                self.streams[DIVISION].put(
                    code, {"code": code, "name": name, "level": level, "parent": parent or None}
                )
        for _ in range(residents):
            self.resident(record_of(RESIDENT, self.people.resident(COUNTY)))
        for _ in range(licences):
            licence = record_of(LICENCE, self.people.licence())
            self.licences[licence["credit_code"]] = licence
            self.streams[LICENCE].put(licence["credit_code"], licence)
        self._tasks = [
            asyncio.create_task(stream.read(self._stop), name=name)
            for name, stream in self.streams.items()
        ]
        self._tasks.append(asyncio.create_task(self._beat(), name="watermarks"))
        await self.open()
        return self

    def resident(self, record: dict[str, Any]) -> None:
        """A resident changed, or was entered."""
        self.residents[record["id_number"]] = record
        self.streams[RESIDENT].put(record["id_number"], record)

    def change(self, key: str, **fields: Any) -> None:
        """Change a resident now."""
        self.resident(self.residents[key] | fields)
        self.streams[RESIDENT].bring()

    async def _beat(self) -> None:
        while not self._stop.is_set():
            for stream in self.streams.values():
                stream.bring()
            await asyncio.sleep(1.0)

    async def busy(self, pause: float = 0.7) -> None:
        """Keep changing residents and licences, for whoever looks."""
        chance = random.Random(1)
        while True:
            await asyncio.sleep(pause * chance.uniform(0.2, 2))
            if chance.random() < 0.8:
                self.change(chance.choice(list(self.residents)), phone=self.people.phone())
            else:
                key = chance.choice(list(self.licences))
                self.licences[key] |= {"registered_capital": f"{chance.randrange(3, 5000)}.00"}
                self.streams[LICENCE].put(key, self.licences[key])
                self.streams[LICENCE].bring()

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()


def record_of(contract: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the offices' tables as the contract has it."""
    columns = _COLUMNS[contract]
    return {
        columns.get(name, name): value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in row.items()
    }
