"""levelsync's capture beside Debezium: one table of a real PostgreSQL to a topic of a real broker.

Each side, in a process of its own and alone, captures the same rows; then what stands in its topic is
compared with the table, row by row. Whoever goes first changes from case to case. levelsync is
``levelsync run``; every row passes the contract ``resident.v2``, check digit, code tables and rules.
Debezium is Kafka Connect in standalone mode with the settings beside this file, which checks nothing.

- ``big-transaction``: both stream already and have streamed a warm-up, one transaction of the same rows.
  Then one transaction; counted is from its COMMIT to its last row in Kafka.
- ``latency``: after such a warm-up, single-row commits by several connections; for each row the time from
  its COMMIT having returned to its arrival at a bare consumer, the same for both. The first seconds are
  left out.
- ``first-copy``: the rows are there before the side starts. Counted is from a fifth of them in Kafka to all,
  so that the start of a JVM and much of its compiling are not; ``cpu_s_with_start`` is the whole.

- ``mqtt`` and ``intake``: see :mod:`tests.bench.push`.

``rss_mb`` is the most memory the process had at any time. Cases without a peer say so by having none.
"""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import structlog
from aiokafka.admin import AIOKafkaAdminClient

from agents.base.stream import Record
from agents.demo.guard import Guard
from agents.demo.servers import KafkaServer, NotStarted, PostgresServer, free_ports
from agents.kafka.batches import records_of
from agents.kafka.cluster import Cluster
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Connection
from contracts.envelope import header
from tests.bench import debezium, mirror, push
from tests.bench.commits import Commits
from tests.bench.debezium import Debezium
from tests.bench.figures import Sample, pace, pace_since, side
from tests.bench.levelsync import Levelsync
from tests.bench.records import OWN, parts_of
from tests.bench.residents import CONTRACT, MAKE, TABLE, Sum, blocks, line_of, of_lines
from tests.bench.usage import cpu_s, machine, peak_rss_mb

PARTITIONS = CONTRACT.partitions
BROKER_HEAP_MB = 1024
_BROKER = (*(each for each in mirror.JAVA if not each.startswith("-Xmx")), f"-Xmx{BROKER_HEAP_MB}m")
#: Seconds between two looks at the topic's ends, and without rows after which that may be all.
_LOOK, _QUIET = 0.025, 1.0
#: Watermarks of an idle topic in that time, at most.
_MARKS = 4 * PARTITIONS
#: Rows a second of the slowest copy that is still waited for.
_SLOWEST = 2_000

Process = Levelsync | Debezium


class Transaction(msgspec.Struct, frozen=True):
    """Rows of the transaction before, which is not counted, and of the one that is."""

    warm: int
    rows: int


class Load(msgspec.Struct, frozen=True):
    """Rows of a transaction before; then commits a second, and for how many seconds: first not counted,
    then counted."""

    before: int
    rate: int
    warm_s: float
    seconds: float


#: What there is in full and for ``--quick``.
BIG = (Transaction(100_000, 300_000), Transaction(20_000, 60_000))
LATENCY = (Load(100_000, 1_000, 5.0, 20.0), Load(20_000, 1_000, 2.0, 4.0))
COPY = (1_000_000, 100_000)


async def run(cases: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the named cases, or all, and give the answer. Raises NotStarted, NotInstalled."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    described = machine() | {
        "partitions": PARTITIONS,
        "broker_heap_mb": BROKER_HEAP_MB,
        "debezium_heap_mb": debezium.HEAP_MB,
    }
    debezium.libs()
    found = []
    async with _servers() as bench:
        for number, name in enumerate(cases or NAMES):
            found.append(await CASES[name](bench, quick, number % 2 == 0))
    return {"bench": "capture", "quick": quick, "machine": described, "cases": found}


