"""A view: the records of a contract that one neighbour is granted.

A record that leaves the grant is deleted in the view; a key that never was in the view never appears
there, not even as a deletion. For that a view remembers its keys, on disk, as they were when its last
watermark was drawn; if that is lost it is read again from the view's own topic.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rbloom import Bloom

from agents.base.stream import Record
from agents.base.watermark import FENCE, TYPE
from agents.kafka.ends import End
from agents.kafka.messages import Part
from agents.kafka.reader import scan
from agents.kafka.wire import Connection
from agents.relay.align import deleted
from agents.relay.step import Step
from agents.relay.terms import Rule
from contracts.envelope import Header, header

#: A key's source while it is not in the view, in what is not on disk yet.
_OUT = b""
#: Keys for which there is room at first in what spares asking the disk.
_SEEN = 20_000
#: Keys read again that are held in memory before they go to disk.
_PIECE = 20_000


class Passed(NamedTuple):
    """What of a record goes on."""

    value: bytes | None
    headers: Sequence[Header]


class View:
    """Lets through what ``rule`` gives.

    Where a view merges several owners, each key remembers the ``ce_source`` it came from: only that
    source's deletion counts, so a record that moved to another owner is not deleted by the first.
    """

    def __init__(self, contract: str, rule: Rule | Step, path: Path) -> None:
        self.rule = rule
        self._contract = contract
        self._members = Members(path)

    async def open(self, connection: Connection, ends: Mapping[Part, End]) -> None:
        """Be as it was when the watermark of each end was drawn. Raises Unavailable."""
        for part, end in ends.items():
            known = self._members.start(part[1], end.stream, end.offset)
            if end.mark is not None and known < end.offset:
                await self._read_again(connection, part, known, end.offset)

    async def _read_again(self, connection: Connection, part: Part, start: int, stop: int) -> None:
        bounds = await connection.ends([part])
        read = 0
        async for record in scan(connection, part, max(start, bounds[part][0]), stop):
            if header(record.headers, "ce_type") in (TYPE, FENCE) or record.key is None:
                continue
            source = _OUT if record.value is None else _source(record)
            self._members.put(part[1], record.key, source)
            read += 1
            if read % _PIECE == 0:
                self._members.settle(part[1], record.offset + 1)
        self._members.settle(part[1], stop)

    def take(self, partition: int, record: Record) -> Passed | None:
        """What of ``record`` goes on, None for nothing."""
        key = record.key
        if key is None:
            return None
        value = self.rule.given(record)
        if value is not None:
            self._members.put(partition, key, _source(record))
            return Passed(value, self.rule.headers(record))
        if self._members.source(partition, key) != _source(record):
            return None
        self._members.put(partition, key, _OUT)
        return Passed(None, deleted(self.rule.headers(record), self._contract))

    def marking(self, partition: int) -> Callable[[int], None]:
        """A watermark is about to be drawn; the answer is called with its offset once it stands."""
        return self._members.marking(partition)

    def close(self) -> None:
        self._members.close()


def _source(record: Record) -> bytes:
    return header(record.headers, "ce_source") or b"?"


class _Seen:
    """Says of a key for certain that it was never added, or that it may have been.

    Spares asking the disk for keys that are not in the view: 4 µs each. Grows by filters twice as large
    as the one before, 1.2 bytes a key.
    """

    def __init__(self, keys: int) -> None:
        self._size = max(_SEEN, 2 * keys)
        self._room = self._size
        self._filters = [Bloom(self._size, 0.01)]

    def add(self, key: bytes) -> None:
        if key in self:
            return
        if not self._room:
            self._size *= 2
            self._room = self._size
            self._filters.append(Bloom(self._size, 0.01))
        self._room -= 1
        self._filters[-1].add(key)

    def __contains__(self, key: bytes) -> bool:
        for each in self._filters:  # noqa: SIM110 - a generator costs more than the filters
            if key in each:
                return True
        return False


class Members:
    """Which keys are in a view, on disk as of a watermark, with what came after it in memory."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, isolation_level=None)
        # Losing it costs reading the view's topic again, so it need not be synced.
        self._base.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = OFF;
            CREATE TABLE IF NOT EXISTS member (
                partition INTEGER, key BLOB, source BLOB, PRIMARY KEY (partition, key)
            ) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS position (
                partition INTEGER PRIMARY KEY, stream TEXT, offset INTEGER
            );
            """
        )
        self._streams: dict[int, str] = {}
        self._seen: dict[int, _Seen] = {}
        self._recent: dict[int, dict[bytes, bytes]] = {}
        #: Between a watermark's drawing and its standing in Kafka.
        self._frozen: dict[int, list[dict[bytes, bytes]]] = {}

    def start(self, partition: int, stream: str, offset: int) -> int:
        """Offset from which the view's topic must be read again to reach ``offset``.

        What is on disk is forgotten when it belongs to another life of the topic or to later than
        ``offset``.
        """
        self._streams[partition] = stream
        self._recent[partition], self._frozen[partition] = {}, []
        row = self._base.execute(
            "SELECT stream, offset FROM position WHERE partition = ?", (partition,)
        ).fetchone()
        if not row or row[0] != stream or row[1] > offset:
            self._base.execute("DELETE FROM member WHERE partition = ?", (partition,))
            self._base.execute("DELETE FROM position WHERE partition = ?", (partition,))
            row = (stream, 0)
        (count,) = self._base.execute(
            "SELECT count(*) FROM member WHERE partition = ?", (partition,)
        ).fetchone()
        seen = self._seen[partition] = _Seen(count)
        for (key,) in self._base.execute(
            "SELECT key FROM member WHERE partition = ?", (partition,)
        ):
            seen.add(key)
        return int(row[1])

    def source(self, partition: int, key: bytes) -> bytes:
        """The source of ``key`` in the view, empty when it is not there."""
        found = self._recent[partition].get(key)
        if found is not None:
            return found
        for deltas in reversed(self._frozen[partition]):
            if (found := deltas.get(key)) is not None:
                return found
        if key not in self._seen[partition]:
            return _OUT
        row = self._base.execute(
            "SELECT source FROM member WHERE partition = ? AND key = ?", (partition, key)
        ).fetchone()
        return bytes(row[0]) if row else _OUT

    def put(self, partition: int, key: bytes, source: bytes) -> None:
        self._recent[partition][key] = source
        if source != _OUT:
            self._seen[partition].add(key)

    def marking(self, partition: int) -> Callable[[int], None]:
        deltas = self._recent[partition]
        self._recent[partition] = {}
        self._frozen[partition].append(deltas)

        def stands(offset: int) -> None:
            # Watermarks of a partition stand in the order they were drawn.
            assert self._frozen[partition][0] is deltas
            self._write(partition, deltas, offset)
            del self._frozen[partition][0]

        return stands

    def settle(self, partition: int, offset: int) -> None:
        """What was put so far is as of ``offset``."""
        self._write(partition, self._recent[partition], offset)
        self._recent[partition] = {}

    def _write(self, partition: int, deltas: dict[bytes, bytes], offset: int) -> None:
        base = self._base
        base.execute("BEGIN IMMEDIATE")
        row = base.execute(
            "SELECT offset FROM position WHERE partition = ?", (partition,)
        ).fetchone()
        if row and row[0] > offset:
            # Another agent of this node has the folder by now, and is further.
            base.execute("ROLLBACK")
            return
        base.executemany(
            "INSERT OR REPLACE INTO member VALUES (?, ?, ?)",
            [(partition, key, source) for key, source in deltas.items() if source != _OUT],
        )
        base.executemany(
            "DELETE FROM member WHERE partition = ? AND key = ?",
            [(partition, key) for key, source in deltas.items() if source == _OUT],
        )
        base.execute(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?)",
            (partition, self._streams[partition], offset),
        )
        base.execute("COMMIT")

    def close(self) -> None:
        self._base.close()
