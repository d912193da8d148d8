"""The window's store: current state, a bounded feed of recent changes, and the position, in SQLite.

Events and the position they bring are applied in one transaction, so that a kill -9 leaves both or
neither. ``synchronous=NORMAL`` in WAL mode may lose the last transactions in a power cut, but never a
part of one: what is lost is read from Kafka again, from the position that was lost with it.
"""

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from agents.base.errors import GapFound, LevelsyncError, Policy, StreamReplaced
from agents.base.stream import Record, Slice, take
from agents.base.watermark import Continuity
from agents.kafka.topics import contract_of
from contracts.check import Rejected
from contracts.envelope import event_of

#: The feed keeps this many changes, so that a subscriber may be away for as long.
FEED = 100_000
_TRIM_EVERY = 5_000

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
    contract TEXT, key TEXT, origin TEXT, scope TEXT, value BLOB, id TEXT, time INTEGER,
    sequence TEXT, source TEXT, dataschema TEXT, seq INTEGER,
    PRIMARY KEY (contract, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS record_scope ON record (contract, scope, key);
CREATE TABLE IF NOT EXISTS change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, contract TEXT, key TEXT, scope TEXT, was TEXT,
    value BLOB, id TEXT, time INTEGER, sequence TEXT, source TEXT, old BLOB
);
CREATE TABLE IF NOT EXISTS position (
    topic TEXT, partition INTEGER, next INTEGER, state BLOB, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (
    contract TEXT, key TEXT, id TEXT, time INTEGER, judge TEXT, path TEXT, rule TEXT, message TEXT,
    PRIMARY KEY (contract, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY, name TEXT UNIQUE, after INTEGER);
CREATE TEMP TABLE told (contract TEXT, key TEXT, PRIMARY KEY (contract, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (contract TEXT PRIMARY KEY, records INTEGER) WITHOUT ROWID;
"""


class StoreFull(LevelsyncError):
    """The disk of the window's store is full."""

    policy = Policy.RETRY
    hint = "Make room; nothing is lost meanwhile, and the agent goes on by itself."


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record as it is now. ``time`` is the commit in microseconds since 1970 UTC; ``seq`` that of
    the change which made it so."""

    contract: str
    key: str
    scope: str
    value: bytes
    id: str
    time: int
    sequence: str
    source: str
    dataschema: str
    seq: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change as it was applied; ``value`` None is a deletion, ``was`` the scope before it and
    ``old`` the value, empty and None when there was none.

    A change of before the store kept ``old`` has a scope in ``was`` and None here: it is not known.
    """

    seq: int
    contract: str
    key: str
    scope: str
    was: str
    value: bytes | None
    id: str
    time: int
    sequence: str
    source: str
    old: bytes | None = None
    #: Known only when it is applied: a row of a first copy, not a change somebody just made.
    copied: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """The newest change of a key did not keep its contract: what is shown of the key is older."""

    id: str
    time: int
    path: str
    rule: str
    message: str


class Judge(msgspec.Struct, frozen=True):
    """What every value must pass before it is shown: ``check`` raises Rejected; ``name`` tells one
    contract, revision and grant from another."""

    name: str
    check: Callable[[bytes], object]


class Applied(msgspec.Struct):
    """What one slice did."""

    changes: list[Change]
    #: Events that were there already or were older than what is there; 0 unless a promise broke.
    repeated: int = 0
    out_of_order: int = 0
    #: Changes that did not keep their contract.
    refused: int = 0


class Store:
    """One window's store; one writer, and any number of readers in the same process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)
        columns = [name for _, name, *_ in self._base.execute("PRAGMA table_info (change)")]
        if "old" not in columns:
            self._base.execute("ALTER TABLE change ADD COLUMN old BLOB")
        self._base.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (uuid.uuid4().hex[:10],))
        #: Random, made with the store: a token of another store is recognised by it.
        self.id: str = self._one("SELECT value FROM meta WHERE name = 'id'")[0]
        self._trimmed = 0
        #: Contracts that are being told again from the top; table ``told`` has the keys.
        self._again: set[str] = set()
        #: Contracts that may have refused changes.
        self._refusing = {name for (name,) in self._base.execute("SELECT contract FROM refused")}

    def tell_again(self, contract: str) -> None:
        """Everything of ``contract`` is told again from here on: repeats are to be expected."""
        self._base.execute("DELETE FROM told WHERE contract = ?", (contract,))
        self._again.add(contract)

    def told_again(self, contract: str, topics: Iterable[str]) -> list[Change]:
        """Everything was told again: what was not among it is deleted; the changes this makes.

        Positions in other topics than ``topics`` are forgotten.
        """
        gone: list[Change] = []
        base, kept, now = self._base, set(topics), time.time_ns() // 1000
        base.execute("BEGIN IMMEDIATE")
        for key, scope, identity, sequence, source, old in base.execute(
            "SELECT key, scope, id, sequence, source, value FROM record WHERE contract = ?"
            " AND key NOT IN (SELECT key FROM told WHERE told.contract = record.contract)",
            (contract,),
        ).fetchall():
            row = (
                contract, key, "", scope, None, f"{identity}~{now}", now, f"{sequence}~{now}", source,
                old,
            )  # fmt: skip
            seq = base.execute(_ENTER_CHANGE, row).lastrowid or 0
            base.execute("DELETE FROM record WHERE contract = ? AND key = ?", (contract, key))
            gone.append(Change(seq, *row))
        base.execute(
            "UPDATE total SET records = records - ? WHERE contract = ?", (len(gone), contract)
        )
        base.execute(
            "DELETE FROM refused WHERE contract = ?"
            " AND key NOT IN (SELECT key FROM told WHERE told.contract = refused.contract)",
            (contract,),
        )
        for topic in self.origins(contract) - kept:
            base.execute("DELETE FROM position WHERE topic = ?", (topic,))
        base.execute("DELETE FROM told WHERE contract = ?", (contract,))
        base.execute("COMMIT")
        self._again.discard(contract)
        return gone

    def origins(self, contract: str) -> set[str]:
        """The topics from which ``contract`` was ever read here."""
        rows = self._base.execute("SELECT DISTINCT topic FROM position")
        return {topic for (topic,) in rows if contract_of(topic) == contract}

    def apply(
        self, contract: str, piece: Slice, state: Continuity, judge: Judge | None = None
    ) -> Applied:
        """Apply a slice and save ``state``, which takes the records in as it reads. What ``judge`` does
        not let through is kept as refused.

        Raises StoreFull with nothing applied. On GapFound or StreamReplaced what stands before the
        bad watermark is applied, and the position stays before it.
        """
        before = msgspec.structs.replace(state)
        applied = Applied([])
        found: GapFound | StreamReplaced | None = None
        position = piece.next
        base = self._base
        try:
            base.execute("BEGIN IMMEDIATE")
            for record in piece.records:
                try:
                    event = take(record, state) is True
                except (GapFound, StreamReplaced) as error:
                    found, position = error, record.offset
                    break
                if event:
                    self._enter(contract, piece.topic, record, applied, judge)
            base.execute(
                "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
                (piece.topic, piece.partition, position, msgspec.json.encode(state)),
            )
            base.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if base.in_transaction:
                base.execute("ROLLBACK")
            for name in state.__struct_fields__:
                setattr(state, name, getattr(before, name))
            if "full" in str(error):
                raise StoreFull(said=str(error)) from None
            raise
        if found is not None:
            raise found
        self._trim(len(applied.changes))
        return applied

    def _enter(
        self,
        contract: str,
        topic: str,
        record: Record,
        applied: Applied,
        judge: Judge | None,
    ) -> None:
        event = event_of(record.value, record.headers)
        base = self._base
        row = base.execute(
            "SELECT origin, sequence, scope, source, id, value FROM record"
            " WHERE contract = ? AND key = ?",
            (contract, event.key),
        ).fetchone()
        again = contract in self._again
        if again and event.value is not None:
            base.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (contract, event.key))
        elif again:
            base.execute("DELETE FROM told WHERE contract = ? AND key = ?", (contract, event.key))
        # Sequences are one source's own: those of two owners cannot be compared.
        if row and row[0] == topic and row[3] == event.source and event.sequence <= row[1]:
            if not again:
                applied.repeated += event.sequence == row[1]
                applied.out_of_order += event.sequence < row[1]
            return
        if event.value is None and (row is None or row[0] != topic):
            return  # not there, or another owner's by now
        if row and row[0] != topic and row[4] == event.id:
            # The same event by another way.
            base.execute(
                "UPDATE record SET origin = ? WHERE contract = ? AND key = ?",
                (topic, contract, event.key),
            )
            return
        if judge and event.value is not None:
            try:
                judge.check(event.value)
            except Rejected as refused:
                base.execute(
                    "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (contract, event.key, event.id, event.time, judge.name, refused.path,
                     refused.rule, refused.message),
                )  # fmt: skip
                self._refusing.add(contract)
                applied.refused += 1
                return
        if contract in self._refusing:
            base.execute(
                "DELETE FROM refused WHERE contract = ? AND key = ?", (contract, event.key)
            )
        was, old = (row[2], row[5]) if row else ("", None)
        cursor = base.execute(
            _ENTER_CHANGE,
            (contract, event.key, event.scope, was, event.value, event.id, event.time,
             event.sequence, event.source, old),
        )  # fmt: skip
        seq = cursor.lastrowid or 0
        if event.value is None:
            base.execute("DELETE FROM record WHERE contract = ? AND key = ?", (contract, event.key))
        else:
            base.execute(
                "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (contract, event.key, topic, event.scope, event.value, event.id, event.time,
                 event.sequence, event.source, event.dataschema, seq),
            )  # fmt: skip
        grown = (event.value is not None) - (row is not None)
        if grown:
            base.execute(
                "INSERT INTO total VALUES (?, ?)"
                " ON CONFLICT (contract) DO UPDATE SET records = records + excluded.records",
                (contract, grown),
            )
        applied.changes.append(
            Change(seq, contract, event.key, event.scope, was, event.value, event.id, event.time,
                   event.sequence, event.source, old, event.type.endswith(".copied"))
        )  # fmt: skip

    def _trim(self, count: int) -> None:
        self._trimmed += count
        if self._trimmed >= _TRIM_EVERY:
            self._trimmed = 0
            self._base.execute("DELETE FROM change WHERE seq <= ?", (self.last - FEED,))

    def begin_run(self) -> str:
        """A name for what is told of this store from here on.

        A power cut may take the last changes, and their ``seq`` then comes again for others: what was
        told in one run of the window can be taken up in another only as far as the store still had it
        when that began, which :meth:`run_reaches` says.
        """
        name = uuid.uuid4().hex[:6]
        self._base.execute("INSERT INTO run (name, after) VALUES (?, ?)", (name, self.last))
        # Those that ended before the feed's oldest change can be of use to nobody.
        self._base.execute(
            "DELETE FROM run WHERE number < (SELECT max(number) FROM run WHERE after + 1 < ?)",
            (self.first,),
        )
        return name

    def run_reaches(self, name: str) -> int | None:
        """The newest ``seq`` told in the run ``name`` that still stands; None when it is not known."""
        row = self._base.execute(
            "SELECT (SELECT min(after) FROM run AS next WHERE next.number > run.number)"
            " FROM run WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            return None
        return self.last if row[0] is None else int(row[0])

    def positions(self, topics: Iterable[str]) -> dict[tuple[str, int], tuple[int, Continuity]]:
        """Where to read on in each partition that was read before, and what was verified there."""
        found = {}
        for topic in topics:
            for partition, following, state in self._base.execute(
                "SELECT partition, next, state FROM position WHERE topic = ?", (topic,)
            ):
                found[topic, partition] = (
                    following, msgspec.json.decode(state, type=Continuity)
                )  # fmt: skip
        return found

    def get(self, contract: str, key: str) -> Entry | None:
        """The record of ``key`` as it is now."""
        row = self._base.execute(
            f"SELECT {_ENTRY} FROM record WHERE contract = ? AND key = ?", (contract, key)
        ).fetchone()
        return Entry(*row) if row else None

    def refusal(self, contract: str, key: str) -> Refusal | None:
        """Why the newest change of ``key`` is not shown; None when it is."""
        if contract not in self._refusing:
            return None
        row = self._base.execute(
            "SELECT id, time, path, rule, message FROM refused WHERE contract = ? AND key = ?",
            (contract, key),
        ).fetchone()
        return Refusal(*row) if row else None

    def refused_by_others(self, contract: str, judge: str) -> bool:
        """Were changes refused by another contract, revision or grant than ``judge``'s?"""
        row = self._base.execute(
            "SELECT 1 FROM refused WHERE contract = ? AND judge <> ? LIMIT 1", (contract, judge)
        ).fetchone()
        return row is not None

    def page(
        self, contract: str, scopes: Sequence[str] | None, after: str, limit: int
    ) -> list[Entry]:
        """Up to ``limit`` records of the divisions ``scopes`` (of every one when empty or the nation's
        ``0`` is among them, of none when None) with keys after ``after``, in the order of keys."""
        if scopes is None:
            return []
        query = f"SELECT {_ENTRY} FROM record WHERE contract = ? AND key > ?"
        values: list[str | int] = [contract, after]
        if scopes and "0" not in scopes:
            query += f" AND ({' OR '.join(['(scope >= ? AND scope < ?)'] * len(scopes))})"
            values += [each for scope in scopes for each in (scope, scope + "\x7f")]
        rows = self._base.execute(f"{query} ORDER BY key LIMIT ?", (*values, limit))
        return [Entry(*row) for row in rows]

    def changes_after(self, seq: int, limit: int) -> list[Change]:
        """Up to ``limit`` changes after ``seq``, of all contracts, in the order applied."""
        rows = self._base.execute(
            "SELECT seq, contract, key, scope, was, value, id, time, sequence, source, old"
            " FROM change WHERE seq > ? ORDER BY seq LIMIT ?",
            (seq, limit),
        )
        return [Change(*row) for row in rows]

    def total(self, contract: str) -> int:
        """How many records there are."""
        row = self._base.execute(
            "SELECT records FROM total WHERE contract = ?", (contract,)
        ).fetchone()
        return int(row[0]) if row else 0

    @property
    def last(self) -> int:
        """``seq`` of the newest change, 0 when there was none."""
        row = self._base.execute("SELECT seq FROM sqlite_sequence WHERE name = 'change'").fetchone()
        return int(row[0]) if row else 0

    @property
    def first(self) -> int:
        """``seq`` of the oldest change the feed still has; one past the newest when it is empty."""
        row = self._one("SELECT min(seq) FROM change")
        return self.last + 1 if row[0] is None else int(row[0])

    def _one(self, query: str) -> tuple[str, ...]:
        row: tuple[str, ...] = self._base.execute(query).fetchone()
        return row

    def entries(
        self, contract: str, scopes: Sequence[str], size: int = 500
    ) -> Iterator[list[Entry]]:
        """All records page by page, each page as it is when it is asked for."""
        after = ""
        while page := self.page(contract, scopes, after, size):
            yield page
            after = page[-1].key

    def close(self) -> None:
        self._base.close()


_ENTER_CHANGE = (
    "INSERT INTO change (contract, key, scope, was, value, id, time, sequence, source, old)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ENTRY = "contract, key, scope, value, id, time, sequence, source, dataschema, seq"
