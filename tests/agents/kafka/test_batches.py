"""Bytes of a fetch answer become records, and nothing that was aborted or is only for brokers."""

import random
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from hypothesis import given
from hypothesis import strategies as st

from agents.base.errors import Corrupt
from agents.base.stream import Record
from agents.kafka import batches
from agents.kafka.batches import HEADER_BYTES, committed, records_of, split
from tests.agents.kafka import assembled
from tests.agents.kafka.assembled import (
    CONTROL,
    DELETE_HORIZON,
    LOG_APPEND_TIME,
    TRANSACTIONAL,
    crc32c,
    marker,
    record,
    varint,
)

#: Two records from offset 1234 on, of the transactional producer 4001 in its third epoch; written
#: out field by field, as the specification lists them.
GOLDEN = bytes.fromhex(
    "00000000000004d2"  # base offset
    "00000050"  # length of what follows
    "00000007"  # partition leader epoch
    "02"  # magic
    "8ce24106"  # CRC-32C of what follows
    "0010"  # attributes: transactional
    "00000001"  # last offset delta
    "0000018bcfe56805"  # base timestamp
    "0000018bcfe56805"  # max timestamp
    "0000000000000fa1"  # producer id
    "0003"  # producer epoch
    "00000063"  # base sequence
    "00000002"  # records
    "2e 00 00 00"  # 23 bytes: attributes, timestamp delta, offset delta
    "06 6b6579 0a 76616c7565"  # key, value
    "06 02 68 02 76 02 68 01 00 00"  # three headers: h=v, h without a value, an empty one
    "0c 00 09 02 01 01 00"  # 6 bytes: 5 ms earlier, the next offset, no key, no value, no headers
)
#: Producer 4001 gives its transaction up.
GOLDEN_ABORT = bytes.fromhex(
    "00000000000004d4 00000042 ffffffff 02 06cf41c6 0030 00000000"
    "0000000000000000 0000000000000000 0000000000000fa1 0000 ffffffff 00000001"
    "20 00 00 00 08 0000 0000 0c 0000 00000000 00"
)

ENCODE = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
CODECS = pytest.mark.parametrize(
    "codec", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"]
)


def batch(
    base: int, count: int, *, producer: int = -1, transactional: bool = False, codec: int = 0
) -> bytes:
    """A batch of ``count`` records from offset ``base``."""
    payload = b"".join(
        record(number, number, b"k%d" % (base + number), None, [("ce_id", b"%d" % (base + number))])
        for number in range(count)
    )
    return assembled.batch(
        ENCODE[codec](payload) if codec else payload,
        count,
        base=base,
        attributes=codec | (TRANSACTIONAL if transactional else 0),
        base_time=1000,
        max_time=999 + count,
        producer=producer,
    )


def offsets(buffer: bytes, start: int, aborted: list[tuple[int, int]] | None = None) -> list[int]:
    return [record.offset for record in records_of(buffer, start, aborted)[0]]


def test_bytes_are_read_as_the_specification_says() -> None:
    """Golden bytes; the check value is that of CRC-32/ISCSI in every catalogue of CRCs."""
    assert crc32c(b"123456789") == 0xE3069283
    (found,) = split(GOLDEN)
    assert (found.base, found.next, found.count, found.producer) == (1234, 1236, 2, 4001)
    assert (found.base_time, found.max_time) == (1_700_000_000_005, 1_700_000_000_005)
    assert (found.attributes, found.codec, found.crc) == (TRANSACTIONAL, 0, 0x8CE24106)
    headers = [("h", b"v"), ("h", None), ("", b"")]
    assert found.records() == [
        (1234, 1_700_000_000_005, b"key", b"value", headers),
        (1235, 1_700_000_000_000, None, None, []),
    ]
    assert records_of(GOLDEN + GOLDEN_ABORT, 0) == (found.records(), 1237)
    assert records_of(GOLDEN + GOLDEN_ABORT, 0, [(4001, 1234)]) == ([], 1237)


