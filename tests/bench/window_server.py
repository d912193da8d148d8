"""A window with a store of its own in a process of its own, whose events come at a steady rate:

python -m tests.bench.window_server STATE LISTEN RATE COUNT [audited]

From SIGUSR1 on, COUNT residents change, RATE a second. Each is an event as a reader brings it from Kafka; it
passes its contract, the store and the feed as in any agent. Its time is the moment at which it came in. With
"audited" who looks is written down, as every agent does.
"""

import asyncio
import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from agents.base.health import listening
from agents.base.log import set_up
from agents.base.outgoing import Outgoing
from agents.base.run import collect_rarely
from agents.base.status import Status
from agents.base.stream import Record, Slice
from agents.demo.servers import Server
from agents.kafka.cluster import Cluster
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.journal import ChainedJournal
from agents.window.office import Office
from agents.window.store import Store
from contracts.envelope import Event, headers_of
from tests.bench.residents import CONTRACT, FIELDS, row

_TOPIC = "resident.v2.from.3701"


class WindowProcess(Server):
    """levelsync's window."""

    def __init__(
        self, folder: Path, port: int, rate: int, count: int, *, audited: bool = False
    ) -> None:
        super().__init__("levelsync", folder)
        self.address = ("127.0.0.1", port)
        self._arguments = [str(folder), f"127.0.0.1:{port}", str(rate), str(count)]
        self._arguments += ["audited"] * audited

    async def start(self) -> None:
        """Wait until it answers. Raises NotStarted."""
        self._spawn([sys.executable, "-m", "tests.bench.window_server", *self._arguments])
        await self._until_ready(20.0)

    async def _ready(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self.address)
        except OSError:
            return False
        writer.close()
        return True


def event(number: int) -> Event:
    """A change of resident ``number``, made just now."""
    values = dict(zip(FIELDS, row(number), strict=True))
    values["registered_at"] = values["registered_at"].replace(" ", "T").replace("+00", "Z")
    return Event(
        key=values[CONTRACT.key],
        value=msgspec.json.encode(values),
        id=f"7/16.B374D848.{number}",
        source="/37/resident.v2",
        type="resident.v2.changed",
        time=time.time_ns() // 1000,
        dataschema="resident.v2/2.0",
        sequence=f"{number:016}",
        scope=values[CONTRACT.scope],
    )


class _Reader:
    """Brings the events when they are due."""

    def __init__(self, rate: int, count: int, begin: asyncio.Event) -> None:
        self._rate, self._count, self._begin = rate, count, begin
        self._began, self._next = 0.0, 0

    async def read(self) -> list[Slice]:
        await self._begin.wait()
        now = time.monotonic()
        self._began = self._began or now
        if self._next == self._count:
            await asyncio.sleep(0.5)
            return []
        await asyncio.sleep(max(0.0, self._began + self._next / self._rate - now))
        change = event(self._next)
        record = Record(self._next, 0, change.key.encode(), change.value, tuple(headers_of(change)))
        self._next += 1
        return [Slice(_TOPIC, 0, [record], self._next, self._next)]

    def grown(self, counts: Mapping[str, int]) -> bool:
        return False


async def _main(state: str, listen: str, rate: str, count: str, audited: str = "") -> None:
    begin, stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, begin.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    status = Status("370102", "bench")
    store = Store(Path(state) / "window.sqlite")
    feed = Feed(store)
    follow = Follow(
        status,
        contract=CONTRACT,
        cluster=Cluster("127.0.0.1:1"),
        store=store,
        feed=feed,
        sources=lambda: frozenset({_TOPIC}),
    )
    status.show(follow.hop)
    status.planned = True
    office = Office("历下区", "370102", store, feed, {CONTRACT.name: follow}, status)
    async with contextlib.AsyncExitStack() as stack:
        if audited:
            outgoing = Outgoing(Path(state) / "outgoing.sqlite")
            journal = ChainedJournal(outgoing, "370102", {CONTRACT.name: CONTRACT})
            office = dataclasses.replace(office, journal=journal)
            writing = asyncio.create_task(journal.run(), name="accesses")
            stack.callback(writing.cancel)
        await stack.enter_async_context(listening(window_app(office), listen, "listen"))
        await follow.read(stop, _Reader(int(rate), int(count), begin), {_TOPIC: 1})
    store.close()


if __name__ == "__main__":
    set_up("bench")
    collect_rarely()
    asyncio.run(_main(*sys.argv[1:]))
