"""What was told under which id in the last day, so that what is sent again is not told again.

A SQLite file in the agent's state folder, written behind Kafka: whatever it lacks after a crash, or all
of it once the folder was lost, is read from the end of the topic itself, where every event bears its id.
"""

import hashlib
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agents.capture.published import Published
from agents.kafka.messages import Part

#: Seconds an id is kept at least: as long as the topic keeps its recent past whole.
KEEP = 25 * 3600.0
#: Rows thrown away at once at most.
_PIECE = 20_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, id BLOB UNIQUE NOT NULL, digest BLOB NOT NULL,
    part INTEGER NOT NULL, at INTEGER NOT NULL, seconds INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS read (
    topic TEXT, part INTEGER, upto INTEGER NOT NULL, PRIMARY KEY (topic, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """Where something stands; ``partition`` -1 where it is a dead letter. ``digest`` is of what was
    told, empty for a letter."""

    partition: int
    offset: int
    digest: bytes


def digest_of(key: str, value: bytes | None) -> bytes:
    """What two changes share that say the same of the same key; None is a deletion."""
    text = b"\x00" + key.encode() if value is None else value
    return hashlib.blake2b(text, digest_size=16).digest()


class Ledger:
    """The ledger of one contract in the file ``path``; ``contract`` is its topic's name."""

    def __init__(self, path: Path, contract: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._contract = contract
        self._base = _open(path)
        self._fresh: dict[bytes, Entry] = {}
        self._upto: dict[Part, int] = {}
        self._sequence = self._fact("sequence")
        self._swept = 0.0

    def close(self) -> None:
        """Write what is in hand and let go."""
        self.flush()
        self._base.close()

    @property
    def sequence(self) -> int:
        """The greatest sequence of what it knows."""
        return self._sequence

    async def complete(self, published: Published, now: float | None = None) -> int:
        """Enter what the topic holds and the ledger does not know; how many that were.

        Raises Unavailable.
        """
        rows = self._base.execute("SELECT topic, part, upto FROM read")
        start: Mapping[Part, int] = {(topic, part): upto for topic, part, upto in rows}
        since = int(((now or time.time()) - KEEP) * 1000)
        count = 0
        async for told in published.told(start, since):
            partition = -1 if told.letter else told.part[1]
            digest = b"" if told.letter else digest_of(told.key, told.value)
            name = _name(told.id)
            # A letter that was replayed is an event by now, wherever one looks first.
            if not told.letter or self._find(name) is None:
                self._fresh[name] = Entry(partition, told.offset, digest)
            self._upto[told.part] = told.offset + 1
            if told.sequence.isdigit():
                self._sequence = max(self._sequence, int(told.sequence))
            count += 1
            if len(self._fresh) >= _PIECE:
                self.flush()
        self.flush()
        return count

    def find(self, name: str) -> Entry | None:
        """Where the change of that id stands, None when nothing was told under it."""
        return self._find(_name(name))

    def add(self, name: str, entry: Entry, sequence: int) -> None:
        """Brokers have a change under ``name``, empty where nobody will ask for it by that; a partition's
        own are added in their order."""
        if name:
            self._fresh[_name(name)] = entry
        if entry.partition >= 0:
            self._upto[(self._contract, entry.partition)] = entry.offset + 1
        self._sequence = max(self._sequence, sequence)

    def flush(self) -> None:
        """Write what was added, and throw away what is old."""
        if self._fresh or self._upto:
            seconds = int(time.time())
            with self._base:
                self._base.executemany(
                    "INSERT INTO entry (id, digest, part, at, seconds) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET digest = excluded.digest,"
                    " part = excluded.part, at = excluded.at",
                    [
                        (name, each.digest, each.partition, each.offset, seconds)
                        for name, each in self._fresh.items()
                    ],
                )
                self._base.executemany(
                    "INSERT OR REPLACE INTO read VALUES (?, ?, ?)",
                    [(*part, upto) for part, upto in self._upto.items()],
                )
                self._base.execute(
                    "INSERT OR REPLACE INTO fact VALUES ('sequence', ?)", (self._sequence,)
                )
            self._fresh.clear()
            self._upto.clear()
        self._sweep()

    def _sweep(self) -> None:
        """Rows are numbered in the order of time: a piece of the oldest goes at a time."""
        now = time.time()
        if now - self._swept < 10.0:
            return
        self._swept = now
        with self._base:
            gone = self._base.execute(
                "DELETE FROM entry WHERE number IN (SELECT number FROM entry ORDER BY number LIMIT ?)"
                " AND seconds < ?",
                (_PIECE, int(now - KEEP)),
            ).rowcount
        if gone == _PIECE:
            self._swept = now - 9.0

    def _find(self, name: bytes) -> Entry | None:
        found = self._fresh.get(name)
        if found is None:
            row = self._base.execute(
                "SELECT part, at, digest FROM entry WHERE id = ?", (name,)
            ).fetchone()
            found = Entry(*row) if row else None
        return found

    def _fact(self, name: str) -> int:
        row = self._base.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0


def _name(text: str) -> bytes:
    """Ids are the senders', of any length; here they are of one."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _open(path: Path) -> sqlite3.Connection:
    """A file that is not ours any more, or broken, is begun anew: the topic knows all of it."""
    for again in (False, True):
        base = sqlite3.connect(path)
        try:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            base.executescript(_SCHEMA)
            return base
        except sqlite3.DatabaseError:
            base.close()
            if again:
                raise
            for left in path.parent.glob(f"{path.name}*"):
                left.unlink()
    raise AssertionError
