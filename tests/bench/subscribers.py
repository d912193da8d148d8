"""Many subscribers of server-sent events in a process of their own:

python -m tests.bench.subscribers HOST PORT PATH SUBSCRIBERS EVENTS WARM SECONDS OUT

Each has a connection of its own and must be told every event once and in order: their sequences count from
0. OUT is made, empty, once all are subscribed, and in the end becomes a JSON object. The first WARM events
are not counted; SECONDS after all are subscribed it ends in any case. Works on bare sockets, for either
side alike: an HTTP client for each would measure itself.
"""

import contextlib
import re
import selectors
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agents.demo.servers import Server
from contracts.envelope import parse_time
from tests.bench.figures import percentile

#: As levelsync writes a change; the peer is given the same text.
_CHANGE = re.compile(rb'"sequence":"(\d{16})","time":"([^"]{20,32})"')
#: Bytes kept of a connection in which a change may have begun.
_LONGEST = 128


class Result(msgspec.Struct):
    """``deliveries`` are all; what follows is of those that were counted. ``faults`` are deliveries out of
    order, missing or repeated."""

    deliveries: int
    counted: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    faults: int
    #: Monotonic second of the first counted delivery, and of the last.
    first: float
    last: float


class Subscribers(Server):
    """That process."""

    def __init__(
        self,
        folder: Path,
        address: tuple[str, int],
        path: str,
        *,
        subscribers: int,
        events: int,
        warm: int,
        seconds: float,
    ) -> None:
        super().__init__("subscribers", folder)
        self._out = folder / "subscribers.json"
        self._arguments = [
            *map(str, (*address, path, subscribers, events, warm, seconds)),
            str(self._out),
        ]

    def start(self) -> None:
        """Begin to subscribe."""
        self._spawn([sys.executable, "-m", "tests.bench.subscribers", *self._arguments])

    @property
    def subscribed(self) -> bool:
        return self._out.exists()

    def result(self) -> Result | None:
        """None while it has not ended."""
        if not self._out.exists() or not (found := self._out.read_bytes()):
            return None
        return msgspec.json.decode(found, type=Result)


class _One:
    """One subscriber: the sequence expected next, and what came of a change not yet whole."""

    __slots__ = ("answered", "next", "rest", "socket")

    def __init__(self, made: socket.socket) -> None:
        self.socket, self.next, self.rest, self.answered = made, 0, b"", False


class _All:
    def __init__(self, events: int, warm: int) -> None:
        self._events, self._warm = events, warm
        #: What was found in bytes that came lately: most subscribers are sent the same.
        self._read: dict[bytes, tuple[list[tuple[int, float]], bytes]] = {}
        self.late = array("d")
        self.deliveries = self.faults = self.done = 0
        self.first = self.last = 0.0

    def take(self, one: _One, data: bytes) -> None:
        """``data`` came in for ``one``."""
        now = time.time()
        data = one.rest + data
        read = self._read.get(data)
        if read is None:
            if len(self._read) > 64:
                self._read.clear()
            read = self._read[data] = _changes(data)
        changes, one.rest = read
        for number, at in changes:
            if number != one.next:
                self.faults += 1
            one.next = number + 1
            if number >= self._warm:
                self.late.append(now - at)
        self.deliveries += len(changes)
        if changes and one.next > self._warm:
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.done += one.next == self._events


def _changes(data: bytes) -> tuple[list[tuple[int, float]], bytes]:
    """The sequence and the time of each change in ``data``, and what may be the beginning of another."""
    found, end = [], 0
    for change in _CHANGE.finditer(data):
        found.append((int(change[1]), parse_time(change[2].decode()) / 1e6))
        end = change.end()
    return found, data[max(end, len(data) - _LONGEST) :]


def _connected(host: str, port: int, path: str, count: int) -> Iterator[_One]:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n"
    for _ in range(count):
        made = socket.create_connection((host, port), timeout=10)
        made.sendall(request.encode())
        yield _One(made)


def _main(host: str, port: str, path: str, *rest: str) -> None:
    subscribers, events, warm, seconds, out = rest
    waiting = selectors.DefaultSelector()
    found = _All(int(events), int(warm))
    ones = list(_connected(host, int(port), path, int(subscribers)))
    for one in ones:
        answer = one.socket.recv(65_536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(answer.decode(errors="replace"))
        found.take(one, answer)
        one.socket.setblocking(False)
        waiting.register(one.socket, selectors.EVENT_READ, one)
    Path(out).touch()
    until = time.monotonic() + float(seconds)
    while found.done < len(ones) and time.monotonic() < until:
        for key, _ in waiting.select(0.5):
            with contextlib.suppress(BlockingIOError):
                if data := key.data.socket.recv(262_144):
                    found.take(key.data, data)
                else:
                    waiting.unregister(key.fileobj)
    missing = sum(max(0, int(events) - one.next) for one in ones)
    late = [value * 1000 for value in found.late] or [0.0]
    whole = Path(out + ".part")
    whole.write_bytes(
        msgspec.json.encode(
            Result(
                deliveries=found.deliveries,
                counted=len(found.late),
                seconds=found.last - found.first,
                p50_ms=percentile(late, 0.5),
                p99_ms=percentile(late, 0.99),
                max_ms=max(late),
                faults=found.faults + missing,
                first=found.first,
                last=found.last,
            )
        )
    )
    whole.rename(out)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _main(*sys.argv[1:])
