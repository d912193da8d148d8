"""levelsync's relay beside MirrorMaker 2: one hop between two real brokers, the same data.

A case fills a topic on the upper broker; then each side, in a process of its own and alone, copies it to
the lower one; then both copies are read and compared with what was written. Whoever goes first changes
from case to case. How speed is measured says :mod:`tests.bench.copying`, how latency
:mod:`tests.bench.latency`.
"""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from aiokafka.admin import AIOKafkaAdminClient

from agents.demo.guard import Guard
from agents.demo.servers import KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from agents.kafka.topics import DATA, Topic, ensure
from tests.agents.base.keys import Signs, private_text
from tests.bench import latency, mirror
from tests.bench.copying import follow
from tests.bench.figures import pace, side
from tests.bench.hop import HopProcess
from tests.bench.latency import Load, Loader
from tests.bench.mirror import MirrorMaker
from tests.bench.records import INSIDE, Digest, Filling, Written, fill, read
from tests.bench.usage import machine
from tests.live.hop import Signed

PARTITIONS = 3
BROKER_HEAP_MB = 1024
_BROKER = (*(each for each in mirror.JAVA if not each.startswith("-Xmx")), f"-Xmx{BROKER_HEAP_MB}m")
_ZSTD = 4
#: The slowest copy that is still waited for, records and bytes a second.
_SLOWEST = (1_000, 2_000_000)


class Case(msgspec.Struct, frozen=True):
    """A topic to be copied, in full and for ``--quick``, or a load to be passed through."""

    filling: Filling | None = None
    quick: int = 0
    load: tuple[Load, Load] | None = None
    scope: str | None = None
    compression: str = "none"
    #: Is levelsync compared with itself: signing and verifying, and neither?
    signed: bool = False
    note: str = ""


_SIGNED = (
    "levelsync beside itself: a signed topic with a watermark every 20,000 records, copied by a hop that"
    " verifies it and signs its copy, and by one that does neither."
)
#: 128 KB batches are what a producer tuned for throughput makes (batch.size, some linger).
CASES = {
    "full-batches": Case(Filling(1_500_000, 285), 200_000),
    "small-batches": Case(Filling(300_000, 285, together=3), 60_000),
    "tiny-records": Case(Filling(2_000_000, 100), 200_000),
    "large-records": Case(Filling(60_000, 10_240), 10_000),
    "zstd": Case(Filling(1_500_000, 285, codec=_ZSTD), 200_000, compression="zstd"),
    "latency": Case(load=(Load(1_000, 15.0, 30.0), Load(1_000, 1.0, 2.0))),
    "view": Case(
        Filling(600_000, 285, full=True),
        80_000,
        scope=INSIDE,
        note="records/s are those read. MirrorMaker 2 copies everything: Connect's Filter can ask "
        "whether a record has a header (HasHeaderKey), not what stands in it, so it cannot make "
        "this view out of the box. levelsync reads all and passes on the half in scope.",
    ),
    "signed": Case(Filling(1_500_000, 285), 200_000, signed=True, note=_SIGNED),
    "signed-small-batches": Case(
        Filling(300_000, 285, together=3), 60_000, signed=True, note=_SIGNED
    ),
    "signed-view": Case(
        Filling(600_000, 285, full=True), 80_000, scope=INSIDE, signed=True, note=_SIGNED
    ),
}
NAMES = tuple(CASES)
#: What ``--quick`` has time for: a MirrorMaker 2 needs some fifteen CPU-seconds to start, in each case.
QUICK = ("full-batches", "small-batches", "latency")

Process = HopProcess | MirrorMaker


async def run(cases: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the named cases, or all, and give the answer. Raises NotStarted, NotInstalled."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    described = machine() | {
        "partitions": PARTITIONS,
        "broker_heap_mb": BROKER_HEAP_MB,
        "mirrormaker2_heap_mb": mirror.HEAP_MB,
    }
    names = cases or (QUICK if quick else NAMES)
    if not all(CASES[name].signed for name in names):
        mirror.libs()
    found = []
    async with _brokers(quick) as bench:
        for number, name in enumerate(names):
            found.append(await bench.case(name, CASES[name], quick, peer_first=number % 2 == 0))
    return {"bench": "relay", "quick": quick, "machine": described, "cases": found}


@contextlib.asynccontextmanager
async def _brokers(quick: bool) -> AsyncIterator["_Bench"]:
    folder = Path(tempfile.mkdtemp(prefix="levelsync-bench-"))
    Guard.of_this_process().sweep(folder)
    servers = [
        KafkaServer(folder / name, port, f"kafka-{name}", java=_BROKER)
        for name, port in zip(("up", "down"), free_ports(2), strict=True)
    ]
    try:
        await asyncio.gather(*(server.start() for server in servers))
        up, down = (Cluster(server.bootstrap) for server in servers)
        bench = _Bench(folder, up, down)
        await bench.warm_up(20_000 if quick else 400_000)
        yield bench
    finally:
        await asyncio.gather(*(server.kill() for server in servers))
        shutil.rmtree(folder, ignore_errors=True)


class _Side(NamedTuple):
    """One process that copies, where to, and what must be there."""

    name: str
    make: Callable[[str], Process]
    target: str
    expected: Callable[[Written], list[Digest]]


