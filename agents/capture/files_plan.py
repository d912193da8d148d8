"""What is to be told of one file, worked out before any of it is, on disk and never in memory.

A plan is a database of its own in the source's state folder. A snapshot is compared with what the topic
holds at this moment, which is the only truth there is; so a plan can be lost, and is made anew.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agents.capture.files_report import Report
from contracts.check import Checked
from contracts.rejected import Rejected

#: A row whose key stands in the file twice.
REPEATED = "repeated-key"

_SCHEMA = """
CREATE TABLE plan (header BLOB);
CREATE TABLE known (key TEXT PRIMARY KEY, stands BLOB, digest BLOB, line INTEGER, n INTEGER)
    WITHOUT ROWID;
CREATE TABLE told (n INTEGER PRIMARY KEY, kind TEXT, line INTEGER, key TEXT, scope TEXT, value BLOB,
    path TEXT, rule TEXT, message TEXT, raw BLOB);
"""


class Header(msgspec.Struct):
    """Whose plan it is: the file's number and digest, the contract's revision, its mode, and what the
    report says by now."""

    number: int
    digest: str
    dataschema: str
    report: Report

    def of(self, number: int, digest: str, dataschema: str) -> bool:
        """Is it the plan of this file, made by this revision?"""
        return (self.number, self.digest, self.dataschema) == (number, digest, dataschema)


class Told(NamedTuple):
    """One thing to tell. ``kind`` is ``insert``, ``update``, ``upsert``, ``delete``, ``refused``, where
    ``value`` are the fields that the contract refuses, or ``unreadable``, where ``rule`` says why."""

    n: int
    kind: str
    line: int
    key: str
    scope: str
    value: bytes | None
    path: str
    rule: str
    message: str
    raw: bytes


class Plan:
    """The plan in ``folder``; being made until :meth:`finish`, which a crash leaves nothing of before.

    Used by one thread at a time.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection, header: Header) -> None:
        self.header = header
        self._folder = folder
        self._database = database
        #: Does it stand, and is no more than read?
        self.finished = False
        self._nowhere = 0  # rows of which nobody can tell whose they are
        self._n = 0

    # ---- making one --------------------------------------------------------------------------

    @classmethod
    def begin(cls, folder: Path, header: Header) -> "Plan":
        """A new plan in place of any other. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        cls.forget(folder)
        database = _opened(folder / "plan.making.sqlite")
        database.executescript(_SCHEMA)
        return cls(folder, database, header)

    def stands(self, records: Iterable[tuple[str, bytes]]) -> None:
        """The topic holds these keys, each with its record's JSON."""
        rows = [(key, digest_of(value)) for key, value in records]
        self._database.executemany("INSERT INTO known (key, stands) VALUES (?, ?)", rows)
        self.header.report.records += len(rows)

    def row(self, line: int, checked: Checked) -> None:
        """A snapshot's row that is as the contract wants it."""
        report, key, digest = self.header.report, checked.key, digest_of(checked.value)
        self._n += 1
        found = self._found(key)
        if found and found[1] is not None:
            if found[1] == digest:
                report.identical += 1
            else:
                self._repeated(key, found, line, b"")
            return
        kind = "insert" if found is None or found[0] is None else "update"
        n = None
        if found and found[0] == digest:
            report.unchanged += 1
        else:
            n = self._n
            self._tell(kind, line, key, checked.scope, checked.value)
            self._count(kind, 1)
        self._note(key, digest, line, n)

    def refuse(
        self,
        line: int,
        key: str,
        refused: Rejected,
        fields: dict[str, Any] | None,
        raw: bytes,
        *,
        sure: bool,
    ) -> None:
        """A row that is refused, of a snapshot or a delta. ``sure`` is False when ``key`` may not be that
        of the record which is meant; it may be empty then."""
        self._n += 1
        self.header.report.refuse(line, refused.path, refused.rule, refused.message)
        value = None if fields is None else msgspec.json.encode(fields, enc_hook=str)
        why = (refused.path, refused.rule, refused.message)
        self._tell("refused" if value is not None else "unreadable", line, key, "", value, why, raw)
        if self.header.report.mode != "snapshot":
            return
        if not sure:
            self._nowhere += 1
            return
        found = self._found(key)
        if found and found[1] is not None:
            self._unsay(found)
        self._note(key, b"", line, None)

    def change(self, line: int, key: str, checked: Checked | None) -> None:
        """A delta's row; None deletes."""
        self._n += 1
        if checked is None:
            self._tell("delete", line, key, "", None)
            self._count("delete", 1)
        else:
            self._tell("upsert", line, key, checked.scope, checked.value)
            self._count("upsert", 1)

    def close_rows(self) -> None:
        """There are no more rows: what a snapshot does not have is deleted."""
        report = self.header.report
        report.rows = self._n
        if report.mode != "snapshot":
            return
        gone = "FROM known WHERE line IS NULL"
        (count,) = self._database.execute(f"SELECT count(*) {gone}").fetchone()
        if self._nowhere:
            report.withheld = count
            return
        report.deletes = count
        self._database.execute(
            "INSERT INTO told (n, kind, line, key, scope, value, path, rule, message, raw)"
            f" SELECT {self._n} + row_number() OVER (ORDER BY key), 'delete', 0, key, '', NULL,"
            f" '', '', '', x'' {gone} ORDER BY key"
        )

    def finish(self) -> None:
        """The plan stands from now on, until :meth:`forget`. Raises OSError."""
        database = self._database
        database.execute("DELETE FROM known")
        database.execute("INSERT INTO plan VALUES (?)", (msgspec.json.encode(self.header),))
        database.commit()
        database.close()
        made = self._folder / "plan.making.sqlite"
        made.replace(self._folder / "plan.sqlite")
        self._database = _opened(self._folder / "plan.sqlite")
        self.finished = True

    def _found(self, key: str) -> tuple[bytes | None, bytes | None, int | None, int | None] | None:
        found: tuple[bytes | None, bytes | None, int | None, int | None] | None = (
            self._database.execute(
                "SELECT stands, digest, line, n FROM known WHERE key = ?", (key,)
            ).fetchone()
        )
        return found

    def _note(self, key: str, digest: bytes, line: int, n: int | None) -> None:
        self._database.execute(
            "INSERT INTO known (key, digest, line, n) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET digest = excluded.digest, line = excluded.line,"
            " n = excluded.n",
            (key, digest, line, n),
        )

    def _repeated(self, key: str, found: Any, line: int, raw: bytes) -> None:
        """Which of the two is meant nobody knows: neither is told, and what stands is kept."""
        self._unsay(found)
        first = found[2]
        why = ("$", REPEATED, f"Expected each key once, got it in lines {first} and {line}")
        self.header.report.refuse(line, *why)
        self._tell("unreadable", line, key, "", None, why, raw)
        self._note(key, b"", first, None)

    def _unsay(self, found: Any) -> None:
        """A row taken for right before is not to be told after all."""
        stands, digest, line, n = found
        if digest == b"":
            return  # refused before
        if n is None:
            self.header.report.unchanged -= 1
        else:
            self._count("insert" if stands is None else "update", -1)
            self._database.execute("DELETE FROM told WHERE n = ?", (n,))
        self.header.report.refuse(line, "$", REPEATED, "Expected each key once, got it again below")

    def _count(self, kind: str, by: int) -> None:
        report, name = self.header.report, f"{kind}s"
        setattr(report, name, getattr(report, name) + by)

    def _tell(
        self,
        kind: str,
        line: int,
        key: str,
        scope: str,
        value: bytes | None,
        why: tuple[str, str, str] = ("", "", ""),
        raw: bytes = b"",
    ) -> None:
        self._database.execute(
            "INSERT INTO told VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._n, kind, line, key, scope, value, *why, raw),
        )

    # ---- telling from one --------------------------------------------------------------------

    @classmethod
    def find(cls, folder: Path) -> "Plan | None":
        """The plan that stands, None when there is none that is whole."""
        if not (folder / "plan.sqlite").exists():
            return None
        database = _opened(folder / "plan.sqlite")
        try:
            (header,) = database.execute("SELECT header FROM plan").fetchone()
            return cls(folder, database, msgspec.json.decode(header, type=Header))
        except (sqlite3.Error, msgspec.MsgspecError, TypeError):
            database.close()
            return None

    def told_after(self, n: int, most: int) -> list[Told]:
        """What is to be told after number ``n``, at most so much of it."""
        query = "SELECT * FROM told WHERE n > ? ORDER BY n LIMIT ?"
        return [Told(*row) for row in self._database.execute(query, (n, most))]

    def last(self) -> int:
        """The number of the last thing to tell, 0 when there is nothing."""
        (last,) = self._database.execute("SELECT max(n) FROM told").fetchone()
        return int(last or 0)

    def close(self) -> None:
        """Let go; the plan stays where it is."""
        self._database.close()

    @classmethod
    def forget(cls, folder: Path) -> None:
        """No plan stands. Raises OSError."""
        for file in _files(folder):
            file.unlink(missing_ok=True)


def digest_of(value: bytes) -> bytes:
    """Tells records apart."""
    return hashlib.blake2b(value, digest_size=16).digest()


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    path.chmod(0o600)  # records are in it
    # What was not finished is thrown away, and what was is only read: no journal is needed.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16000"):
        database.execute(f"PRAGMA {pragma}")
    return database


def _files(folder: Path) -> Iterator[Path]:
    for name in ("plan.sqlite", "plan.making.sqlite"):
        yield folder / name
