"""What a window left on an MQTT broker: the keys with a retained message, and how far it was told.

Keys that were cleared are remembered for a week: a broker that lost the end of its memory in a crash
shows them again.
"""

import sqlite3
import time
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from agents.window.delivery import Position

#: Seconds for which a cleared key is remembered.
WEEK = 7 * 86_400.0

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    contract TEXT, key TEXT, cleared REAL, PRIMARY KEY (contract, key)
) WITHOUT ROWID;
"""

#: Contract and key.
Key = tuple[str, str]


class Told:
    """The memory of one delivery to one broker, in a file of its own."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)
        self._base.execute(
            "DELETE FROM told WHERE cleared IS NOT NULL AND cleared < ?", (time.time() - WEEK,)
        )
        #: Random; a broker that shows another one is not the one we told.
        self.state = ""

    def position(self, url: str) -> Position | None:
        """How far the broker at ``url`` was told; sets ``state``, a new one when it was not told."""
        rows = dict(self._base.execute("SELECT name, value FROM meta"))
        if rows.get("url") != url or "position" not in rows:
            self.begin(url)
            return None
        self.state = str(rows["state"])
        return msgspec.json.decode(rows["position"], type=Position)

    def begin(self, url: str) -> None:
        """The broker at ``url`` knows nothing of us yet."""
        self.state = uuid.uuid4().hex[:12]
        self._set(url=url, state=self.state)
        self._base.execute("DELETE FROM meta WHERE name = 'position'")

    def enter(self, keys: Iterable[Key]) -> None:
        """These are about to be retained there."""
        self._base.execute("BEGIN")
        self._base.executemany(
            "INSERT INTO told VALUES (?, ?, NULL) ON CONFLICT (contract, key)"
            " DO UPDATE SET cleared = NULL WHERE cleared IS NOT NULL",
            keys,
        )
        self._base.execute("COMMIT")

    def done(self, position: Position, cleared: Collection[Key]) -> None:
        """The broker has everything up to ``position``, and nothing of ``cleared``."""
        now = time.time()
        self._base.execute("BEGIN")
        self._base.executemany(
            "UPDATE told SET cleared = ? WHERE contract = ? AND key = ?",
            [(now, *each) for each in cleared],
        )
        self._set(position=msgspec.json.encode(position))
        self._base.execute("COMMIT")

    def _set(self, **values: str | bytes) -> None:
        self._base.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def held(self, contract: str, after: str, limit: int) -> list[str]:
        """Keys that are retained there, or were in the last week."""
        rows = self._base.execute(
            "SELECT key FROM told WHERE contract = ? AND key > ? ORDER BY key LIMIT ?",
            (contract, after, limit),
        )
        return [key for (key,) in rows]

    def close(self) -> None:
        self._base.close()