@contextlib.asynccontextmanager
async def _servers() -> AsyncIterator["Servers"]:
    folder = Path(tempfile.mkdtemp(prefix="levelsync-bench-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
    Guard.of_this_process().sweep(folder)
    ports = free_ports(2)
    kafka = KafkaServer(folder / "kafka", ports[0], java=_BROKER)
    postgres = PostgresServer(folder / "postgres", ports[1])
    try:
        await asyncio.gather(kafka.start(), postgres.start())
        yield Servers(folder, kafka, postgres)
    finally:
        await asyncio.gather(kafka.kill(), postgres.kill())
        shutil.rmtree(folder, ignore_errors=True)


class Servers:
    """One broker and one PostgreSQL for all cases, and a folder for what else there is."""

    def __init__(self, folder: Path, kafka: KafkaServer, postgres: PostgresServer) -> None:
        self.folder = folder
        self.bootstrap = kafka.bootstrap
        self.cluster = Cluster(kafka.bootstrap)
        self.postgres = postgres

    async def clear(self) -> None:
        """Delete every topic: the next side begins with nothing."""
        async with Connection(self.cluster) as connection:
            topics = [name for name in await connection.topics() if not name.startswith("__")]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics(topics)
        finally:
            await admin.close()


# ---- cases -----------------------------------------------------------------------------------


async def big_transaction(servers: Servers, quick: bool, peer_first: bool) -> dict[str, Any]:
    """One large transaction while both stream."""
    transaction = BIG[quick]

    async def load(each: "Side") -> dict[str, Any]:
        await each.start()
        await each.insert(range(1))
        await each.streaming(1)
        so_far = 1 + transaction.warm
        await each.insert(range(1, so_far))
        before = await each.arrived(so_far)
        rows = so_far + transaction.rows
        await each.insert(range(so_far, rows))
        # Nothing of it is in the topic before its COMMIT.
        begin = each.now()._replace(ends=before[-1].ends)
        samples = await each.arrived(rows)
        speed = pace_since(samples, await each.offsets(), begin)
        return side(speed, each.rss_mb, None, what="rows")

    return await _beside(servers, "big-transaction", load, peer_first)


async def latency(servers: Servers, quick: bool, peer_first: bool) -> dict[str, Any]:
    """Single-row commits, one after the other."""
    load_ = LATENCY[quick]
    warm, count = int(load_.rate * load_.warm_s), int(load_.rate * (load_.warm_s + load_.seconds))

    async def load(each: "Side") -> dict[str, Any]:
        await each.start()
        await each.insert(range(1))
        await each.streaming(1)
        await each.insert(range(1, load_.before))
        await each.arrived(load_.before)
        writer = Commits(each.folder, each.dsn, load_.rate, load_.before, count)
        try:
            writer.start()
            seen, begin, end = await each.watch(writer, warm, count)
        finally:
            await writer.stop()
        made = writer.made()
        assert made is not None
        late = sorted(made, key=made.__getitem__)[warm:]
        latencies = [(seen[key] - made[key]) * 1000 for key in late]
        speed = pace_since([begin, end], [range(count)], begin)
        return side(speed, each.rss_mb, latencies, what="rows")

    return await _beside(servers, "latency", load, peer_first)


async def first_copy(servers: Servers, quick: bool, peer_first: bool) -> dict[str, Any]:
    """A table that is there before the side starts."""
    rows = COPY[quick]

    async def load(each: "Side") -> dict[str, Any]:
        await each.insert(range(rows))
        await each.start()
        samples = await each.arrived(rows)
        return side(pace(samples, await each.offsets()), each.rss_mb, None, what="rows")

    return await _beside(servers, "first-copy", load, peer_first)


Case = Callable[[Servers, bool, bool], Awaitable[dict[str, Any]]]
#: A case without a peer gives an answer without "peer".
CASES: dict[str, Case] = {
    "big-transaction": big_transaction,
    "latency": latency,
    "first-copy": first_copy,
    "mqtt": push.mqtt,
    "intake": push.intake,
}
NAMES = tuple(CASES)


async def _beside(
    servers: Servers,
    name: str,
    load: Callable[["Side"], Awaitable[dict[str, Any]]],
    peer_first: bool,
) -> dict[str, Any]:
    """``load`` through both sides, one after the other."""
    answers: dict[str, dict[str, Any]] = {}
    kinds: list[type[Process]] = [Levelsync, Debezium]
    for kind in reversed(kinds) if peer_first else kinds:
        who = "levelsync" if kind is Levelsync else "debezium"
        _say(name, f"{who} captures")
        folder = servers.folder / f"{name}-{who}"
        database = f"{name}-{who}".replace("-", "_")
        dsn = await servers.postgres.create(database)
        each = Side(servers, folder, dsn, kind)
        async with each:
            answers[who] = await load(each)
            _say(name, "comparing the copy")
            answers[who]["equal"] = await each.equal()
        await servers.clear()
    return {
        "case": name,
        "equal": all(each["equal"] for each in answers.values()),
        "levelsync": answers["levelsync"],
        "peer": {"name": "debezium", **answers["debezium"]},
    }


class Side:
    """One side's table, process and topic, as long as the block lasts."""

    def __init__(self, servers: Servers, folder: Path, dsn: str, kind: type[Process]) -> None:
        self.folder = folder
        self.dsn = dsn
        self._cluster = servers.cluster
        self._process = kind(folder, servers.bootstrap, dsn)
        self._topic = kind.topic
        self._parts = parts_of(kind.topic, PARTITIONS)
        self._connection = Connection(servers.cluster)

    async def __aenter__(self) -> "Side":
        self._office = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
        for each in MAKE:
            await self._office.execute(each.encode())
        await ensure(self._cluster, [Topic(self._topic, PARTITIONS, DATA)])
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._process.stop()
        await self._connection.close()
        await self._office.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = current_database() AND NOT active"
        )
        await self._office.close()

    async def start(self) -> None:
        """Start the process."""
        self._process.start()

    async def insert(self, numbers: range) -> None:
        """Insert these residents in one transaction, and have it committed."""
        async with self._office.cursor() as cursor, cursor.copy(f"COPY {TABLE} FROM STDIN") as copy:
            for block in blocks(numbers):
                await copy.write(block)

    @property
    def rss_mb(self) -> float:
        return peak_rss_mb(self._process.pid)

    def now(self) -> Sample:
        """A look at the process alone."""
        return Sample(time.monotonic(), cpu_s(self._process.pid), (0,) * PARTITIONS)

    async def streaming(self, rows: int) -> None:
        """Wait until ``rows`` of them are in the topic, however long the start takes."""
        deadline = time.monotonic() + 90
        while sum(map(len, await self.offsets())) < rows:
            self._look_after(deadline)
            await asyncio.sleep(0.1)

    async def arrived(self, rows: int) -> list[Sample]:
        """Look until all rows are in the topic; what was seen meanwhile.

        Raises NotStarted when the process ends, or is too slow.
        """
        samples: list[Sample] = []
        deadline = time.monotonic() + 90 + rows / _SLOWEST
        quiet_since, then = time.monotonic(), 0
        while True:
            ends = await self._connection.ends(self._parts)
            sample = self.now()._replace(ends=tuple(ends[part][1] for part in self._parts))
            samples.append(sample)
            total = sum(sample.ends)
            if total - then > _MARKS:
                quiet_since, then = sample.at, total
            if total >= rows and sample.at - quiet_since > _QUIET:
                if sum(map(len, await self.offsets())) >= rows:
                    return samples
                quiet_since = time.monotonic()
            self._look_after(deadline)
            await asyncio.sleep(_LOOK)

    async def watch(
        self, writer: Commits, warm: int, rows: int
    ) -> tuple[dict[str, float], Sample, Sample]:
        """Note when each row from now on arrived, by key, and how things stood after ``warm`` of them and
        after all."""
        seen: dict[bytes, float] = {}
        ends = await self._connection.ends(self._parts)
        wanted = {part: ends[part][1] for part in self._parts}
        begin: Sample | None = None
        deadline = time.monotonic() + 120
        ((node, _),) = (await self._connection.leaders(wanted)).items()
        while len(seen) < rows:
            answers = await self._connection.fetch(node, wanted)
            at = time.monotonic()
            for answer in answers:
                records, wanted[answer.part] = records_of(
                    answer.buffer, wanted[answer.part], answer.aborted
                )
                for record in records:
                    if _is_row(record):
                        seen.setdefault(record.key or b"", at)
            if begin is None and len(seen) >= warm:
                begin = self.now()._replace(ends=(len(seen),))
            self._look_after(deadline)
        end = self.now()._replace(ends=(len(seen),))
        while writer.made() is None:
            self._look_after(deadline)
            await asyncio.sleep(0.05)
        assert begin
        return {_key_of(key): at for key, at in seen.items()}, begin, end

    def _look_after(self, deadline: float) -> None:
        process = self._process
        if not process.alive or time.monotonic() > deadline:
            raise NotStarted(f"{process.name} does not copy:\n{process.tail()}")

    async def offsets(self) -> list[list[int]]:
        """The offsets of the rows in each partition, in order."""
        found: list[list[int]] = [[] for _ in self._parts]
        async for number, records in self._rows():
            found[number].extend(record.offset for record in records)
        return found

    async def equal(self) -> bool:
        """Is every row of the table once in the topic, and nothing else?"""
        copy = Sum()
        async for _, records in self._rows():
            for record in records:
                copy.add(line_of(_fields_of(record)))
        async with self._office.cursor() as cursor, cursor.copy(f"COPY {TABLE} TO STDOUT") as out:
            table = of_lines([bytes(piece) async for piece in out])
        return copy.value == table.value

    async def _rows(self) -> AsyncIterator[tuple[int, list[Record]]]:
        """What stands in the topic now but for levelsync's own records, by partition."""
        ends = await self._connection.ends(self._parts)
        ((node, _),) = (await self._connection.leaders(self._parts)).items()
        for part in self._parts:
            start = 0
            while start < ends[part][1]:
                (answer,) = await self._connection.fetch(node, {part: start})
                records, start = records_of(answer.buffer, start, answer.aborted)
                yield part[1], [record for record in records if _is_row(record)]


def _is_row(record: Record) -> bool:
    return header(record.headers, "ce_type") not in OWN


def _key_of(key: bytes) -> str:
    """The citizen number: alone with levelsync, in an object with Debezium."""
    return str(json.loads(key)[CONTRACT.key]) if key.startswith(b"{") else key.decode()


def _fields_of(record: Record) -> dict[str, Any]:
    """The row: alone with levelsync, as what is after the change with Debezium."""
    value = msgspec.json.decode(record.value or b"{}")
    found: dict[str, Any] = value.get("after", value)
    return found


def _say(case: str, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {case}: {what}", file=sys.stderr, flush=True)
