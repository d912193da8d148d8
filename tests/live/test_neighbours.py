"""Bad neighbours: bytes that are no Kafka, another cluster behind the parent's address, old events written
again by somebody else, clocks that jump. Nothing wrong gets into a copy, and it is said."""

import asyncio
import contextlib
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer

from agents.base.errors import GapFound, StreamReplaced, Unavailable
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection
from contracts.envelope import headers_of
from tests.live.brokers import Behind
from tests.live.hop import link
from tests.live.line import Line, _Way
from tests.live.streams import Running, Writer, event, ids, read_all, until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def cluster(kafka: KafkaServer) -> Cluster:
    return Cluster(kafka.bootstrap)


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[Cluster]:
    """Somebody answers so where a Kafka is expected."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Cluster(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


def _answering(answer: Callable[[int], bytes]) -> Serve:
    """A server that answers each request, of which it knows the number, with ``answer``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while size := await reader.read(4):
                request = await reader.readexactly(*struct.unpack(">i", size))
                writer.write(answer(struct.unpack_from(">i", request, 4)[0]))
                await writer.drain()
        writer.close()

    return serve


def _framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


_CHANCE = random.Random(3)
LIES: dict[str, Callable[[int], bytes]] = {
    "noise": lambda number: _framed(struct.pack(">i", number) + _CHANCE.randbytes(400)),
    "nothing in the frame": lambda number: _framed(b""),
    "a frame of less than nothing": lambda number: struct.pack(">i", -7) + b"x" * 100,
    "two gibibytes, which do not come": lambda number: struct.pack(">i", 2**31 - 1) + b"x" * 1000,
    "the answer to another question": lambda number: _framed(struct.pack(">ih", number + 1, 0)),
    "more entries than there are bytes": lambda number: _framed(
        struct.pack(">ihi", number, 0, 2**31 - 1)
    ),
    "a web server": lambda number: b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "an alert of TLS": lambda number: b"\x15\x03\x01\x00\x02\x02\x46",
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_does_not_speak_kafka_counts_as_away(lie: str) -> None:
    async with listening(_answering(LIES[lie])) as cluster:
        with pytest.raises(Unavailable) as caught:
            async with asyncio.timeout(60), Connection(cluster) as connection:
                await connection.topics()
    assert cluster.bootstrap in str(caught.value)


class Mangling(Line):
    """A line that changes bytes on the way from the broker while it ``lies``."""

    def __init__(self, listen: int, to: int) -> None:
        super().__init__(listen, to)
        self.lies = False
        self.changed = 0
        self.dice = random.Random(11)


def _mangle(monkeypatch: pytest.MonkeyPatch, line: Mangling) -> None:
    pieces = _Way._pieces

    def mangled(self: _Way, data: bytes) -> list[tuple[bytes, float]]:
        peer = self._writer.get_extra_info("sockname")
        from_broker = peer and peer[1] == line.port
        if self._line is line and line.lies and from_broker and line.dice.random() < 0.5:
            changed = bytearray(data)
            for _ in range(line.dice.choice((1, 1, 4))):
                changed[line.dice.randrange(len(changed))] ^= 1 << line.dice.randrange(8)
            line.changed += 1
            data = bytes(changed)
        return pieces(self, data)

    monkeypatch.setattr(_Way, "_pieces", mangled)


async def test_bytes_changed_on_the_line_never_reach_a_copy(
    province: Behind, county: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Mangling(province._line, province._inner)
    _mangle(monkeypatch, line)
    async with Writer(province.near, "mangled") as writer, line:
        count = 0
        for _ in range(6):
            line.lies = True
            relay = link(province.far, "mangled", "mangled.copy", downstream=county.near)
            async with Running(relay):
                for _ in range(4):
                    await writer.write([event(count + each) for each in range(200)])
                    count += 200
                    await asyncio.sleep(0.15)
            line.lies = False
        assert line.changed > 10
        # Whatever the lies led to, the truth is the way on.
        relay = link(province.far, "mangled", "mangled.copy", downstream=county.near)
        async with Running(relay) as running:
            await until_true(
                lambda: running.hop.lag == 0 and running.hop.complete >= event(count - 1).time, 60.0
            )
    there, _ = await read_all(province.near, "mangled")
    here, _ = await read_all(county.near, "mangled.copy")
    assert sorted((each.key, each.value, each.timestamp, each.headers) for each in here) == sorted(
        (each.key, each.value, each.timestamp, each.headers) for each in there
    )


async def test_another_cluster_behind_the_parents_address_stops_the_link_before_anything_passes(
    province: Behind, county: Behind
) -> None:
    """Two provinces have a topic of one name; the child's line is put through to the wrong one."""
    async with Writer(province.near, "ours") as right, Writer(county.near, "ours") as wrong:
        await right.write([event(number) for number in range(60)])
        await wrong.write([event(number) for number in range(500, 800)])
        relay = link(province.near, "ours", "ours.copy", downstream=county.near)
        async with Running(relay) as running:
            await until_true(lambda: running.hop.events == 60)
        relay = link(county.near, "ours", "ours.copy", downstream=county.near)
        async with Running(relay) as running:
            await until_true(lambda: running.hop.state == "stopped")
    assert (StreamReplaced.__doc__ or "?") in (running.hop.error or "")
    assert "resync" in (running.hop.error or "")
    here, _ = await read_all(county.near, "ours.copy")
    assert sorted(ids(here)) == sorted(f"id-{number}" for number in range(60))


async def test_old_events_written_again_by_somebody_else_stop_the_hop_at_the_next_watermark(
    cluster: Cluster,
) -> None:
    async with Writer(cluster, "replayed") as writer:
        await writer.write([event(number) for number in range(90)])
        async with Running(link(cluster, "replayed", "replayed.copy")) as running:
            await until_true(lambda: running.hop.events == 90 and running.hop.complete > 0)
            old = event(3)
            async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap) as somebody:
                await somebody.send_and_wait(
                    "replayed", old.value, old.key.encode(), 0, headers=list(headers_of(old))
                )
            await writer.write([event(number) for number in range(90, 120)])
            await until_true(lambda: running.hop.state == "stopped")
    assert (GapFound.__doc__ or "?")[:20] in (running.hop.error or "")


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0, 10 * 365 * 86_400.0], ids=str)
async def test_a_clock_that_jumps_loses_repeats_and_stops_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """NTP, a virtual machine that was paused, a flat battery: what counts is counted, not timed."""
    name = f"jumps-{'up' if jump > 0 else 'down'}-{abs(jump):.0f}"
    off = 0.0
    seconds, nanoseconds = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: seconds() + off)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(off * 1e9))
    async with (
        Writer(cluster, name) as writer,
        Running(link(cluster, name, f"{name}.copy")) as running,
    ):
        for turn in range(8):
            off = jump * (turn % 3)
            await writer.write([event(turn * 50 + each) for each in range(50)])
            await asyncio.sleep(0.1)
        await until_true(lambda: running.hop.events == 400 and running.hop.lag == 0)
        assert running.hop.state == "running"
        assert running.hop.trouble() is None
    here, _ = await read_all(cluster, f"{name}.copy")
    assert len(here) == 400
    assert len(set(ids(here))) == 400
