"""Who is logged in: sessions, each known by a random number of which only the hash is kept."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import structlog

log = structlog.get_logger()

#: Sessions at once, of all and of one name; the one that ends first makes room.
MOST, MOST_OF_ONE = 20_000, 1_000

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, said BLOB, ends REAL) WITHOUT ROWID;
"""


class Session(msgspec.Struct, frozen=True):
    """Somebody who logged in: a window system by the sealed ``token``, or a clerk by the ``issuer``
    that vouches for the ``groups``. ``ends`` is in seconds since 1970 UTC."""

    kind: Literal["system", "clerk"]
    name: str
    ends: float
    token: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()


class Sessions:
    """Those there are, kept at ``path`` over a restart; without one, or while it cannot be written, in
    memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        self._there: dict[str, Session] = {}
        self._base = _opened(path) if path else None
        now = time.time()
        for name, said in self._ask("SELECT id, said FROM session WHERE ends > ?", now):
            self._there[name] = msgspec.json.decode(said, type=Session)
        self._ask("DELETE FROM session WHERE ends <= ?", now)

    def __len__(self) -> int:
        return len(self._there)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._there))

    def open(self, session: Session) -> str:
        """A new session's number, which is a secret."""
        self._make_room(session)
        number = secrets.token_urlsafe(32)
        name = name_of(number)
        self._there[name] = session
        self._ask(
            "INSERT INTO session VALUES (?, ?, ?)", name, msgspec.json.encode(session), session.ends
        )
        return number

    def find(self, name: str) -> Session | None:
        """The session whose number hashes to ``name``, if it has not ended."""
        found = self._there.get(name)
        if found is not None and found.ends <= time.time():
            self.close(name)
            return None
        return found

    def close(self, name: str) -> None:
        """It has ended."""
        if self._there.pop(name, None) is not None:
            self._ask("DELETE FROM session WHERE id = ?", name)

    def shut(self) -> None:
        """Nobody comes any more."""
        if self._base:
            self._base.close()
            self._base = None

    def _make_room(self, coming: Session) -> None:
        now = time.time()
        if len(self._there) >= MOST:
            for name in [name for name, each in self._there.items() if each.ends <= now]:
                self.close(name)
        own = [
            name
            for name, each in self._there.items()
            if (each.kind, each.name) == (coming.kind, coming.name)
        ]
        for names, most in ((own, MOST_OF_ONE), (list(self._there), MOST)):
            if len(names) >= most:
                self.close(min(names, key=lambda name: self._there[name].ends))

    def _ask(self, query: str, *values: object) -> list[tuple[str, bytes]]:
        if self._base is None:
            return []
        try:
            return self._base.execute(query, values).fetchall()
        except sqlite3.Error as error:
            # Whoever is logged in stays so until a restart.
            log.warning("sessions are not kept over a restart", error=str(error))
            return []


def name_of(number: str) -> str:
    """What a session is kept under."""
    return hashlib.sha256(number.encode(errors="replace")).hexdigest()


def _opened(path: Path) -> sqlite3.Connection | None:
    """The file, made anew where it is not one of ours; None where it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        try:
            base = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            base.executescript(_SCHEMA)
            return base
        except (sqlite3.Error, OSError) as error:
            log.warning("the file of sessions is made anew", error=str(error))
            path.unlink(missing_ok=True)
    return None
