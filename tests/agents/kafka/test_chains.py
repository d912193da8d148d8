"""Chains over events are the same whatever batches these lie in, and however they are compressed."""

from hypothesis import given
from hypothesis import strategies as st

from agents.base.statement import ZERO, event_chained
from agents.kafka.batches import Batch, Builder, sealed, split
from agents.kafka.packed import (
    PackedBuilder,
    Stamp,
    packed_chained,
    packed_headers,
    unpacked_headers,
)
from contracts.envelope import Event, headers_of

_BYTES = st.binary(max_size=40)
_HEADERS = st.lists(st.tuples(st.text(max_size=8), _BYTES), max_size=20)
_EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2**42), st.none() | _BYTES, st.none() | st.binary(max_size=400), _HEADERS
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def of(events: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> bytes:
    chain = ZERO
    for event in events:
        chain = event_chained(chain, *event)
    return chain


def read(chain: bytes, batch: Batch) -> bytes:
    for record in batch.records():
        chain = event_chained(chain, record.timestamp, record.key, record.value, record.headers)
    return chain


@given(_EVENTS, st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0, 1, 2, 3, 4]))))
def test_batching_and_compression_change_nothing(
    events: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]],
    cuts: list[tuple[int, int]],
) -> None:
    chain, left = ZERO, list(events)
    for size, codec in [*cuts, (len(events), 0)]:
        builder, some = Builder(1 << 20, codec), left[:size]
        left = left[size:]
        for timestamp, key, value, headers in some:
            assert builder.append(key, value, headers, timestamp)
        if some:
            chain = read(chain, builder.build())
    assert chain == of(events)


@given(_EVENTS)
def test_what_is_packed_has_the_same_chain(
    events: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]],
) -> None:
    told = [(time, key or b"", value, headers) for time, key, value, headers in events]
    builder, chain = PackedBuilder(1 << 20), ZERO
    for time, key, value, headers in told:
        packed = packed_headers(headers)
        assert unpacked_headers(packed) == headers
        assert builder.append(key, value, packed, time)
        chain = packed_chained(chain, time, key, value, packed)
    assert chain == of(list(told))
    assert chain == read(ZERO, builder.build())


@given(st.text("0123456789ab", min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_what_is_stamped_has_the_same_chain(key: str, name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    event = Event(
        key=key, value=b"{}", id=name, source="/37/resident.v2", type="resident.v2.changed",
        time=1_700_000_000_000_000, dataschema="resident.v2/2.0", sequence="0001", scope="370102",
    )  # fmt: skip
    headers = dict(headers_of(event))
    own = tuple(
        headers[each] for each in ("ce_id", "ce_subject", "ce_time", "ce_sequence", "ce_scope")
    )
    stamp = Stamp(event)
    packed, canonical = stamp.headers(*own), stamp.canonical(*own)
    assert packed_chained(ZERO, 5, b"k", b"{}", packed, canonical) == event_chained(
        ZERO, 5, b"k", b"{}", headers_of(event)
    )


def test_a_batch_has_the_same_digest_under_another_writer_and_another_when_it_holds_something_else() -> (
    None
):
    def batch(value: bytes, time: int = 5, codec: int = 0) -> Batch:
        builder = Builder(1 << 20, codec)
        assert builder.append(b"k", value * 100, [("ce_id", b"1")], time)
        assert builder.append(b"k", value, [], time + 1)
        return builder.build()

    one = batch(b"1")
    passed = sealed(one, 7, 3, 99)
    (copied,) = split(passed.head + bytes(passed.tail))
    assert copied.digest == one.digest
    assert len({each.digest for each in (one, batch(b"2"), batch(b"1", 6), batch(b"1", 5, 4))}) == 4
