"""How fast a full topic is copied, and at what cost.

The topic is full before the copying process starts. Meanwhile, from outside and alike for every
process, the ends of the target's partitions as committed readers see them are asked for some forty
times a second, each time with the process's CPU clock. Afterwards the copy is read, so that every
end is known as a number of records, and the figures go from the first look at which a fifth of all
records was readable to the first at which all were.

Why so: data written while the copy runs would have its producer compete for the processor, and a
process started on nothing tells nobody when its start is over. The first fifth pays for the start:
connecting, the first metadata, a JVM's loading and much of its compiling. What a process has read ahead
at that moment is the one thing wrongly left out; it is bounded by a few megabytes on either side, which
a full run makes small. ``cpu_s_with_start`` is the whole, nothing left out.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from agents.demo.servers import NotStarted, Server
from agents.kafka.batches import records_of
from agents.kafka.cluster import Cluster
from agents.kafka.messages import Part
from agents.kafka.wire import Connection
from contracts.envelope import header
from tests.bench.figures import Sample
from tests.bench.records import OWN, parts_of
from tests.bench.usage import cpu_s, peak_rss_mb

#: Seconds between two looks.
_LOOK = 0.025
#: Seconds without anything new after which it is worth looking whether that was all.
_QUIET = 0.2
#: Behind a last record stand a transaction's marker, or a watermark.
_BEHIND = 8


class Course(msgspec.Struct):
    """How a copy went."""

    samples: list[Sample]
    rss_mb: float


async def follow(
    process: Server, below: Cluster, target: str, last: Sequence[bytes], seconds: float
) -> Course:
    """Watch a copy until the ``last`` key of each partition is readable, empty for none.

    Raises NotStarted when the process ends, or has not copied all after ``seconds``.
    """
    parts = parts_of(target, len(last))
    samples: list[Sample] = []
    deadline = time.monotonic() + seconds
    moved = time.monotonic()
    async with Connection(below) as connection:
        while True:
            if not process.alive:
                raise NotStarted(f"{process.name} ended while copying:\n{process.tail()}")
            ends = await connection.ends(parts)
            sample = Sample(
                time.monotonic(), cpu_s(process.pid), tuple(ends[part][1] for part in parts)
            )
            if samples and sample.ends == samples[-1].ends:
                if sample.at - moved > _QUIET:
                    if await _complete(
                        connection, dict(zip(parts, sample.ends, strict=True)), last
                    ):
                        break
                    moved = sample.at
            else:
                moved = sample.at
            samples.append(sample)
            if sample.at > deadline:
                raise NotStarted(
                    f"{process.name} has not copied all in {seconds:.0f} s, ends at "
                    f"{sample.ends}:\n{process.tail()}"
                )
            await asyncio.sleep(_LOOK)
    return Course(samples, peak_rss_mb(process.pid))


async def _complete(connection: Connection, ends: dict[Part, int], last: Sequence[bytes]) -> bool:
    for (part, end), key in zip(ends.items(), last, strict=True):
        if key and (end == 0 or await _last_key(connection, part, end) != key):
            return False
    return True


async def _last_key(connection: Connection, part: Part, end: int) -> bytes | None:
    start, found = max(end - _BEHIND, 0), None
    ((node, _),) = (await connection.leaders([part])).items()
    while start < end:
        (answer,) = await connection.fetch(node, {part: start})
        records, following = records_of(answer.buffer, start, answer.aborted)
        for record in records:
            if header(record.headers, "ce_type") not in OWN:
                found = record.key
        if following <= start:
            break
        start = following
    return found
