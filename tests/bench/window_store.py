"""The window's store: how fast it is filled, and how fast it answers while it changes.

Both over a real broker and the real agent, ``levelsync run`` with a [window], in a process of its own.

- ``load``: a million residents are in a topic of three partitions before the agent starts. Counted is from
  the start of its process until the window has them all, each checked by its contract. Then every record is
  read over HTTP and compared with what was written.
- ``lookup``: with as many in the window, look-ups by key at a steady rate over HTTP while records change.
  Counted is each look-up, from when it was due to its whole answer; every answer must be a state its
  key had.

``rss_mb`` is the most memory the agent had at any time until then. There is no peer.

python -m tests.bench.window_store [load] [lookup] [--json] [--quick]
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import structlog

from agents.demo.guard import Guard
from agents.demo.servers import AgentProcess, KafkaServer, free_ports
from agents.kafka.batches import Builder, sealed
from agents.kafka.cluster import Cluster
from agents.kafka.murmur import partition_of
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Connection
from contracts.envelope import Event, headers_of
from tests.bench import mirror
from tests.bench.figures import percentile
from tests.bench.lookups import changed, record
from tests.bench.residents import CONTRACT, Sum, line_of
from tests.bench.table import show
from tests.bench.usage import cpu_s, machine, peak_rss_mb

NAMES: tuple[str, ...] = ("load", "lookup")
TOPIC = f"{CONTRACT.name}.from.370102"
PARTITIONS = CONTRACT.partitions
#: In full and for ``--quick``.
RECORDS = (1_000_000, 60_000)
#: Look-ups and changes a second; seconds, and how many of them are not counted.
LOOKUPS, CHANGES = 2_000, 1_000
SECONDS, FIRST = (22.0, 8.0), 2.0
#: Seconds the window may take to be whole.
_PATIENCE = 600.0
_BATCH = 128 * 1024
_PAGE = 1_000
_BROKER = (*(each for each in mirror.JAVA if not each.startswith("-Xmx")), "-Xmx768m")
_NODE = """\
[node]
id = "3701"
name = "bench"
level = "city"

[agent]
listen = "{listen}"
state = "{state}"

[kafka]
bootstrap = "{bootstrap}"

[window]
listen = "{window}"
"""


async def run_case(name: str, quick: bool) -> dict[str, Any]:
    """One case, with a broker of its own. Raises NotStarted, NotInstalled."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    records = RECORDS[quick]
    async with _servers(name) as bench:
        await bench.fill(records)
        figures = await bench.load(records)
        equal = True
        if name == "load":
            equal = await bench.compare(records)
        else:
            figures, equal = await bench.look_up(records, SECONDS[quick])
    return {"case": name, "equal": equal, "levelsync": figures | {"equal": equal}}


