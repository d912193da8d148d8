"""A window in this process, for the tests of what is built on one.

It is the real one, its store, feed and HTTP on loopback; only Kafka is left out. So whatever speaks to
windows can be tried with it, in any language:

    with FakeWindow("resident.v2") as fake:
        fake.put("resident.v2", {"id_number": "370102199001011232", …})
        with blocking.Window(fake.url, fake.token) as window:
            found = window.lookup("resident.v2", "370102199001011232")
        fake.cut()
"""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from agents.base.status import Status
from agents.base.stream import Record, Slice
from agents.base.table import sealed_token
from agents.base.watermark import KEY, TYPE, Watermark
from agents.base.window import System, Window
from agents.client.loop import LoopThread
from agents.client.reading import contract_name
from agents.kafka.cluster import Cluster
from agents.kafka.topics import received
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.office import Office
from agents.window.store import Store
from contracts.check import Checker
from contracts.envelope import Event, headers_of
from contracts.model import Contract
from contracts.subjects import CONTRACTS

#: Seconds between two watermarks.
BEAT = 0.2


class FakeWindow:
    """A window that shows ``contracts``: names, classes, or :class:`contracts.model.Contract`.

    With ``token``, only who has it sees anything, and of each contract the ``scopes``, ``fields`` and
    ``mask`` given, as in a node file. ``folder`` keeps its store when it is made anew. Its methods may be
    called from any thread, and return once the window shows what they did.
    """

    def __init__(
        self,
        *contracts: str | type | Contract,
        token: str = "",
        scopes: tuple[str, ...] = (),
        fields: Mapping[str, tuple[str, ...]] | None = None,
        mask: Mapping[str, Mapping[str, Any]] | None = None,
        folder: Path | None = None,
        port: int = 0,
    ) -> None:
        known = [_contract(each) for each in contracts]
        if not known:
            raise TypeError("Expected one or more contracts, got none")
        self._contracts = {each.name: each for each in known}
        self._checkers = {each.name: Checker(each) for each in known}
        self._system = System(
            name="tests",
            token=sealed_token(token) if token else "",
            purpose="tests",
            contracts=tuple(self._contracts),
            scopes=scopes,
            fields=dict(fields or {}),
            mask={name: dict(each) for name, each in (mask or {}).items()},
        )
        self._folder, self._port = folder, port
        #: What a client needs to be let in; empty lets everybody in, but nobody with another token.
        self.token = token
        self._around = contextlib.ExitStack()
        self._thread: LoopThread | None = None
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """Where it is, also while it is stopped."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        if self._folder is None:
            self._folder = Path(self._around.enter_context(tempfile.TemporaryDirectory()))
        self._thread = LoopThread("levelsync-fake-window")
        self._around.callback(self._thread.close)
        self.start()
        self._around.callback(self.stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._around.close()

    def put(self, contract: str | type, record: Mapping[str, Any] | msgspec.Struct) -> str:
        """Insert or replace a record; the answer is its key. Raises contracts.check.Rejected for one that
        breaks the contract."""
        name = self._name(contract)
        checked = self._checkers[name].accept(msgspec.json.encode(record))
        self._change(name, checked.key, checked.scope, checked.value)
        return checked.key

    def delete(self, contract: str | type, key: str) -> None:
        """Delete a record."""
        self._change(self._name(contract), key, "", None)

    def hold(self, contract: str | type) -> None:
        """No watermarks from now on: the contract falls behind, and says since when."""
        self._stream(contract).held = True

    def release(self, contract: str | type) -> None:
        """Watermarks come again."""
        self._stream(contract).held = False

    def cut(self) -> None:
        """Break every connection."""
        self._do(self._up().cut())

    def refuse_tokens(self) -> None:
        """Every token given so far is too old, and is answered 410."""
        self._do(self._up().refuse_tokens())

    def stop(self) -> None:
        """Go away; :meth:`start` comes back at the same address with the same state."""
        running, self._running = self._running, None
        if running is not None:
            self._do(running.stop())

    def start(self) -> None:
        """Come back."""
        if self._running is None:
            assert self._folder
            table = Window(system=(self._system,) if self._system.token else ())
            running = _Running(self._folder, self._contracts, table)
            self._port = self._do(running.start(self._port))
            self._running = running

    def _name(self, contract: str | type) -> str:
        name = contract_name(contract)
        if name not in self._contracts:
            raise KeyError(f"Expected one of {', '.join(self._contracts)}, got {name}")
        return name

    def _stream(self, contract: str | type) -> "_Stream":
        return self._up().streams[self._name(contract)]

    def _change(self, name: str, key: str, scope: str, value: bytes | None) -> None:
        self._do(self._up().streams[name].change(key, scope, value))

    def _up(self) -> "_Running":
        if self._running is None:
            raise RuntimeError("Expected a running FakeWindow: use it as `with`, or start it again")
        return self._running

    def _do(self, coroutine: Any) -> Any:
        assert self._thread
        return self._thread.run(coroutine)


def _contract(given: str | type | Contract) -> Contract:
    if isinstance(given, Contract):
        return given
    name = contract_name(given)
    if name not in CONTRACTS:
        raise KeyError(f"Expected one of {', '.join(CONTRACTS)}, or a Contract, got {name}")
    return CONTRACTS[name]


class _Stream:
    """One partition of a contract's topic that is written here, as :class:`agents.base.stream.Reader`."""

    def __init__(self, contract: Contract, offset: int, number: int) -> None:
        self.topic = received(contract.name, "0")
        self.held = False
        self._contract = contract
        self._offset, self._number, self._counted = offset, number, 0
        self._waiting: asyncio.Queue[tuple[Slice, asyncio.Future[None]]] = asyncio.Queue(1)
        self._applied: asyncio.Future[None] | None = None

    async def read(self) -> list[Slice]:
        """See Reader: what was read last is applied by now."""
        if self._applied is not None:
            self._applied.set_result(None)
            self._applied = None
        piece, self._applied = await self._waiting.get()
        return [piece]

    def grown(self, counts: Mapping[str, int]) -> bool:
        """See Reader."""
        return False

    async def change(self, key: str, scope: str, value: bytes | None) -> None:
        now, name = time.time_ns() // 1000, self._contract.name
        event = Event(
            key=key,
            value=value,
            id=uuid.uuid4().hex,
            source=f"/0/{name}",
            type=f"{name}.{'deleted' if value is None else 'changed'}",
            time=now,
            dataschema=self._contract.dataschema,
            sequence=f"{time.time_ns():020}",
            scope=scope,
        )
        records = [Record(self._offset, now // 1000, key.encode(), value, headers_of(event))]
        self._counted += 1
        if not self.held:
            records.append(self._mark(1))
        await self._written(records)

    async def beat(self) -> None:
        while True:
            if not self.held:
                await self._written([self._mark(0)])
            await asyncio.sleep(BEAT)

    def _mark(self, after: int) -> Record:
        now = time.time_ns() // 1000
        self._number += 1
        mark = Watermark("fake", self._number, self._counted, now, None)
        self._counted = 0
        encoded = msgspec.json.encode(mark)
        return Record(self._offset + after, now // 1000, KEY, encoded, (("ce_type", TYPE),))

    async def _written(self, records: list[Record]) -> None:
        self._offset += len(records)
        applied = asyncio.get_running_loop().create_future()
        piece = Slice(self.topic, 0, records, self._offset, self._offset)
        await self._waiting.put((piece, applied))
        await applied


class _Running:
    """The window while it is up."""

    def __init__(self, folder: Path, contracts: Mapping[str, Contract], table: Window) -> None:
        self.streams: dict[str, _Stream] = {}
        self._folder, self._contracts, self._table = folder, contracts, table
        self._around = contextlib.AsyncExitStack()

    async def start(self, port: int) -> int:
        """Begin, at ``port`` or a free one when 0; the answer is the port."""
        self._store = store = Store(self._folder / "window.sqlite")
        self._around.callback(store.close)
        feed, status = Feed(store), Status("0", "test")
        status.planned = True
        follows = {}
        for name, contract in self._contracts.items():
            topics = frozenset({received(name, "0")})
            store.index(name, contract.searchable)
            follows[name] = follow = Follow(
                status,
                contract=contract,
                cluster=Cluster("127.0.0.1:1"),
                store=store,
                feed=feed,
                sources=partial(frozenset, topics),
            )
            status.show(follow.hop)
            self._follow(follow, store)
        office = Office("测试窗口", "0", store, feed, follows, status, table=self._table)
        self._runner = web.AppRunner(window_app(office), shutdown_timeout=0.1)
        await self._runner.setup()
        self._around.push_async_callback(self._runner.cleanup)
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self._around.push_async_callback(self.cut)
        return int(self._runner.addresses[0][1])

    def _follow(self, follow: Follow, store: Store) -> None:
        name = follow.contract.name
        known = store.positions([received(name, "0")]).get((received(name, "0"), 0))
        offset, state = known or (0, None)
        stream = self.streams[name] = _Stream(follow.contract, offset, state.number if state else 0)
        reading = follow.read(asyncio.Event(), stream, {stream.topic: 1})
        for part, job in (("follow", reading), ("beat", stream.beat())):
            task = asyncio.create_task(job, name=f"{part} {name}")
            self._around.push_async_callback(_end, task)

    async def cut(self) -> None:
        assert self._runner.server
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def refuse_tokens(self) -> None:
        self._store.id = uuid.uuid4().hex[:10]
        await self.cut()

    async def stop(self) -> None:
        await self._around.aclose()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