class _Bench:
    """Two brokers, and cases run between them."""

    def __init__(self, folder: Path, up: Cluster, down: Cluster) -> None:
        self._folder = folder
        #: Who writes the topics that are signed.
        self.province = Signs("37")
        self._up = up
        self._down = down

    async def warm_up(self, records: int) -> None:
        """Write to both brokers and read, so that neither side meets them cold."""
        for cluster in (self._up, self._down):
            await _make(cluster, "warm-up")
            await fill(cluster, "warm-up", PARTITIONS, Filling(records, 285))
            await read(cluster.bootstrap, "warm-up", PARTITIONS)
            await _remove(cluster, "warm-up")

    async def case(self, name: str, case: Case, quick: bool, *, peer_first: bool) -> dict[str, Any]:
        """Run one case on both sides."""
        answer: dict[str, Any] = {"case": name}
        topic = f"relay-{name}"
        sides = self._sides(name, case, topic)
        if peer_first:
            sides.reverse()
        answers = await (
            self._throughput(case.filling, case.quick, quick, topic, sides)
            if case.filling
            else self._latency(case, quick, topic, sides)
        )
        answer["equal"] = all(each["equal"] for each in answers.values())
        answer["levelsync"] = answers.pop("levelsync")
        ((peer, figures),) = answers.items()
        answer["peer"] = {"name": peer, **figures}
        if case.note:
            answer["note"] = case.note
        return answer

    def _sides(self, name: str, case: Case, topic: str) -> list[_Side]:
        up, down = self._up.bootstrap, self._down.bootstrap
        folder = self._folder / name
        if case.signed:
            return self._signing(folder, case)
        return [
            _Side(
                "levelsync",
                lambda topic: HopProcess(folder, up, down, topic, PARTITIONS, case.scope),
                HopProcess.target(topic),
                lambda written: written.inside if case.scope else written.all,
            ),
            _Side(
                "mirrormaker2",
                lambda topic: MirrorMaker(folder, up, down, topic, PARTITIONS, case.compression),
                MirrorMaker.target(topic),
                lambda written: written.all,
            ),
        ]

    def _signing(self, folder: Path, case: Case) -> list[_Side]:
        up, down = self._up.bootstrap, self._down.bootstrap
        city = Signs("3701")
        assert city.key
        trust: dict[str, tuple[str, ...]] = {"37": (self.province.public,), "3701": (city.public,)}
        signed = Signed("3701", private_text(city.key), trust, holder="37")

        def side(name: str, how: Signed | None) -> _Side:
            def make(topic: str) -> HopProcess:
                return HopProcess(folder / name, up, down, topic, PARTITIONS, case.scope, how)

            return _Side(
                name, make, HopProcess.target(f"relay-{folder.name}"),
                lambda written: written.inside if case.scope else written.all,
            )  # fmt: skip

        return [side("levelsync", signed), side("levelsync-unsigned", None)]

    async def _throughput(
        self, filling: Filling, few: int, quick: bool, topic: str, sides: list[_Side]
    ) -> dict[str, dict[str, Any]]:
        if quick:
            filling = msgspec.structs.replace(filling, records=few)
        _say(topic, "filling the topic")
        await _make(self._up, topic)
        signer = self.province if any("unsigned" in each.name for each in sides) else None
        written = await fill(self._up, topic, PARTITIONS, filling, signer)
        patience = 90 + max(
            filling.records / _SLOWEST[0], filling.records * filling.size / _SLOWEST[1]
        )
        answers = {}
        for each in sides:
            _say(topic, f"{each.name} copies {written.count:,} records")
            await _make(self._down, each.target)
            process = each.make(topic)
            expected = each.expected(written)
            try:
                process.start()
                course = await follow(
                    process, self._down, each.target, [mine.last for mine in expected], patience
                )
            finally:
                await process.stop()
            _say(topic, "comparing the copy")
            copy = await read(self._down.bootstrap, each.target, PARTITIONS)
            equal = [mine.value for mine in copy] == [mine.value for mine in expected]
            speed = pace(course.samples, [mine.offsets for mine in copy])
            read_of_each = written.count / sum(mine.count for mine in expected)
            speed = speed._replace(records=round(speed.records * read_of_each))
            answers[each.name] = {**side(speed, course.rss_mb, None), "equal": equal}
            await _remove(self._down, each.target)
        await _remove(self._up, topic)
        return answers

    async def _latency(
        self, case: Case, quick: bool, topic: str, sides: list[_Side]
    ) -> dict[str, dict[str, Any]]:
        assert case.load
        load = case.load[quick]
        answers = {}
        for each in sides:
            _say(topic, f"{each.name} passes on {load.rate:,} records a second")
            await _make(self._up, topic)
            await _make(self._down, each.target)
            process = each.make(topic)
            loader = Loader(self._folder, self._up.bootstrap, topic, PARTITIONS, load)
            try:
                process.start()
                result = await latency.measure(
                    process, loader, (self._up, topic), (self._down, each.target), PARTITIONS, load
                )
            finally:
                await process.stop()
            source = await read(self._up.bootstrap, topic, PARTITIONS)
            copy = await read(self._down.bootstrap, each.target, PARTITIONS)
            equal = [mine.value for mine in copy] == [mine.value for mine in source]
            answers[each.name] = {
                **side(result.pace, result.rss_mb, result.latencies), "equal": equal
            }  # fmt: skip
            await _remove(self._down, each.target)
            await _remove(self._up, topic)
        return answers


def _say(topic: str, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {topic}: {what}", file=sys.stderr, flush=True)


async def _make(cluster: Cluster, topic: str) -> None:
    await ensure(cluster, [Topic(topic, PARTITIONS, DATA)])


async def _remove(cluster: Cluster, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