@contextlib.asynccontextmanager
async def _servers(name: str) -> AsyncIterator["_Bench"]:
    folder = Path(tempfile.mkdtemp(prefix="levelsync-bench-"))
    Guard.of_this_process().sweep(folder)
    kafka_port, *ports = free_ports(3)
    kafka = KafkaServer(folder / "kafka", kafka_port, java=_BROKER)
    bench = _Bench(name, folder, kafka.bootstrap, ports)
    try:
        await kafka.start()
        yield bench
    finally:
        await asyncio.gather(bench.agent.kill(), kafka.kill())
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    def __init__(self, name: str, folder: Path, bootstrap: str, ports: Sequence[int]) -> None:
        self._name, self._folder = name, folder
        self._cluster = Cluster(bootstrap)
        listen, self._port = f"127.0.0.1:{ports[0]}", ports[1]
        self._window = f"http://127.0.0.1:{self._port}"
        node = folder / "node.toml"
        node.write_text(
            _NODE.format(
                listen=listen, state=folder / "state", bootstrap=bootstrap,
                window=f"127.0.0.1:{self._port}",
            )
        )  # fmt: skip
        self.agent = AgentProcess(node, folder, listen)
        self._written = Sum()

    async def fill(self, records: int) -> None:
        """Write the residents to the topic."""
        self._say(f"writing {records} records")
        await ensure(self._cluster, [Topic(TOPIC, PARTITIONS, DATA)])
        async with Connection(self._cluster) as connection:
            under_way: set[asyncio.Task[Any]] = set()
            for number, batch in self._batches(records):
                if len(under_way) >= 4:
                    done, under_way = await asyncio.wait(
                        under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                    for each in done:
                        each.result()
                # One after the other for each partition: they are asked for in their order.
                request = {(TOPIC, number): sealed(batch, -1, -1, -1)}
                ((node, _),) = (await connection.leaders(request)).items()
                under_way.add(asyncio.create_task(connection.produce(node, request), name="fill"))
                await asyncio.sleep(0)
            await asyncio.gather(*under_way)

    def _batches(self, records: int) -> Iterator[tuple[int, Any]]:
        builders = [Builder(_BATCH) for _ in range(PARTITIONS)]
        for number in range(records):
            there = record(number)
            self._written.add(line_of(dict(there)))
            event = _event(there, number)
            key = event.key.encode()
            part = partition_of(key, PARTITIONS)
            if not builders[part].append(key, event.value, headers_of(event), event.time // 1000):
                yield part, builders[part].build()
                builders[part] = Builder(_BATCH)
                builders[part].append(key, event.value, headers_of(event), event.time // 1000)
        for part, builder in enumerate(builders):
            if builder.count:
                yield part, builder.build()

    async def load(self, records: int) -> dict[str, Any]:
        """Start the agent, and wait until the window has them all."""
        self._say("the agent starts")
        began = time.monotonic()
        self.agent.start()
        async with aiohttp.ClientSession() as session, asyncio.timeout(_PATIENCE):
            while await self._held(session) < records:
                await asyncio.sleep(0.1)
        seconds = time.monotonic() - began
        pid = self.agent.pid
        assert pid
        self._say(f"{records} records after {seconds:.1f} s")
        return {
            "rows_per_s": round(records / seconds),
            "rows_per_cpu_s": round(records / cpu_s(pid)),
            "rows": records,
            "seconds": round(seconds, 2),
            "cpu_s": round(cpu_s(pid), 2),
            "rss_mb": round(peak_rss_mb(pid), 1),
        }

    async def _held(self, session: aiohttp.ClientSession) -> int:
        try:
            async with session.get(f"{self._window}/v1/contracts") as answer:
                listed = (await answer.json())["contracts"]
        except aiohttp.ClientError:
            return 0
        return sum(each["records"] for each in listed if each["name"] == CONTRACT.name)

    async def compare(self, records: int) -> bool:
        """Is every record in the window as it was written?"""
        self._say("comparing")
        found, after = Sum(), ""
        async with aiohttp.ClientSession() as session:
            while after is not None:
                address = f"{self._window}/v1/{CONTRACT.name}/records"
                query = {"limit": str(_PAGE), "after": after}
                async with session.get(address, params=query) as answer:
                    page = msgspec.json.decode(await answer.read())
                for each in page["records"]:
                    found.add(line_of(each["record"]))
                after = page["next"]
        return found.value == self._written.value and found.count == records

    async def look_up(self, records: int, seconds: float) -> tuple[dict[str, Any], bool]:
        """Look up while changes come."""
        self._say("looking up")
        out = self._folder / "lookups.json"
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.lookups", str(self._port), str(records),
            str(LOOKUPS), str(seconds), str(FIRST), str(out),
        )  # fmt: skip
        pid = self.agent.pid
        assert pid
        before = cpu_s(pid)
        count = await self._change(records, client)
        found = json.loads(out.read_text())
        figures = {
            "lookups_per_s": round(found["asked"] / found["seconds"]),
            "changes_per_s": round(count / found["seconds"]),
            "p50_ms": round(percentile(found["ms"], 0.5), 2),
            "p99_ms": round(percentile(found["ms"], 0.99), 2),
            "max_ms": round(max(found["ms"]), 1),
            "lookups": found["asked"],
            "wrong": len(found["wrong"]),
            "cpu_share": round((cpu_s(pid) - before) / found["seconds"], 2),
            "records": records,
            "rss_mb": round(peak_rss_mb(pid), 1),
        }
        return figures, not found["wrong"]

    async def _change(self, records: int, client: asyncio.subprocess.Process) -> int:
        """Change records until ``client`` ends; how many were changed."""
        number, began = 0, time.monotonic()
        async with Connection(self._cluster) as connection:
            while client.returncode is None:
                builders: dict[int, Builder] = {}
                due = int((time.monotonic() - began) * CHANGES)
                for each in range(number, due):
                    resident, phone = changed(each, records)
                    event = _event(record(resident) | {"phone": phone}, records + each)
                    key = event.key.encode()
                    builder = builders.setdefault(partition_of(key, PARTITIONS), Builder(_BATCH))
                    builder.append(key, event.value, headers_of(event), event.time // 1000)
                number = due
                if builders:
                    request = {
                        (TOPIC, part): sealed(builder.build(), -1, -1, -1)
                        for part, builder in builders.items()
                    }
                    ((node, _),) = (await connection.leaders(request)).items()
                    await connection.produce(node, request)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.wait(), 0.01)
        return number

    def _say(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self._name}: {what}", file=sys.stderr, flush=True)


def _event(there: dict[str, str], number: int) -> Event:
    """The event that makes a record so; ``number`` counts changes of all keys."""
    return Event(
        key=there[CONTRACT.key],
        value=msgspec.json.encode(there),
        id=f"16/B374D848/{number}",
        source="/370102/resident.v2",
        type="resident.v2.changed",
        time=1_750_000_000_000_000 + number,
        dataschema=CONTRACT.dataschema,
        sequence=f"{number:016X}",
        scope=there[CONTRACT.scope],
    )


async def run(cases: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the named cases, or all."""
    described = machine() | {"partitions": PARTITIONS}
    found = [await run_case(name, quick) for name in cases or NAMES]
    return {"bench": "window", "quick": quick, "machine": described, "cases": found}


def main() -> int:
    """0 when all was equal, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.window_store")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(NAMES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if unknown := [case for case in args.cases if case not in NAMES]:
        parser.error(f"no case {unknown[0]!r}; there are: {', '.join(NAMES)}")
    answer = asyncio.run(run(args.cases, args.quick))
    if args.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        show(answer)
    return 0 if all(case["equal"] for case in answer["cases"]) else 1


if __name__ == "__main__":
    sys.exit(main())
