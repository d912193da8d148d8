"""Records go into batches and come out the same, whatever the codec and however small the batches."""

import os
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.kafka.batches import HEADER_BYTES, NONE, Batch, Builder, records_of, sealed, split
from contracts.envelope import Header
from tests.agents.kafka import assembled
from tests.agents.kafka.test_batches import CODECS

BYTES = st.none() | st.binary(max_size=40) | st.binary(max_size=2).map(lambda some: some * 300)
#: Few names, so that they come again.
NAMES = st.sampled_from(["", "h", "ce_id", "名"]) | st.text(max_size=5)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=4)
TIMES = st.sampled_from([-1, 0, 1, 1_700_000_000_000, (1 << 63) - 1]) | st.integers(-1, 1 << 60)
#: (key, value, headers, timestamp)
RECORDS = st.lists(st.tuples(BYTES, BYTES, HEADERS, TIMES), min_size=1, max_size=40)

Given = tuple[bytes | None, bytes | None, list[Header], int]


def built(records: list[Given], limit: int, codec: int) -> list[Batch]:
    """As many batches as it takes."""
    found = []
    builder = Builder(limit, codec)
    for each in records:
        if not builder.append(*each):
            found.append(builder.build())
            builder = Builder(limit, codec)
            assert builder.append(*each), "the first record is always in it"
    return [*found, builder.build()]


@given(records=RECORDS, limit=st.integers(0, 4000), codec=st.integers(0, 4))
@example(records=[(None, None, [], -1), (b"k", b"v", [], 1000)], limit=4000, codec=0)
@example(records=[(b"k", b"v", [], 1000), (None, None, [], -1)], limit=4000, codec=0)
def test_what_is_built_and_passed_on_holds_the_same_records(
    records: list[Given], limit: int, codec: int
) -> None:
    """Built, split, sealed as they lie one after the other, and decoded.

    Red when records without a time go before others (aiokafka gives them the others' time), and when
    a record that did not fit is taken for one that is in it: tried.
    """
    laid, base = b"", 0
    for number, batch in enumerate(built(records, limit, codec)):
        assert batch.whole
        assert batch.codec in (codec, NONE)
        assert len(batch.data) <= limit or batch.count == 1
        assert batch.max_time == max(one[3] for one in records[base : batch.count + base])
        onward = sealed(batch, 4001, 3, number)
        raw = base.to_bytes(8, "big") + (onward.head + bytes(onward.tail))[8:]
        laid, base = laid + raw, base + batch.count
    found, following = records_of(laid, 0)
    assert [(one.key, one.value, list(one.headers), one.timestamp) for one in found] == records
    assert [one.offset for one in found] == list(range(len(records)))
    assert following == len(records)


def test_a_batch_is_built_as_the_specification_says() -> None:
    builder = Builder(1000)
    builder.append(b"key", b"value", [("h", b"v"), ("h", b"")], 1000)
    builder.append(None, None, [], 995)
    payload = assembled.record(0, 0, b"key", b"value", [("h", b"v"), ("h", b"")])
    payload += assembled.record(1, -5)
    assert bytes(builder.build().data) == assembled.batch(
        payload, 2, base_time=1000, max_time=1000, sequence=0
    )


@CODECS
def test_what_can_be_made_smaller_is(codec: int) -> None:
    builder = Builder(1 << 20, codec)
    for number in range(1000):
        assert builder.append(b"key", b"value" * 10, [("ce_id", b"%d" % number)], number)
    batch = builder.build()
    assert batch.codec == codec
    assert len(batch.data) < 20_000 or codec == NONE
    assert len(batch.records()) == 1000
    assert len(split(bytes(batch.data))) == 1
    assert (batch.base_time, batch.max_time) == (0, 999)


@CODECS
def test_what_compression_makes_larger_stays_as_it_is(codec: int) -> None:
    """Else a batch within the topic's limit is one that brokers refuse, forever.

    Red with aiokafka's own compressing builder, for every codec: tried.
    """
    values = [os.urandom(1000) for _ in range(5)]

    def filled(limit: int, codec: int) -> Batch:
        builder = Builder(limit, codec)
        assert all(builder.append(None, value, [], 0) for value in values)
        assert limit > 10_000 or not builder.append(None, b"", [], 0), "it is full"
        return builder.build()

    limit = len(filled(1 << 20, NONE).data) + 1
    batch = filled(limit, codec)
    assert len(batch.data) <= limit
    assert [record.value for record in batch.records()] == values


def test_a_record_larger_than_the_limit_has_a_batch_of_its_own() -> None:
    builder = Builder(100)
    assert builder.append(b"k", b"v" * 500, [], 1)
    assert not builder.append(b"k", b"", [], 1)
    batch = builder.build()
    assert batch.count == 1
    assert len(batch.data) > HEADER_BYTES + 500


def test_a_record_without_a_given_time_has_that_of_the_moment() -> None:
    before = time.time_ns() // 1_000_000
    builder = Builder(100)
    builder.append(b"k", None, [])
    (record,) = builder.build().records()
    assert before <= record.timestamp <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("timestamp", [-1, 0])
def test_times_at_the_edge_are_kept_for_all_records_alike(timestamp: int) -> None:
    builder = Builder(1000)
    assert all(builder.append(b"k", None, [], timestamp) for _ in range(3))
    assert [record.timestamp for record in builder.build().records()] == [timestamp] * 3
