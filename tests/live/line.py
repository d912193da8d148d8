"""A line between an agent and a server: a TCP proxy whose faults are scripted while it runs.

A Kafka broker tells its clients where to come to, so a broker behind a line needs a listener that
names the line's port: see :class:`tests.live.brokers.Behind`.
"""

import asyncio
import collections
import contextlib
import math
import random
import socket
import struct
import time

#: Payload of one Ethernet segment with TCP time stamps.
SEGMENT = 1448
#: Linux never waits less than this for an acknowledgement before it sends again (``TCP_RTO_MIN``).
RTO = 0.2
_CHUNK = 128 * 1024
#: What a line holds in each direction of a connection while it is delayed: far more than any rate
#: these tests reach times the delay, so that a delay alone does not throttle. When it is full, the
#: line reads no more, and the sender's window closes.
_HELD = 64 * 1024 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Line:
    """Carries bytes from port ``listen`` to port ``to`` while the block lasts.

    ``delay`` is the seconds a byte takes in one direction: what is on its way is a queue, so bytes
    follow each other as fast as without. ``rate`` is bytes a second in each direction.

    ``loss`` is the share of segments that get lost; this machine has no netem, so what is emulated is
    what the loss does to the stream. TCP delivers in order: behind a lost segment everything waits
    until it was sent again. Where at least three segments follow it, three duplicate acknowledgements
    ask for it, and it comes one round trip late (fast retransmit, RFC 5681). At the end of a flight
    nothing follows, and it comes after the retransmission time-out, here the larger of Linux's least,
    200 ms, and two round trips (RFC 6298; a tail loss probe would sometimes be earlier). What losses do
    to the congestion window bounds the rate: 1.22 segments per round trip over the root of the loss
    (Mathis et al. 1997), where there is a delay.
    """

    def __init__(self, listen: int, to: int, *, delay: float = 0.0, seed: int = 1) -> None:
        self.port = listen
        self.delay = delay
        self.loss = 0.0
        self.rate = math.inf
        #: Bytes carried so far, both directions.
        self.carried = 0
        self._to = to
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._moving = asyncio.Event()
        self._moving.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Line":
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            _reset(writer)

    def hang(self) -> None:
        """Keep connections open and take new ones, but move nothing either way."""
        self._moving.clear()

    async def mend(self) -> None:
        """The line is back: what hung goes on, and new connections are carried."""
        self._moving.set()
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, limit=_CHUNK
            )

    @property
    def round_trip(self) -> float:
        return 2 * self.delay

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer), name="line")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter
    ) -> None:
        self._open.add(near_writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            await self._moving.wait()
            await asyncio.sleep(self.round_trip)  # what it takes to connect
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self._to, limit=_CHUNK
            )
            self._open.add(far_writer)
            if near_writer.is_closing():
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(_Way(self, near_reader, far_writer).run(), name="line-there")
                group.create_task(_Way(self, far_reader, near_writer).run(), name="line-back")
        except* (OSError, EOFError):
            pass
        finally:
            for writer in (near_writer, far_writer):
                if writer is not None:
                    self._open.discard(writer)
                    _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other end gets an RST."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


class _Way:
    """One direction of one connection."""

    def __init__(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._line = line
        self._reader = reader
        self._writer = writer
        #: (when it is due at the other end, bytes), in order; an empty one is the end.
        self._held: collections.deque[tuple[float, bytes]] = collections.deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        #: Segments until the next one that gets lost.
        self._luck = -1
        #: When the last byte before is through.
        self._free = 0.0

    async def run(self) -> None:
        """Until either end closes, with OSError or EOFError."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(), name="line-take")
            group.create_task(self._give(), name="line-give")

    async def _take(self) -> None:
        while True:
            await self._line._moving.wait()
            while self._bytes >= _HELD:
                self._changed.clear()
                await self._changed.wait()
            data = await self._reader.read(_CHUNK)
            self._held.append((time.monotonic() + self._line.delay, data))
            self._bytes += len(data)
            self._changed.set()
            if not data:
                return

    async def _give(self) -> None:
        line = self._line
        while True:
            while not self._held:
                self._changed.clear()
                await self._changed.wait()
            due, data = self._held.popleft()
            self._bytes -= len(data)
            await _until(due)
            if not data:
                raise EOFError
            for piece, stall in self._pieces(data):
                if line.rate < math.inf or line.loss:
                    self._free = max(self._free, time.monotonic()) + len(piece) / self._rate
                    await _until(self._free)
                await line._moving.wait()
                self._writer.write(piece)
                await self._writer.drain()
                line.carried += len(piece)
                if stall:
                    self._free = time.monotonic() + stall
                    await _until(self._free)
            self._changed.set()

    @property
    def _rate(self) -> float:
        line = self._line
        if line.loss and line.delay:
            mathis = 1.22 * SEGMENT / (line.round_trip * math.sqrt(line.loss))
            return min(line.rate, mathis)
        return line.rate

    def _pieces(self, data: bytes) -> list[tuple[bytes, float]]:
        """``data`` up to each lost segment, and how long what follows must wait for it."""
        line = self._line
        if not line.loss:
            self._luck = -1
            return [(data, 0.0)]
        pieces = []
        at = 0
        while True:
            if self._luck < 0:
                self._luck = int(math.log(1.0 - line._chance.random()) / math.log(1.0 - line.loss))
            end = at + self._luck * SEGMENT
            if end >= len(data):
                self._luck -= -(-(len(data) - at) // SEGMENT)
                pieces.append((data[at:], 0.0))
                return pieces
            following = len(data) - end + self._bytes
            late = line.round_trip if following > 3 * SEGMENT else max(RTO, 2 * line.round_trip)
            pieces.append((data[at:end], late))
            at, self._luck = end, -1


async def _until(due: float) -> None:
    """Sleep; what is due within half a millisecond is due."""
    wait = due - time.monotonic()
    if wait > 0.0005:
        await asyncio.sleep(wait)
