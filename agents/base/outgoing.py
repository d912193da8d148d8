"""What a node itself has to tell, kept on disk until Kafka has it.

Corrections and accesses of a window are put here, and at a leaf whatever is sent upwards, so that
nobody who tells something waits for a line: it goes out in the order in which it was put, once.
"""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from agents.base.errors import LevelsyncError, Policy

#: Records of one contract that wait at most.
MOST = 1_000_000

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, contract TEXT, key TEXT, value BLOB, time INTEGER,
    trace TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS waiting_contract ON waiting (contract, seq);
CREATE TABLE IF NOT EXISTS counted (contract TEXT PRIMARY KEY, records INTEGER) WITHOUT ROWID;
"""


class OutgoingFull(LevelsyncError):
    """More waits to be sent than there is room for."""

    policy = Policy.RETRY
    hint = (
        "The line or Kafka is away, or the disk is full; it goes on by itself when that is mended."
    )


class Waiting(NamedTuple):
    """One record that waits; ``value`` None is a deletion. ``time``, microseconds since 1970 UTC, is
    another for each and grows with ``seq``, also where the clock went back. ``traceparent`` is its
    sender's, empty without one."""

    seq: int
    key: str
    value: bytes | None
    time: int
    traceparent: str = ""


class Outgoing:
    """What waits, by contract. For one process, and within it for one thread."""

    def __init__(self, path: Path, most: int = MOST) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)
        columns = {name for _, name, *_ in self._base.execute("PRAGMA table_info (waiting)")}
        if "trace" not in columns:  # a file made before there was one
            self._base.execute("ALTER TABLE waiting ADD COLUMN trace TEXT NOT NULL DEFAULT ''")
        self._base.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (uuid.uuid4().hex[:12],))
        #: Random, made with the file: tells what was put before the file was lost from what came after.
        self.id: str = self._base.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[0]
        found = self._base.execute("SELECT value FROM meta WHERE name = 'time'").fetchone()
        self._time = int(found[0]) if found else 0
        self._most = most
        self._news: dict[str, asyncio.Event] = {}

    def put(
        self,
        contract: str,
        records: Iterable[tuple[str, bytes | None]],
        also: Callable[[sqlite3.Connection], None] | None = None,
        traces: Sequence[str] = (),
    ) -> list[int]:
        """Put records, key and JSON, at the end; the answer are their numbers. They are on disk then.

        ``traces`` are their traceparents, one for each or none at all. ``also`` is done in the same
        transaction. Raises OutgoingFull with nothing put.
        """
        now, base = max(time.time_ns() // 1000, self._time + 1), self._base
        rows = [
            (contract, key, value, now + n, traces[n] if traces else "")
            for n, (key, value) in enumerate(records)
        ]
        last = now + len(rows)
        try:
            base.execute("BEGIN IMMEDIATE")
            if self.waiting(contract) + len(rows) > self._most:
                raise OutgoingFull(contract=contract, waiting=self._most)
            numbers = [
                base.execute(
                    "INSERT INTO waiting (contract, key, value, time, trace) VALUES (?, ?, ?, ?, ?)",
                    row,
                ).lastrowid
                or 0
                for row in rows
            ]
            self._count(contract, len(rows))
            base.execute("INSERT OR REPLACE INTO meta VALUES ('time', ?)", (str(last),))
            if also:
                also(base)
            base.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OutgoingFull(contract=contract, said=str(error)) from None
        finally:
            if base.in_transaction:
                base.execute("ROLLBACK")
        self._time = last
        self._event(contract).set()
        return numbers

    def now(self) -> int:
        """Microseconds since 1970 UTC by which everything put so far was put."""
        return max(time.time_ns() // 1000, self._time)

    def beside(self, schema: str) -> sqlite3.Connection:
        """Tables of somebody's own in the same file, made by ``schema``: to be written in ``also`` of
        :meth:`put`, and read, on the connection that is answered."""
        self._base.executescript(schema)
        return self._base

    def after(self, contract: str, seq: int, limit: int) -> Sequence[Waiting]:
        """Up to ``limit`` that wait, with numbers after ``seq``, in their order."""
        return [
            Waiting(*row)
            for row in self._base.execute(
                "SELECT seq, key, value, time, trace FROM waiting WHERE contract = ? AND seq > ?"
                " ORDER BY seq LIMIT ?",
                (contract, seq, limit),
            )
        ]

    def drop(self, contract: str, seq: int) -> None:
        """All up to ``seq`` stand in Kafka."""
        base = self._base
        base.execute("BEGIN IMMEDIATE")
        gone = base.execute(
            "DELETE FROM waiting WHERE contract = ? AND seq <= ?", (contract, seq)
        ).rowcount
        self._count(contract, -gone)
        base.execute("COMMIT")

    def _count(self, contract: str, more: int) -> None:
        self._base.execute(
            "INSERT INTO counted VALUES (?, ?)"
            " ON CONFLICT (contract) DO UPDATE SET records = records + excluded.records",
            (contract, more),
        )

    def waiting(self, contract: str) -> int:
        """How many wait."""
        row = self._base.execute(
            "SELECT records FROM counted WHERE contract = ?", (contract,)
        ).fetchone()
        return int(row[0]) if row else 0

    async def news(self, contract: str, seconds: float) -> None:
        """Wait until something is put, ``seconds`` at most."""
        event = self._event(contract)
        event.clear()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def _event(self, contract: str) -> asyncio.Event:
        return self._news.setdefault(contract, asyncio.Event())

    def close(self) -> None:
        self._base.close()
