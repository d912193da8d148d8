"""What it costs to be safe and seen: levelsync with TLS, logins, signatures and scraped metrics beside levelsync
with none of them, the same work in the same run; and a window that writes down who looked beside one that does not.

- ``bulk``: so many residents are committed at the province at once. Counted is until the county's window has them
  all, through three levels; CPU seconds are those of the three agents.
- ``steady``: then single changes at a steady rate; latency is from the commit to a subscriber of the window.
- ``audit``: look-ups by key at a steady rate; accesses of people's data are always written down by an agent, so
  this is the window's server alone.

On the guarded side every agent logs in at its own Kafka and its parent's by TLS and SCRAM, signs what it writes,
takes nothing unsigned from the others, and has its metrics scraped every second. ``peer`` is levelsync with none
of that.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import structlog
from psycopg import sql

from agents.demo.guard import Guard
from agents.demo.levels import NODES, PARENTS, Levels
from agents.demo.office import RESIDENT
from agents.demo.people import COUNTY
from agents.demo.proof import Disturbances, Subscriber
from agents.demo.servers import AgentProcess, KafkaServer, free_ports
from agents.demo.verdict import expected_in, judge
from tests.bench.figures import Pace, percentile, side
from tests.bench.usage import cpu_s, machine, peak_rss_mb
from tests.bench.window_server import WindowProcess
from tests.live.secure import SecureKafka

NAMES = ("bulk", "steady", "audit")
#: Residents committed at once; changes a second and seconds; look-ups a second and seconds. In full, quick.
BULK, RATE, SECONDS = (60_000, 6_000), 60.0, (20.0, 5.0)
LOOKUPS, LOOKING, FIRST, RECORDS = 1_000, (12.0, 4.0), 1.0, 2_000
PATIENCE = 300.0


class Guarded(Levels):
    """Three levels that sign, as any, and whose brokers ask for TLS and a login."""

    def __init__(self, say: Callable[[str], None], **rows: int) -> None:
        super().__init__(say, **rows)
        self.secure = {
            node: SecureKafka(self.folder / f"kafka-{node}", f"kafka-{node}") for node in NODES
        }
        self.brokers: dict[str, KafkaServer] = {**self.secure}

    def _agent(self, node: str) -> AgentProcess:
        agent = super()._agent(node)
        text = agent.node_file.read_text(encoding="utf-8")
        for table, at in (("kafka", node), ("parent", PARENTS.get(node))):
            if at is None:
                continue
            broker = self.secure[at]
            text = text.replace(f'"{broker.bootstrap}"', f'"127.0.0.1:{broker.login}"')
            text += (
                f'\n[{table}.tls]\nca = "{broker.ca}"\n[{table}.sasl]\nmechanism = "SCRAM-SHA-512"\n'
                'user = "admin"\npassword = "admin-secret"\n'
            )
        agent.node_file.write_text(text, encoding="utf-8")
        return agent


class Unguarded(Levels):
    """Three levels that sign nothing."""

    def _trust(self) -> str:
        return ""


async def run(cases: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the named cases, or all, and give the answer. Raises NotStarted, NotInstalled."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    names = cases or NAMES
    described = machine()
    found = []
    if {"bulk", "steady"} & set(names):
        ours = await _levels(Guarded, quick, scraped=True)
        plain = await _levels(Unguarded, quick, scraped=False)
        found += [
            _case(name, ours[name], plain[name]) for name in ("bulk", "steady") if name in names
        ]
    if "audit" in names:
        found.append(_case("audit", await _looked(quick, True), await _looked(quick, False)))
    return {"bench": "overheads", "quick": quick, "machine": described, "cases": found}


def _case(name: str, ours: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    equal = ours["equal"] and plain["equal"]
    return {
        "case": name, "equal": equal, "levelsync": ours,
        "peer": {"name": "levelsync-unguarded", **plain},
    }  # fmt: skip


async def _levels(kind: type[Levels], quick: bool, *, scraped: bool) -> dict[str, dict[str, Any]]:
    async with kind(_say, residents=1_000, licences=10) as levels:
        subscriber = Subscriber(
            levels.url(COUNTY, "/v1/resident.v2/events?from=state"), Disturbances()
        )
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(subscriber.run(), name="subscriber")]
            if scraped:
                beside.append(group.create_task(_scrape(levels), name="scrape"))
            async with asyncio.timeout(10):
                await subscriber.live.wait()
            found = {
                "bulk": await _bulk(levels, BULK[quick]),
                "steady": await _steady(levels, subscriber, SECONDS[quick]),
            }
            for task in beside:
                task.cancel()
        return found


def _cpu(levels: Levels) -> float:
    return sum(cpu_s(agent.pid) for agent in levels.agents.values())


def _rss(levels: Levels) -> float:
    return max(peak_rss_mb(agent.pid) for agent in levels.agents.values())


async def _held(levels: Levels) -> int:
    rows = await levels.contracts(COUNTY)
    return sum(row["records"] for row in rows if row["name"] == "resident.v2")


async def _bulk(levels: Levels, count: int) -> dict[str, Any]:
    _say(f"{count} residents at once")
    clerks, before = levels.clerks, await _held(levels)
    drawn = (clerks.people.resident(COUNTY) for _ in range(count))
    rows = {row["citizen_no"]: row for row in drawn if row["citizen_no"] not in clerks.residents}
    count = len(rows)
    async with await psycopg.AsyncConnection.connect(levels.postgres.dsn("province")) as office:
        names = sql.SQL(", ").join(map(sql.Identifier, next(iter(rows.values()))))
        copying = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(*RESIDENT.split(".")), names
        )
        async with office.cursor().copy(copying) as copy:
            for row in rows.values():
                await copy.write_row(list(row.values()))
        cpu, began = _cpu(levels), time.monotonic()
    clerks.residents |= {key: row["street_code"] for key, row in rows.items()}
    async with asyncio.timeout(PATIENCE):
        while await _held(levels) < before + count:
            await asyncio.sleep(0.1)
    spent = _cpu(levels) - cpu
    made = Pace(count, time.monotonic() - began, spent, spent)
    return {
        **side(made, _rss(levels), None, "rows"),
        "equal": await _held(levels) == before + count,
    }


async def _steady(levels: Levels, subscriber: Subscriber, seconds: float) -> dict[str, Any]:
    _say(f"{RATE:.0f} changes a second")
    async with asyncio.timeout(PATIENCE):
        while (await levels.contracts(COUNTY))[0]["lag"]:
            await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)
    subscriber.seen.clear()
    subscriber.latencies.clear()
    cpu, began = _cpu(levels), time.monotonic()
    await levels.clerks.write_residents(RATE, int(RATE * seconds))
    took = time.monotonic() - began
    expected = expected_in(COUNTY, levels.clerks.journal)
    deadline = time.monotonic() + 30
    while len(subscriber.seen) < sum(map(len, expected.values())) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    spent = _cpu(levels) - cpu
    verdict = judge(expected, subscriber.seen)
    wrong = (verdict.missing, verdict.repeated, verdict.out_of_order, verdict.unexpected)
    late = [milliseconds for _, milliseconds in subscriber.latencies]
    made = Pace(len(subscriber.seen), took, spent, spent)
    return {**side(made, _rss(levels), late, "changes"), "equal": not any(wrong)}


async def _scrape(levels: Levels) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            for agent in levels.agents.values():
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{agent.listen}/metrics") as answer:
                        await answer.read()
            await asyncio.sleep(1.0)


# ---- who looked ----------------------------------------------------------------------------------


async def _looked(quick: bool, audited: bool) -> dict[str, Any]:
    _say(f"look-ups, {'written down' if audited else 'not written down'}")
    seconds = LOOKING[quick]
    async with _window(audited) as (window, folder):
        out = folder / "lookups.json"
        before = cpu_s(window.pid)
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.lookups", str(window.address[1]), str(RECORDS),
            str(LOOKUPS), str(seconds), str(FIRST), str(out),
        )  # fmt: skip
        await client.wait()
        spent = cpu_s(window.pid) - before
        found = json.loads(out.read_text())
        late = found["ms"]
        return {
            "lookups_per_s": round(found["asked"] / found["seconds"]),
            "lookups_per_cpu_s": round(found["asked"] / spent),
            "p50_ms": round(percentile(late, 0.5), 2),
            "p99_ms": round(percentile(late, 0.99), 2),
            "rss_mb": round(peak_rss_mb(window.pid), 1),
            "equal": not found["wrong"],
        }


@contextlib.asynccontextmanager
async def _window(audited: bool) -> AsyncIterator[tuple[WindowProcess, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="levelsync-bench-"))
    Guard.of_this_process().sweep(folder)
    window = WindowProcess(folder, free_ports(1)[0], 4_000, RECORDS, audited=audited)
    try:
        await window.start()
        os.kill(window.pid, signal.SIGUSR1)
        url = f"http://127.0.0.1:{window.address[1]}/v1/contracts"
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while True:
                async with session.get(url) as answer:
                    if (await answer.json())["contracts"][0]["records"] == RECORDS:
                        break
                await asyncio.sleep(0.2)
        yield window, folder
    finally:
        await window.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    print(f"overheads: {text}", file=sys.stderr, flush=True)
