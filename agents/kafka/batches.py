"""Record batches, format v2: bytes → records. Knows no sockets.

Follows https://kafka.apache.org/documentation/#recordbatch. What a transaction aborted and what
only brokers write is left out, as for any reader of committed data.
"""

from collections.abc import Iterable

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from agents.base.stream import Record


def records_of(
    buffer: bytes, start: int, aborted: Iterable[tuple[int, int]] | None = None
) -> tuple[list[Record], int]:
    """The records at or after offset ``start``, and the offset after all that was looked at.

    ``buffer`` is a fetch answer for one partition, its last batch perhaps cut; ``aborted`` are
    pairs of producer id and first offset, as the answer lists them.
    """
    records: list[Record] = []
    following = start
    waiting = sorted(aborted or (), key=lambda entry: entry[1])
    dead: set[int] = set()
    batches = MemoryRecords(buffer)
    while batches.has_next():
        batch = batches.next_batch()
        following = max(following, batch.next_offset)
        while waiting and waiting[0][1] <= batch.base_offset:
            dead.add(waiting.pop(0)[0])
        if batch.is_control_batch:
            if ControlRecord.parse(next(batch).key) == ABORT_MARKER:
                dead.discard(batch.producer_id)
            continue
        if batch.is_transactional and batch.producer_id in dead:
            continue
        records.extend(
            Record(record.offset, record.timestamp, record.key, record.value, record.headers)
            for record in batch
            if record.offset >= start
        )
    return records, following
