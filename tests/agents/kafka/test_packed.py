"""Packed records are the same records; keys go where Java's clients send them."""

import random

import pytest
from aiokafka.partitioner import murmur2 as told
from hypothesis import given
from hypothesis import strategies as st

from agents.kafka.batches import records_of
from agents.kafka.murmur import murmur2, partition_of, partitions_of
from agents.kafka.packed import PackedBuilder, Stamp, packed_headers, varint
from contracts.envelope import Event, event_of, headers_of

#: Some are longer than what is packed beforehand.
TEXT = st.text(min_size=1, max_size=40) | st.just("k" * 9000)
EVENTS = st.builds(
    Event,
    key=TEXT,
    value=st.binary(max_size=40) | st.just(b"x" * 9000),
    id=TEXT,
    source=st.just("/37/resident.v2"),
    type=st.just("resident.v2.changed"),
    time=st.integers(0, 4_000_000_000_000_000),
    dataschema=st.just("resident.v2/2.0"),
    sequence=TEXT,
    scope=TEXT,
)
LIKE = Event(
    key="", value=b"", id="", source="/37/resident.v2", type="resident.v2.changed", time=0,
    dataschema="resident.v2/2.0", sequence="", scope="0",
)  # fmt: skip


def built(records: list[tuple[bytes, bytes | None, bytes, int]], limit: int) -> list[PackedBuilder]:
    """As many batches as it takes."""
    found = [PackedBuilder(limit)]
    for each in records:
        if not found[-1].append(*each):
            found.append(PackedBuilder(limit))
            assert found[-1].append(*each), "the first record is always in it"
    return found


@given(
    st.lists(st.tuples(EVENTS, st.booleans(), st.integers(0, 1 << 50)), min_size=1, max_size=12),
    st.integers(0, 4000),
)
def test_packed_records_are_what_any_reader_reads(
    given_: list[tuple[Event, bool, int]], limit: int
) -> None:
    """Red when times before the first record's are packed as if they were none, and when a length
    from 64 on is packed in one byte: tried."""
    stamp = Stamp(LIKE)
    records, expected = [], []
    for event, stamped, timestamp in given_:
        key = event.key.encode()
        named = headers_of(event)
        time = dict(named)["ce_time"]
        headers = (
            stamp.headers(
                event.id.encode(), key, time, event.sequence.encode(), event.scope.encode()
            )
            if stamped
            else packed_headers(named)
        )
        records.append((key, event.value, headers, timestamp))
        expected.append((key, event.value, named, timestamp))
    laid, base = b"", 0
    for builder in built(records, limit):
        batch = builder.build()
        assert len(batch.data) == builder.size
        assert len(batch.data) <= limit or batch.count == 1
        assert batch.whole
        laid += base.to_bytes(8, "big") + bytes(batch.data[8:])
        base += batch.count
    found, _ = records_of(laid, 0)
    assert [(one.key, one.value, list(one.headers), one.timestamp) for one in found] == expected
    assert [event_of(one.value, one.headers) for one in found] == [event for event, *_ in given_]


def test_no_value_is_no_value() -> None:
    builder = PackedBuilder(1000)
    builder.append(b"k", None, packed_headers([("h", b""), ("名", b"v" * 100)]), 5)
    found, _ = records_of(builder.build().data, 0)
    assert (found[0].value, list(found[0].headers)) == (None, [("h", b""), ("名", b"v" * 100)])


@given(st.binary(max_size=60))
def test_a_key_goes_where_every_other_producer_sends_it(key: bytes) -> None:
    assert murmur2(key) == told(key) & 0xFFFFFFFF
    assert 0 <= partition_of(key, 7) < 7


@given(st.integers(0, 23), st.integers(1, 200), st.integers(1, 12), st.randoms())
def test_many_keys_go_where_each_goes(
    length: int, count: int, partitions: int, chance: random.Random
) -> None:
    """Red when what a shift brings in from the next lane is left there: tried."""
    keys = [chance.randbytes(length) for _ in range(count)]
    assert partitions_of(keys, partitions) == [partition_of(key, partitions) for key in keys]
    keys.append(b"of another length, which is 29")
    assert partitions_of(keys, partitions) == [partition_of(key, partitions) for key in keys]


@pytest.mark.parametrize(
    ("number", "packed"), [(0, "00"), (-1, "01"), (63, "7e"), (64, "8001"), (-65, "8101")]
)
def test_numbers_are_packed_as_protocol_buffers_do(number: int, packed: str) -> None:
    assert varint(number).hex() == packed
