"""Bytes of a fetch answer become records, and nothing that was aborted or is only for brokers."""

import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from agents.kafka.batches import records_of


def batch(base: int, count: int, *, producer: int = -1, transactional: bool = False) -> bytes:
    """A v2 batch of ``count`` records from offset ``base``."""
    builder = DefaultRecordBatchBuilder(2, 0, transactional, producer, 0, 0, 1 << 20)
    for number in range(count):
        builder.append(
            number, timestamp=1000 + number, key=b"k%d" % (base + number), value=None,
            headers=[("ce_id", b"%d" % (base + number))],
        )  # fmt: skip
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def control(base: int, producer: int, *, commit: bool) -> bytes:
    """The marker that ends a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, True, producer, 0, 0, 1 << 20)
    builder.append(0, timestamp=0, key=struct.pack(">hh", 0, commit), value=b"\0" * 6, headers=[])
    raw = bytearray(struct.pack(">q", base) + bytes(builder.build())[8:])
    raw[22] |= 0x20  # attributes, low byte: control
    raw[17:21] = struct.pack(">I", calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


def offsets(buffer: bytes, start: int, aborted: list[tuple[int, int]] | None = None) -> list[int]:
    return [record.offset for record in records_of(buffer, start, aborted)[0]]


def test_records_come_as_they_are_from_the_offset_asked_for() -> None:
    buffer = batch(10, 3) + batch(13, 2)
    records, following = records_of(buffer, 11)
    assert [record.offset for record in records] == [11, 12, 13, 14]
    assert following == 15
    assert records[0].timestamp == 1001
    assert (records[0].key, records[0].value) == (b"k11", None)
    assert records[0].headers == [("ce_id", b"11")]


def test_a_batch_cut_at_the_end_is_left_for_the_next_fetch() -> None:
    whole = batch(0, 3)
    for cut in range(len(batch(3, 3))):
        records, following = records_of(whole + batch(3, 3)[:cut], 0)
        assert len(records) == 3
        assert following == 3


def test_nothing_is_found_in_nothing() -> None:
    assert records_of(b"", 7) == ([], 7)


def test_what_was_aborted_and_what_is_a_marker_is_left_out() -> None:
    buffer = (
        batch(0, 2)
        + batch(2, 2, producer=7, transactional=True)
        + batch(4, 1, producer=8, transactional=True)
        + control(5, 7, commit=False)
        + batch(6, 1, producer=7, transactional=True)
        + control(7, 7, commit=True)
        + control(8, 8, commit=True)
    )
    assert offsets(buffer, 0, [(7, 2)]) == [0, 1, 4, 6]
    assert records_of(buffer, 0, [(7, 2)])[1] == 9, "markers are passed over"


@pytest.mark.parametrize("start", [0, 2])
def test_offsets_compaction_left_out_are_no_problem(start: int) -> None:
    buffer = batch(0, 1) + batch(5, 2)
    assert offsets(buffer, start) == [offset for offset in (0, 5, 6) if offset >= start]
