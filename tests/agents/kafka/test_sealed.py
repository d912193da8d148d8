"""A batch under another writer: a new header, the payload untouched, and a checksum that was moved."""

import random

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from agents.base.errors import Corrupt
from agents.kafka.batches import HEADER_BYTES, Sealed, sealed, split
from tests.agents.kafka import assembled
from tests.agents.kafka.assembled import TRANSACTIONAL, crc32c
from tests.agents.kafka.test_batches import GOLDEN

PRODUCERS = st.integers(0, (1 << 63) - 1)
EPOCHS = st.integers(0, (1 << 15) - 1)
SEQUENCES = st.integers(0, (1 << 31) - 1)
TIMES = st.integers(-1, 1 << 50)
#: Where the checksum lies, and where what it covers begins.
CRC = slice(17, 21)


def whole(batch: Sealed) -> bytes:
    return batch.head + bytes(batch.tail)


def right(raw: bytes) -> bool:
    """Does the checksum fit?"""
    return bool(int.from_bytes(raw[CRC], "big") == calc_crc32c(raw[21:]))


def test_golden_bytes_are_sealed_to_golden_bytes() -> None:
    (batch,) = split(GOLDEN)
    assert whole(sealed(batch, 5, 1, 7)) == bytes.fromhex(
        "0000000000000000 00000050 ffffffff 02 446777a6 0000 00000001"
        "0000018bcfe56805 0000018bcfe56805 0000000000000005 0001 00000007 00000002"
        "2e0000 0006 6b6579 0a 76616c7565 06 0268 0276 0268 01 0000"
        "0c00 0902 0101 00"
    )


@given(
    payload=st.binary(max_size=400),
    count=st.integers(1, 1 << 20),
    base=st.integers(0, 1 << 62),
    leader_epoch=st.integers(-1, 1 << 20),
    codec=st.integers(0, 4),
    transactional=st.sampled_from([0, TRANSACTIONAL]),
    times=st.tuples(TIMES, TIMES),
    before=st.tuples(st.integers(-1, 1 << 62), st.integers(-1, 1 << 14), st.integers(-1, 1 << 30)),
    after=st.tuples(PRODUCERS, EPOCHS, SEQUENCES),
)
def test_sealed_is_byte_for_byte_what_the_new_writer_would_have_written(
    payload: bytes,
    count: int,
    base: int,
    leader_epoch: int,
    codec: int,
    transactional: int,
    times: tuple[int, int],
    before: tuple[int, int, int],
    after: tuple[int, int, int],
) -> None:
    """Put together by hand, its checksum reckoned from the first byte to the last; whoever wrote it
    before, in a transaction or not.

    Red when ``sealed`` keeps the transactional bit, the sequence or the leader epoch, when the base
    offset stays, and when the checksum is moved one byte less: tried.
    """

    def under(writer: tuple[int, int, int], attributes: int, **place: int) -> bytes:
        producer, epoch, sequence = writer
        return assembled.batch(
            payload, count, attributes=attributes, base_time=times[0], max_time=times[1],
            producer=producer, epoch=epoch, sequence=sequence, **place,
        )  # fmt: skip

    (batch,) = split(under(before, codec | transactional, base=base, leader_epoch=leader_epoch))
    found = sealed(batch, *after)
    assert whole(found) == under(after, codec)
    assert (found.size, found.count) == (len(whole(found)), count)


def test_sealed_is_what_aiokafka_writes_as_that_producer() -> None:
    def written(producer: int, epoch: int, sequence: int, *, transactional: bool) -> bytes:
        builder = DefaultRecordBatchBuilder(2, 0, transactional, producer, epoch, sequence, 1 << 20)
        for number in range(50):
            builder.append(number, timestamp=number, key=b"k", value=b"v" * number, headers=[])
        return bytes(builder.build())

    (batch,) = split(written(9, 2, 77, transactional=True))
    assert whole(sealed(batch, 4001, 3, 5)) == written(4001, 3, 5, transactional=False)


def test_the_checksum_is_moved_over_a_payload_of_any_size() -> None:
    """Red when one of the tables of ``_zeros`` is off: tried."""
    chance = random.Random(20)
    sizes = {
        *range(300),
        *(near for n in range(9, 20) for near in ((1 << n) - 1, 1 << n, (1 << n) + 1)),
    }
    for size in (*sorted(sizes), 8 * 1024 * 1024 - 61, 5_000_011):
        raw = bytearray(assembled.batch(b"", 1, base=size, producer=7, sequence=3))
        raw[8:12] = (len(raw) - 12 + size).to_bytes(4, "big")
        raw += chance.randbytes(size)
        raw[CRC] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
        (batch,) = split(bytes(raw))
        assert right(whole(sealed(batch, chance.getrandbits(60), 1, chance.getrandbits(31)))), size


def visible(damaged: bytes) -> bool:
    """Is the damage refused here, or will whoever gets the sealed batch see it?"""
    try:
        (batch,) = split(damaged)
    except Corrupt:
        return True
    return not right(whole(sealed(batch, 5, 1, 7)))


def test_whatever_was_damaged_on_the_way_here_stays_visible() -> None:
    """Each bit of the payload, of the header under the checksum, and of the checksum itself.

    Red when ``sealed`` reckons a checksum of its own: tried.
    """
    assert not visible(GOLDEN)
    for bit in range(8 * CRC.start, 8 * len(GOLDEN)):
        damaged = bytearray(GOLDEN)
        damaged[bit // 8] ^= 1 << bit % 8
        assert visible(bytes(damaged)), f"bit {bit} went unseen"


def test_damage_of_several_bytes_stays_visible_too() -> None:
    chance = random.Random(20)
    raw = assembled.batch(chance.randbytes(2000), 5, producer=7)
    for _ in range(300):
        at = chance.randrange(21, len(raw) - 4)
        damaged = raw[:at] + chance.randbytes(4) + raw[at + 4 :]
        assert visible(damaged) is (damaged != raw)


def test_the_payload_is_not_copied() -> None:
    (batch,) = split(GOLDEN)
    assert sealed(batch, 5, 1, 7).tail.obj is GOLDEN
    assert sealed(batch, 5, 1, 7).tail == GOLDEN[HEADER_BYTES:]


@given(first=st.tuples(PRODUCERS, EPOCHS, SEQUENCES), last=st.tuples(PRODUCERS, EPOCHS, SEQUENCES))
def test_only_the_last_writer_counts(
    first: tuple[int, int, int], last: tuple[int, int, int]
) -> None:
    (batch,) = split(GOLDEN)
    (again,) = split(whole(sealed(batch, *first)))
    assert whole(sealed(again, *last)) == whole(sealed(batch, *last))


@pytest.mark.parametrize("sequence", [(1 << 31) - 1, 0])
def test_sequence_numbers_go_up_to_the_last_there_is(sequence: int) -> None:
    (batch,) = split(GOLDEN)
    raw = whole(sealed(batch, 5, 1, sequence))
    assert int.from_bytes(raw[53:57], "big", signed=True) == sequence
    assert crc32c(raw[21:]) == int.from_bytes(raw[CRC], "big")
