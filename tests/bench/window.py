"""The window: its feed beside a hub, the way of a change to it through three levels, and its store.

- ``sse-fanout``: a thousand subscribers, each with a connection of its own, are told a hundred changes a
  second; counted is from the end of the first second's. The server, levelsync's window with its store and
  its checks or the peer, is a process of its own, the subscribers are another, the same for both. A
  delivery's latency is from the event's own time, set as it is made, to the subscriber's having read it.
- ``end-to-end``: from a COMMIT at the province's PostgreSQL through three Kafkas and three agents to a
  subscriber of the county's window, and to a page in Chromium that follows the same feed. ``equal`` says
  that either saw every change of the county once and in order.
- ``lookup``, ``load``: see :mod:`tests.bench.window_store`.

``rss_mb`` is the most memory the process had at any time. Cases without a peer say so by having none.
"""

import asyncio
import importlib
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from agents.demo.guard import Guard
from agents.demo.servers import NotStarted, free_ports
from contracts.envelope import Event
from tests.bench import window_levels
from tests.bench.centrifugo import MODULE, VERSION, Centrifugo, paced, program
from tests.bench.figures import Pace, side
from tests.bench.subscribers import Result, Subscribers
from tests.bench.usage import cpu_s, machine, peak_rss_mb
from tests.bench.window_server import WindowProcess


class Load(msgspec.Struct, frozen=True):
    """Subscribers, changes a second, and for how many seconds; those of ``warm_s`` are not counted."""

    subscribers: int
    rate: int
    seconds: int
    warm_s: int = 1

    @property
    def events(self) -> int:
        return self.rate * (self.seconds + self.warm_s)


#: What there is in full and for ``--quick``.
FANOUT = (Load(1_000, 100, 20), Load(300, 100, 4))
STORE = ("lookup", "load")
NAMES = ("sse-fanout", "end-to-end", *STORE)


async def run(cases: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the named cases, or all, and give the answer. Raises NotStarted, NotInstalled."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    found = []
    described = machine() | {"peer": f"{MODULE} {VERSION}"}
    for name in cases or NAMES:
        if name == "sse-fanout":
            found.append(await fanout(quick))
        elif name == "end-to-end":
            found.append(await window_levels.run(quick))
        else:
            store = importlib.import_module("tests.bench.window_store")
            found.append(await store.run_case(name, quick))
    return {"bench": "window", "quick": quick, "machine": described, "cases": found}


async def fanout(quick: bool) -> dict[str, Any]:
    """Both sides, one after the other."""
    load = FANOUT[quick]
    program()
    folder = Path(tempfile.mkdtemp(prefix="levelsync-bench-"))
    Guard.of_this_process().sweep(folder)
    try:
        ours = await _levelsync(folder / "levelsync", load)
        peer = await _centrifugo(folder / "centrifugo", load)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "case": "sse-fanout",
        "equal": ours["equal"] and peer["equal"],
        "levelsync": ours,
        "peer": {"name": "centrifugo", **peer},
        "note": f"{load.subscribers} subscribers, {load.rate} changes/s",
    }


async def _levelsync(folder: Path, load: Load) -> dict[str, Any]:
    (port,) = free_ports(1)
    server = WindowProcess(folder, port, load.rate, load.events)
    await server.start()

    async def begin() -> None:
        assert server.process
        server.process.send_signal(signal.SIGUSR1)

    return await _measured(server, "/v1/resident.v2/events", begin, load)


async def _centrifugo(folder: Path, load: Load) -> dict[str, Any]:
    (port,) = free_ports(1)
    server = Centrifugo(folder, port)
    await server.start()

    async def begin() -> None:
        made: asyncio.Queue[Event | None] = asyncio.Queue(load.events + 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(paced(load.rate, load.events, made), name="pace")
            group.create_task(server.publish(made), name="publish")

    return await _measured(server, Centrifugo.path, begin, load)


async def _measured(
    server: WindowProcess | Centrifugo, path: str, begin: Callable[[], Awaitable[None]], load: Load
) -> dict[str, Any]:
    """Raises NotStarted when the subscribers cannot subscribe, or do not end."""
    subscribers = Subscribers(
        server.folder, server.address, path,
        subscribers=load.subscribers, events=load.events, warm=load.rate * load.warm_s,
        seconds=load.seconds * 5.0 + 30.0,
    )  # fmt: skip
    try:
        subscribers.start()
        await _until(subscribers, lambda: subscribers.subscribed, 30.0)
        await asyncio.sleep(1.0)
        before = cpu_s(server.pid)
        await begin()
        await _until(
            subscribers, lambda: subscribers.result() is not None, load.seconds * 5.0 + 60.0
        )
        after, rss = cpu_s(server.pid), peak_rss_mb(server.pid)
    finally:
        await subscribers.stop()
        await server.stop()
    found = subscribers.result()
    assert found
    return _figures(found, after - before, rss, load)


def _figures(found: Result, cpu: float, rss: float, load: Load) -> dict[str, Any]:
    # The CPU time is that of all deliveries, the warm-up's included.
    counted = found.counted / max(found.deliveries, 1)
    pace = Pace(found.counted, max(found.seconds, 1e-9), cpu * counted, cpu)
    return side(pace, rss, None, what="deliveries") | {
        "p50_ms": round(found.p50_ms, 2),
        "p99_ms": round(found.p99_ms, 2),
        "max_ms": round(found.max_ms, 2),
        "equal": found.faults == 0 and found.deliveries == load.subscribers * load.events,
    }


async def _until(subscribers: Subscribers, question: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        if not subscribers.alive or time.monotonic() > deadline:
            # It may have ended just now, with its answer written.
            if question():
                return
            raise NotStarted(f"the subscribers do not go on:\n{subscribers.tail()}")
        await asyncio.sleep(0.05)
