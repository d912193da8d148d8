"""What stands at the end of a partition: its last watermark, and what came after it."""

from collections.abc import Callable

import msgspec

from agents.base.statement import ZERO, Unproven, chained, event_chained, read
from agents.base.stream import Record
from agents.base.watermark import FENCE, TYPE, Watermark
from agents.kafka.messages import Part
from agents.kafka.reader import scan_batches
from agents.kafka.wire import Connection
from contracts.envelope import header

#: How far back the first look goes; each further look goes eight times as far.
_LOOK_BACK = 512


class End(msgspec.Struct):
    """What stands at the end of one partition.

    ``held`` are the ids after ``mark``; ``count`` the events after the *last* watermark, which the
    next one must include; ``offset`` is that of ``mark``, -1 without one; ``stop`` where the look
    began, in a copy its writer's own fence; ``stream`` is this life of the partition's, in all of its
    watermarks, empty when it has none.
    """

    mark: Watermark | None
    offset: int
    held: set[str]
    count: int
    stop: int = -1
    stream: str = ""
    #: Are offsets missing after ``mark``? Then compaction has been there, and ``held`` is not all.
    thinned: bool = False
    #: The chains up to the very end, from what the *last* watermark says on or from nothing, and since
    #: which watermark they are signed: the next where the last is not.
    batches: bytes = ZERO
    events: bytes = ZERO
    since: int = 1
    #: The producer that drew the last watermark, -1 before any, and those of the events after it.
    drew: int = -1
    writers: set[int] = set()
    #: Watermarks that were passed on the look back.
    marks: int = 0
    #: The newest sequence of each key after ``mark``.
    newest: dict[str, str] = {}


async def look_back(
    connection: Connection,
    part: Part,
    first: int,
    stop: int,
    enough: Callable[[Watermark], bool] = lambda mark: True,
) -> End:
    """Read ``part`` back from offset ``stop`` to the last watermark that is ``enough``.

    ``first`` is the partition's first offset. Raises Unavailable, Corrupt.
    """
    step = _LOOK_BACK
    while True:
        start = max(first, stop - step)
        end, following = End(None, -1, set(), 0, stop), start
        async for batch in scan_batches(connection, part, start, stop):
            events, marks = end.count, end.marks
            for record in batch.records(start):
                if record.offset >= stop:
                    break
                end.thinned |= record.offset != following
                following = record.offset + 1
                _enter(end, record, enough)
            if end.count > events:
                end.batches = chained(end.batches, batch.digest)
                end.writers.add(batch.producer)
            elif end.marks > marks:
                end.drew = batch.producer
                end.writers.clear()
        if end.mark is not None or start == first:
            return end
        step *= 8


def _enter(end: End, record: Record, enough: Callable[[Watermark], bool]) -> None:
    kind = header(record.headers, "ce_type")
    if kind == TYPE:
        end.count = 0
        end.marks += 1
        mark = msgspec.json.decode(record.value or b"", type=Watermark)
        _chain_on(end, mark)
        if enough(mark):
            end.mark, end.offset, end.stream = mark, record.offset, mark.stream
            end.held.clear()
            end.newest.clear()
            end.thinned = False
    elif kind != FENCE:
        end.count += 1
        end.events = event_chained(
            end.events, record.timestamp, record.key, record.value, record.headers
        )
        end.held.add((header(record.headers, "ce_id") or b"").decode())
        # A dead letter's Kafka key is its own.
        key = header(record.headers, "ce_subject") or record.key or b""
        end.newest[key.decode()] = (header(record.headers, "ce_sequence") or b"").decode()


def _chain_on(end: End, mark: Watermark) -> None:
    """The chains go on from ``mark``."""
    end.batches, end.events, end.since = ZERO, ZERO, mark.number + 1
    if mark.seal:
        try:
            said = read(mark.seal)
        except Unproven:
            return
        end.batches, end.events, end.since = said.batches, said.events or ZERO, said.since