def test_what_is_assembled_here_is_what_is_golden() -> None:
    headers = [("h", b"v"), ("h", None), ("", b"")]
    payload = record(0, 0, b"key", b"value", headers) + record(1, -5)
    time = 1_700_000_000_005
    assert (
        assembled.batch(
            payload, 2, base=1234, leader_epoch=7, attributes=TRANSACTIONAL, base_time=time,
            max_time=time, producer=4001, epoch=3, sequence=99,
        )
        == GOLDEN
    )  # fmt: skip
    assert marker(1236, 4001, commit=False) == GOLDEN_ABORT


def test_records_come_as_they_are_from_the_offset_asked_for() -> None:
    buffer = batch(10, 3) + batch(13, 2)
    records, following = records_of(buffer, 11)
    assert [record.offset for record in records] == [11, 12, 13, 14]
    assert following == 15
    assert records[0].timestamp == 1001
    assert (records[0].key, records[0].value) == (b"k11", None)
    assert records[0].headers == [("ce_id", b"11")]


@CODECS
def test_a_compressed_batch_is_read_like_any_other(codec: int) -> None:
    buffer = batch(10, 300, codec=codec) + batch(310, 1, codec=codec)
    assert split(buffer)[0].codec == codec
    assert records_of(buffer, 11) == records_of(batch(10, 300) + batch(310, 1), 11)


def test_a_batch_that_begins_before_the_start_is_given_out_once_whole() -> None:
    buffer = batch(0, 4) + batch(4, 4)
    for start in range(9):
        found = committed(buffer, start)
        assert [one.base for one in found.batches] == [base for base in (0, 4) if base + 4 > start]
        assert offsets(buffer, start) == list(range(start, 8))
        assert found.next == 8


def test_a_batch_cut_at_the_end_is_left_for_the_next_fetch() -> None:
    whole = batch(0, 3)
    for cut in range(len(batch(3, 3))):
        records, following = records_of(whole + batch(3, 3)[:cut], 0)
        assert len(records) == 3
        assert following == 3


def test_nothing_is_found_in_nothing() -> None:
    assert records_of(b"", 7) == ([], 7)


def test_an_answer_without_one_whole_batch_is_corrupt() -> None:
    """A broker gives at least one, however large: asking again would go on forever.

    Red when ``committed`` takes it for one that was cut: tried.
    """
    whole = batch(7, 3)
    for cut in range(1, len(whole)):
        with pytest.raises(Corrupt):
            records_of(whole[:cut], 7)


def test_what_was_aborted_and_what_is_a_marker_is_left_out() -> None:
    buffer = (
        batch(0, 2)
        + batch(2, 2, producer=7, transactional=True)
        + batch(4, 1, producer=8, transactional=True)
        + marker(5, 7, commit=False)
        + batch(6, 1, producer=7, transactional=True)
        + marker(7, 7, commit=True)
        + marker(8, 8, commit=True)
    )
    assert offsets(buffer, 0, [(7, 2)]) == [0, 1, 4, 6]
    assert records_of(buffer, 0, [(7, 2)])[1] == 9, "markers are passed over"


#: What producers do one after the other: (producer, records), 0 records for an end with that outcome.
STEPS = st.lists(
    st.tuples(st.sampled_from([-1, 7, 7, 8]), st.sampled_from([0, 0, 1, 2]), st.booleans()),
    max_size=30,
)


