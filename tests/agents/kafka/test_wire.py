"""Below the client: a broker that has only just started, and large answers cut into pieces."""

import asyncio
import random
import struct

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.base.errors import Unavailable
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection, _FrameReader

_API_VERSIONS, _METADATA = 18, 3


async def _knows_nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers like a broker without metadata: no brokers, no topics."""
    while size := await reader.read(4):
        request = await reader.readexactly(*struct.unpack(">i", size))
        kind, _, correlation = struct.unpack_from(">hhi", request)
        if kind == _API_VERSIONS:
            answer = struct.pack(">ihi6h", correlation, 0, 2, _API_VERSIONS, 0, 0, _METADATA, 0, 1)
        else:
            answer = struct.pack(">iiii", correlation, 0, -1, 0)
        writer.write(struct.pack(">i", len(answer)) + answer)
    writer.close()


async def test_a_broker_that_knows_no_broker_yet_counts_as_away() -> None:
    """aio-libs/aiokafka#267, #517, #551: its client is kept, and does not find back."""
    server = await asyncio.start_server(_knows_nobody, "127.0.0.1", 0)
    cluster = Cluster(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Unavailable):
        async with Connection(cluster) as connection:
            await connection.topics()
    server.close()


async def test_large_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    chance = random.Random(5)
    for _ in range(30):
        frames = [chance.randbytes(chance.choice((0, 1, 70_000, 300_000))) for _ in range(6)]
        stream = b"".join(struct.pack(">i", len(frame)) + frame for frame in frames)
        reader = asyncio.StreamReader()
        reader.__class__ = _FrameReader

        async def feed(reader: asyncio.StreamReader = reader, stream: bytes = stream) -> None:
            at = 0
            while at < len(stream):
                size = chance.choice((1, 3, 4, 1_000, 65_536, 262_144))
                reader.feed_data(stream[at : at + size])
                at += size
                if chance.random() < 0.5:
                    await asyncio.sleep(0)

        feeding = asyncio.create_task(feed(), name="feed")
        for frame in frames:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            assert await reader.readexactly(size) == frame
        await feeding


async def test_a_frame_cut_off_by_the_end_is_said_to_be_incomplete() -> None:
    reader = asyncio.StreamReader()
    reader.__class__ = _FrameReader
    reader.feed_data(b"x" * 100)
    asyncio.get_running_loop().call_soon(reader.feed_data, b"y" * 50_000)
    asyncio.get_running_loop().call_soon(reader.feed_eof)
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(200_000)
    assert len(caught.value.partial) == 50_100


async def test_a_frame_larger_than_any_answer_is_not_waited_for() -> None:
    reader = asyncio.StreamReader()
    reader.__class__ = _FrameReader
    reader.feed_data(b"x" * 100)
    with pytest.raises(KafkaConnectionError, match="no broker's"):
        await reader.readexactly(2**31 - 1)
