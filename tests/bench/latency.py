"""How much later a record is readable behind a hop than before it.

A process of its own writes one record at a time, each in a batch of its own, at a steady rate to the
upstream topic. Here two equal consumers wait in long polls (committed data only), one at the topic,
one at its copy, and note for each record the monotonic time at which the answer with it came in. The
latency added to a record is the difference of the two: what the producer, the upstream broker and a
consumer cost anybody stands on both sides and falls out, what the hop and the target's broker cost
stays in. The consumers are bare fetch requests, because two of aiokafka's own need more than a core for a
thousand answers a second each, and would measure the queue before themselves.

The load starts once the hop has copied a first record of each partition, and its first seconds are
left out.
"""

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import msgspec

from agents.demo.servers import NotStarted, Server
from agents.kafka.batches import Builder, records_of, sealed
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection
from contracts.envelope import header
from tests.bench.figures import Pace, added_ms
from tests.bench.records import OWN, full, parts_of
from tests.bench.usage import cpu_s, peak_rss_mb

#: Bytes of a record's value.
_SIZE = 285


class Load(msgspec.Struct, frozen=True):
    """Records a second, and for how many seconds: first not counted, then counted."""

    rate: int
    warm_s: float
    seconds: float

    @property
    def warm(self) -> int:
        return int(self.rate * self.warm_s)

    @property
    def count(self) -> int:
        return self.warm + int(self.rate * self.seconds)


class Result(msgspec.Struct):
    pace: Pace
    rss_mb: float
    latencies: list[float]


class Loader(Server):
    """The process that writes."""

    def __init__(
        self, folder: Path, bootstrap: str, topic: str, partitions: int, load: Load
    ) -> None:
        super().__init__("load", folder)
        self._arguments = [bootstrap, topic, str(partitions), str(load.rate), str(load.count)]

    def start(self) -> None:
        self._spawn([sys.executable, "-m", "tests.bench.latency", *self._arguments])


async def measure(
    process: Server, loader: Loader, above: tuple[Cluster, str], below: tuple[Cluster, str],
    partitions: int, load: Load,
) -> Result:  # fmt: skip
    """Run ``load`` through ``process``, which has been started.

    Raises NotStarted when the process does not copy what was written.
    """
    seen: tuple[dict[int, float], dict[int, float]] = ({}, {})
    watching = [
        asyncio.create_task(_watch(cluster, topic, partitions, mine), name=f"watch-{topic}")
        for (cluster, topic), mine in zip((above, below), seen, strict=True)
    ]
    try:
        first = set(range(-partitions, 0))
        await _write(above[0], above[1], partitions, sorted(first), 0)
        await _until(process, watching, lambda: first <= seen[1].keys(), 90.0)
        loader.start()
        last_warm, last = load.warm - 1, load.count - 1
        await _until(process, watching, lambda: last_warm in seen[1], load.warm_s + 30)
        cpu = cpu_s(process.pid)
        await _until(
            process,
            watching,
            lambda: last in seen[1] and len(seen[0]) == len(seen[1]),
            load.seconds + 30,
        )
        total = cpu_s(process.pid)
        rss = peak_rss_mb(process.pid)
    finally:
        await loader.stop()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    counted = [{number: at for number, at in mine.items() if number >= load.warm} for mine in seen]
    took = max(counted[1].values()) - min(counted[1].values())
    return Result(Pace(len(counted[1]), took, total - cpu, total), rss, added_ms(*counted))


async def _until(
    process: Server, watching: list["asyncio.Task[None]"], question: object, seconds: float
) -> None:
    assert callable(question)
    deadline = time.monotonic() + seconds
    while not question():
        for task in watching:
            if task.done():
                task.result()
        if not process.alive or time.monotonic() > deadline:
            raise NotStarted(f"{process.name} does not copy:\n{process.tail()}")
        await asyncio.sleep(0.02)


async def _watch(cluster: Cluster, topic: str, partitions: int, seen: dict[int, float]) -> None:
    """Note when each record was readable."""
    wanted = dict.fromkeys(parts_of(topic, partitions), 0)
    async with Connection(cluster) as connection:
        ((node, _),) = (await connection.leaders(wanted)).items()
        while True:
            answers = await connection.fetch(node, wanted)
            at = time.monotonic()
            for answer in answers:
                records, wanted[answer.part] = records_of(
                    answer.buffer, wanted[answer.part], answer.aborted
                )
                for record in records:
                    if header(record.headers, "ce_type") not in OWN:
                        name = header(record.headers, "ce_id") or b""
                        seen.setdefault(int(name.rpartition(b"/")[2]), at)


async def _write(
    cluster: Cluster, topic: str, partitions: int, numbers: list[int], rate: int
) -> None:
    """Write records one at a time, ``rate`` a second, 0 for as fast as answers come."""
    parts = parts_of(topic, partitions)
    now = int(time.time() * 1000)
    under_way: set[asyncio.Task[object]] = set()
    async with Connection(cluster) as connection:
        ((node, _),) = (await connection.leaders(parts)).items()
        await connection.reach([node])
        began = time.monotonic()
        for sent, number in enumerate(numbers):
            record = full(number, _SIZE, now)
            builder = Builder(16 * 1024)
            builder.append(record.key, record.value, record.headers, record.timestamp)
            request = {parts[number % partitions]: sealed(builder.build(), -1, -1, -1)}
            task: asyncio.Task[object] = asyncio.create_task(
                connection.produce(node, request), name="load"
            )
            under_way.add(task)
            for done in [each for each in under_way if each.done()]:
                under_way.discard(done)
                done.result()
            if not rate:
                await task
            elif (early := began + (sent + 1) / rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            else:
                await asyncio.sleep(0)
        await asyncio.gather(*under_way)


if __name__ == "__main__":
    bootstrap, topic_, partitions_, rate_, count = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            _write(
                Cluster(bootstrap), topic_, int(partitions_), list(range(int(count))), int(rate_)
            )
        )
