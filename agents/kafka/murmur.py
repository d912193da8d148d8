"""Where keys go, as Kafka's Java clients decide it: murmur2 (DefaultPartitioner).

aiokafka's looks at each byte by itself; four at a time cost a third, and many keys of one length at once
a twentieth: they stand side by side in one large number, 64 bits for each, and what is 32 bits wide
stays within.
"""

import functools
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

_SEED, _M, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF
#: Fewer keys are quicker one by one.
_FEW = 24


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key`` among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """The partition of each of ``keys``."""
    count = len(keys)
    if count < _FEW or len(set(map(len, keys))) > 1 or not keys[0] or sys.byteorder != "little":
        return [partition_of(key, partitions) for key in keys]
    return [found % partitions for found in _side_by_side(keys)]


def murmur2(data: bytes) -> int:
    """The hash of ``data``, 32 bits, unsigned."""
    length = len(data)
    found = _SEED ^ length
    for word in _words(length >> 2)(data):
        mixed = word * _M & _MASK
        found = (found * _M & _MASK) ^ ((mixed ^ mixed >> 24) * _M & _MASK)
    if rest := length & 3:
        found = (found ^ int.from_bytes(data[-rest:], "little")) * _M & _MASK
    found = (found ^ found >> 13) * _M & _MASK
    return found ^ found >> 15


@functools.lru_cache(1024)
def _words(count: int) -> Callable[[bytes], tuple[Any, ...]]:
    return struct.Struct(f"<{count}I").unpack_from


def _side_by_side(keys: Sequence[bytes]) -> list[int]:
    """The hash of each of ``keys``, all of one length, without its highest bit."""
    count, length = len(keys), len(keys[0])
    size = (length + 3) // 4
    padding = b"\0" * (size * 4 - length)
    words = memoryview(padding.join(keys) + padding).cast("I").tolist()
    ones, low = _lanes(count)
    found = ones * (_SEED ^ length)
    for at in range(length // 4):
        mixed = _spread(words[at::size]) * _M & low
        mixed ^= mixed >> 24 & low
        found = (found * _M & low) ^ (mixed * _M & low)
    if length & 3:
        found = (found ^ _spread(words[size - 1 :: size])) * _M & low
    found ^= found >> 13 & low
    found = found * _M & low
    found ^= found >> 15 & low
    hashes = array("Q", (found & ones * 0x7FFFFFFF).to_bytes(count * 8, "little"))
    return hashes.tolist()


def _spread(words: list[int]) -> int:
    return int.from_bytes(array("Q", words).tobytes(), "little")


@functools.lru_cache(8)
def _lanes(count: int) -> tuple[int, int]:
    """A one in each of so many lanes, and 32 of them."""
    ones = int.from_bytes((b"\1" + b"\0" * 7) * count, "little")
    return ones, ones * _MASK
