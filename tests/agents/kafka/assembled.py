"""Record batches put together by hand, after https://kafka.apache.org/documentation/#recordbatch.

Nothing here comes from the code under test or from aiokafka: what these bytes mean is what the
specification says.
"""

import struct
from collections.abc import Sequence

#: A header as Kafka has it: unlike a CloudEvents attribute it may have no value.
Headers = Sequence[tuple[str, bytes | None]]

LOG_APPEND_TIME = 0x08
TRANSACTIONAL, CONTROL, DELETE_HORIZON = 0x10, 0x20, 0x40


def varint(number: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first."""
    number = (number << 1) ^ (number >> 63)
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def sized(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def record(
    delta: int = 0,
    time_delta: int = 0,
    key: bytes | None = None,
    value: bytes | None = None,
    headers: Headers = (),
) -> bytes:
    body = b"\0" + varint(time_delta) + varint(delta) + sized(key) + sized(value)
    body += varint(len(headers))
    for name, content in headers:
        body += sized(name.encode()) + sized(content)
    return sized(body)


def crc32c(data: bytes) -> int:
    """Castagnoli, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def batch(
    payload: bytes,
    count: int,
    *,
    base: int = 0,
    leader_epoch: int = -1,
    attributes: int = 0,
    last_delta: int | None = None,
    base_time: int = 0,
    max_time: int = 0,
    producer: int = -1,
    epoch: int = -1,
    sequence: int = 0,
) -> bytes:
    """``payload`` are records one after the other, compressed as the attributes say."""
    checked = struct.pack(
        ">hiqqqhii",
        attributes,
        count - 1 if last_delta is None else last_delta,
        base_time,
        max_time,
        producer,
        epoch,
        sequence,
        count,
    )
    checked += payload
    unchecked = struct.pack(">ibI", leader_epoch, 2, crc32c(checked))
    return struct.pack(">qi", base, len(unchecked) + len(checked)) + unchecked + checked


def marker(base: int, producer: int, *, commit: bool, key: bytes | None = None) -> bytes:
    """The control batch that ends a transaction."""
    key = struct.pack(">hh", 0, commit) if key is None else key
    return batch(
        record(key=key, value=struct.pack(">hi", 0, 0)),
        1,
        base=base,
        attributes=TRANSACTIONAL | CONTROL,
        producer=producer,
        epoch=0,
        sequence=-1,
    )