@given(steps=STEPS, data=st.data())
def test_readers_see_what_was_committed_and_only_that(
    steps: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    """Transactions of several producers in each other's way, read from any offset on, the list of
    what was aborted in any order.

    Red when an abort marker does not end its producer's ban, and when the ban begins one batch late:
    tried.
    """
    log: list[bytes] = []
    written: list[tuple[int, list[int]]] = []  # where each batch ends, and what is seen of it
    open_since: dict[int, int] = {}
    pending: dict[int, list[list[int]]] = {}
    aborted: list[tuple[int, int, int]] = []
    at = 0
    ends = [(producer, 0, True) for producer in (7, 8)]
    for producer, count, commit in [*steps, *ends]:
        if count:
            log.append(batch(at, count, producer=producer, transactional=producer > 0))
            seen = list(range(at, at + count))
            if producer > 0:
                open_since.setdefault(producer, at)
                pending.setdefault(producer, []).append(seen)
            at += count
            written.append((at, seen))
        elif producer > 0 and producer in open_since:
            log.append(marker(at, producer, commit=commit))
            began, mine = open_since.pop(producer), pending.pop(producer)
            if not commit:
                aborted.append((producer, began, at))
                for seen in mine:
                    seen.clear()
            at += 1
            written.append((at, []))
    start = data.draw(st.integers(0, at))
    first = next((number for number, (end, _) in enumerate(written) if end > start), len(log))
    listed = data.draw(
        st.permutations([(producer, began) for producer, began, end in aborted if end >= start])
    )
    expected = [offset for _, seen in written for offset in seen if offset >= start]
    records, following = records_of(b"".join(log[first:]), start, listed)
    assert [record.offset for record in records] == expected
    assert [record.key for record in records] == [b"k%d" % offset for offset in expected]
    assert following == at


@pytest.mark.parametrize(
    ("key", "aborts"),
    [
        (struct.pack(">hh", 0, 0), True),
        (struct.pack(">hhq", 1, 0, 5), True),
        (struct.pack(">hh", 0, 1), False),
        (struct.pack(">hh", 0, 3), False),
        (b"\0\0\0", False),
        (b"", False),
    ],
    ids=["abort", "abort in a later version", "commit", "leader change", "short", "empty"],
)
def test_only_an_abort_marker_ends_what_was_aborted(key: bytes, aborts: bool) -> None:
    """Red when any marker does, and with aiokafka's ``ControlRecord.parse``, for a later version and a short key: tried."""
    buffer = (
        batch(0, 1, producer=7, transactional=True)
        + marker(1, 7, commit=False, key=key)
        + batch(2, 1, producer=7, transactional=True)
    )
    assert offsets(buffer, 0, [(7, 0)]) == ([2] if aborts else [])


def test_a_marker_whose_record_or_key_is_gone_ends_nothing() -> None:
    """Compaction keeps the shell of a producer's last batch."""
    attributes = TRANSACTIONAL | CONTROL
    data = batch(0, 1, producer=7, transactional=True)
    for payload, count in ((b"", 0), (record(), 1)):
        gone = assembled.batch(
            payload, count, base=1, attributes=attributes, last_delta=0, producer=7
        )
        following = batch(2, 1, producer=7, transactional=True)
        assert records_of(data + gone + following, 0, [(7, 0)]) == ([], 3)


@pytest.mark.parametrize("start", [0, 2])
def test_offsets_compaction_left_out_are_no_problem(start: int) -> None:
    buffer = batch(0, 1) + batch(5, 2)
    assert offsets(buffer, start) == [offset for offset in (0, 5, 6) if offset >= start]


def test_a_thinned_batch_gives_what_is_left_and_the_offset_after_its_range() -> None:
    thinned = assembled.batch(record(1, key=b"a") + record(3, key=b"b"), 2, base=10, last_delta=5)
    assert offsets(thinned + batch(16, 1), 0) == [11, 13, 16]
    assert records_of(thinned, 0)[1] == 16
    emptied = assembled.batch(b"", 0, base=10, last_delta=5)
    assert committed(emptied, 10) == batches.Committed([], 16)


@pytest.mark.parametrize(
    ("attributes", "count", "last_delta", "whole"),
    [
        (0, 3, 2, True),
        (4, 3, 2, True),
        (TRANSACTIONAL | 1, 1, 0, True),
        (0, 2, 2, False),
        (0, 0, 0, False),
        (0, 0, 2, False),
        (0, 3, 1, False),
        (LOG_APPEND_TIME, 3, 2, False),
        (DELETE_HORIZON, 3, 2, False),
        (TRANSACTIONAL | CONTROL, 1, 0, False),
        (0x80, 3, 2, False),
        (-0x8000, 3, 2, False),
    ],
    ids=[
        "plain", "zstd", "transactional", "gap", "empty", "emptied", "more records than offsets",
        "the broker's time", "delete horizon", "control", "a bit of the future", "the last bit",
    ],
)  # fmt: skip
def test_only_what_means_the_same_anywhere_is_passed_on_whole(
    attributes: int, count: int, last_delta: int, whole: bool
) -> None:
    """Red for each attribute added to ``_PORTABLE``, and without the counts: tried."""
    raw = assembled.batch(b"", count, attributes=attributes, last_delta=last_delta)
    assert split(raw)[0].whole is whole


def test_times_are_the_brokers_where_the_topic_says_so() -> None:
    payload = record(0, 0) + record(1, 7)
    raw = assembled.batch(payload, 2, attributes=LOG_APPEND_TIME, base_time=5, max_time=9000)
    assert [record.timestamp for record in records_of(raw, 0)[0]] == [9000, 9000]


def test_times_count_from_the_delete_horizon_where_there_is_one() -> None:
    """It stands where the first time stood, and the records' deltas are moved accordingly."""
    payload = record(0, -8000, b"k", None) + record(1, -7990, b"k", None)
    raw = assembled.batch(payload, 2, attributes=DELETE_HORIZON, base_time=9000, max_time=1010)
    assert [record.timestamp for record in records_of(raw, 0)[0]] == [1000, 1010]


def test_a_record_without_a_time_has_none() -> None:
    """Nor does it get the time of the one after it."""
    raw = assembled.batch(record(0, 0) + record(1, 6), 2, base_time=-1, max_time=5)
    assert [record.timestamp for record in records_of(raw, 0)[0]] == [-1, 5]


# ---- damage ------------------------------------------------------------------------------------


def test_every_flipped_bit_is_seen_or_does_no_harm() -> None:
    """Each bit of an answer of five batches, the first begun before the start, one aborted.

    Not under the checksum are base offsets, of which only the order can be checked, lengths, with
    which a batch may look cut, and leader epochs, which nobody reads. Red when ``committed`` does
    not verify what it leaves out: tried, for each of the two places.
    """
    pieces = [
        batch(0, 3),
        batch(3, 2, producer=7, transactional=True),
        marker(5, 7, commit=False),
        batch(6, 2, producer=7, transactional=True, codec=4),
        batch(8, 1),
    ]
    starts = [sum(map(len, pieces[:number])) for number in range(len(pieces))]
    buffer = b"".join(pieces)
    right, following = records_of(buffer, 1, [(7, 3)])
    assert [record.offset for record in right] == [1, 2, 6, 7, 8]
    for bit in range(8 * len(buffer)):
        damaged = bytearray(buffer)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            records, reached = records_of(bytes(damaged), 1, [(7, 3)])
        except Corrupt:
            continue
        field = bit // 8 - max(start for start in starts if start <= bit // 8)
        assert field < 16, f"bit {bit} went unseen"
        if field >= 12:
            assert (records, reached) == (right, following)
        elif field >= 8:
            assert records == right[: len(records)]
            assert [one.offset for one in right if one.offset < reached] == [
                one.offset for one in records
            ]
        else:
            found = [one.offset for one in records]
            assert found == sorted(found)


@given(st.binary(max_size=300), st.integers(0, 1 << 40))
def test_bytes_that_are_no_batches_are_corrupt(buffer: bytes, start: int) -> None:
    if buffer:
        with pytest.raises(Corrupt):
            records_of(buffer, start)


def test_offsets_that_do_not_go_up_are_corrupt() -> None:
    """Offsets are not under the checksum. Red without the check in ``split``: tried."""
    for later in (0, 2):
        with pytest.raises(Corrupt):
            records_of(batch(0, 3) + batch(later, 3), 0)
    for base in (-1, -(1 << 63), (1 << 63) - 3, (1 << 63) - 1):
        with pytest.raises(Corrupt):
            records_of(batch(base, 3), 0)


def signed(payload: bytes, codec: int, count: int) -> bytes:
    return assembled.batch(payload, count, attributes=codec)


def tampered(payload: bytes, chance: random.Random) -> bytes:
    changed = bytearray(payload)
    for _ in range(chance.choice((1, 1, 1, 3))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = chance.randbytes(1)
            case 1:
                changed[at : at + 1] = b"\xff" * chance.randrange(1, 12)
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case _:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(changed)


@CODECS
def test_nonsense_that_is_signed_as_right_is_corrupt_or_records(codec: int) -> None:
    """A checksum says only that nothing happened on the way.

    Red when ``Batch.records`` lets a decoder's own errors through: tried.
    """
    chance = random.Random(20)
    payload = b"".join(
        record(number, number, b"k" * number, None if number % 3 else b"v" * 40, [("h", None)])
        for number in range(8)
    )
    corrupt = 0
    for _ in range(700):
        changed = tampered(payload, chance)
        if codec and chance.random() < 0.5:
            changed = ENCODE[codec](changed)
        elif codec:
            changed = tampered(ENCODE[codec](payload), chance)
        raw = signed(changed, codec, chance.choice((8, 8, 8, 7, 9, (1 << 31) - 1)))
        try:
            records, _ = records_of(raw, -1 << 62)
        except Corrupt:
            corrupt += 1
        else:
            assert all(isinstance(record, Record) for record in records)
    assert corrupt > 400


def malformed() -> Iterator[tuple[str, bytes, int]]:
    """Payloads that claim much, and how many records they claim to be."""
    head = b"\0\0\0"  # attributes, time and offset as the first record has them
    yield "records", record() * 2, (1 << 31) - 1
    yield "length", varint((1 << 31) - 1) + head + b"\1\1\0", 1
    for size in ((1 << 31) - 1, (1 << 40), (1 << 62), (1 << 63) - 1):
        yield f"key of {size}", varint(20) + head + varint(size) + b"\1\0", 1
        yield f"value of {size}", varint(20) + head + b"\1" + varint(size) + b"\0", 1
        yield f"{size} headers", varint(20) + head + b"\1\1" + varint(size) + b"\2h\1", 1
        name = head + b"\1\1\2" + varint(size)
        yield f"header's name of {size}", varint(len(name)) + name, 1
        value = head + b"\1\1\2\2h" + varint(size)
        yield f"header's value of {size}", varint(len(value)) + value, 1
    yield "headers below nothing", varint(6) + head + b"\1\1\1", 1
    yield "header's name below nothing", varint(7) + head + b"\1\1\2\1", 1
    yield "header's name no text", varint(9) + head + b"\1\1\2\2\xff\1", 1
    yield "endless number", b"\xff" * 40, 1
    yield "nothing", b"", 1
    yield "more than the records", record() + b"\0", 1


@pytest.mark.parametrize(
    ("payload", "count"),
    [pytest.param(payload, count, id=name) for name, payload, count in malformed()],
)
def test_a_count_or_length_out_of_this_world_takes_no_memory(payload: bytes, count: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            records_of(signed(payload, 0, count), 0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", [1, 3, 4], ids=["gzip", "lz4", "zstd"])
def test_a_batch_is_not_opened_to_more_than_there_is_memory_for(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten kilobytes of zstd stand for 300 MB. Red without ``Batch._bound``: tried."""
    monkeypatch.setattr(batches, "OPENED_BYTES", 1 << 20)

    def zeros(size: int) -> bytes:
        payload = record(value=bytes(size))
        return signed(ENCODE[codec](payload), codec, 1)

    assert len(records_of(zeros((1 << 20) - 100), 0)[0][0].value or b"") == (1 << 20) - 100
    assert len(zeros(1 << 21)) < 20_000
    with pytest.raises(Corrupt, match="memory"):
        records_of(zeros(1 << 21), 0)


def test_a_codec_nobody_knows_is_corrupt() -> None:
    for codec in (5, 6, 7):
        with pytest.raises(Corrupt):
            records_of(signed(record(), codec, 1), 0)


def test_other_formats_are_corrupt() -> None:
    raw = batch(0, 1)
    for magic in (0, 1, 3, 255):
        with pytest.raises(Corrupt, match="format 2"):
            split(raw[:16] + bytes([magic]) + raw[17:])
    with pytest.raises(Corrupt, match="format 2"):
        split(raw[:8] + struct.pack(">i", HEADER_BYTES - 13) + raw[12:])
