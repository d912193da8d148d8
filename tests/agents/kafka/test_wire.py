"""Meeting a cluster: a broker that has only just started may not know of any broker yet."""

import asyncio
import struct

import pytest

from agents.base.errors import Unavailable
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection

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
