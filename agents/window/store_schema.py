"""The tables of the window's store, and how those of a former release become them.

Each contract's records are in a table of their own, ``record_<n>``, a *content*; another one is filled
beside it while everything is read again, and takes its place when it is whole.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterable
from pathlib import Path

from agents.base.errors import LevelsyncError
from agents.kafka.topics import contract_of
from agents.window.store_rows import StoreDamaged, StoreFull, StoreNewer

#: Of the tables below; 0 is the first release's.
VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content (
    id INTEGER PRIMARY KEY AUTOINCREMENT, contract TEXT, state INTEGER, fields TEXT
);
CREATE TABLE IF NOT EXISTS division (
    content INTEGER, scope TEXT, records INTEGER, PRIMARY KEY (content, scope)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (
    content INTEGER, topic TEXT, partition INTEGER, next INTEGER, state BLOB,
    PRIMARY KEY (content, topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change (
    seq INTEGER PRIMARY KEY, contract TEXT, key TEXT, scope TEXT, was TEXT,
    value BLOB, id TEXT, time INTEGER, sequence TEXT, source TEXT, old BLOB
);
CREATE INDEX IF NOT EXISTS change_key ON change (contract, key, seq);
CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY, name TEXT UNIQUE, after INTEGER);
CREATE TABLE IF NOT EXISTS refused (
    contract TEXT, key TEXT, id TEXT, time INTEGER, judge TEXT, path TEXT, rule TEXT, message TEXT,
    PRIMARY KEY (contract, key)
) WITHOUT ROWID;
"""
_RECORD = """CREATE TABLE record_{id} (
    n INTEGER PRIMARY KEY, key TEXT, origin TEXT, scope TEXT, value BLOB, id TEXT, time INTEGER,
    sequence TEXT, source TEXT, dataschema TEXT, seq INTEGER
)"""
#: A record's columns but ``n`` and ``key``.
COLUMNS = "origin, scope, value, id, time, sequence, source, dataschema, seq"
#: States of a content: the one shown, one filled beside it, one to be thrown away.
SHOWN, BUILDING, GONE = range(3)
#: KiB of pages a connection keeps: while much is written, and otherwise.
WIDE, NARROW = 48_000, 6_000


class Content:
    """One table of records: how many of each division, and by which fields they can be searched."""

    def __init__(self, number: int, contract: str, state: int, fields: Iterable[str]) -> None:
        self.id, self.contract, self.state = number, contract, state
        self.table = f"record_{number}"
        self.fields = tuple(fields)
        #: By division, as it was last saved; and what is not saved yet.
        self.divisions: dict[str, int] = {}
        self.grown: dict[str, int] = {}
        self.total = 0
        #: Made by this process, and no key was entered in two slices yet.
        self.fresh = False

    @property
    def empty(self) -> bool:
        """Was nothing ever entered here?"""
        return not self.divisions and not self.grown

    def save(self, base: sqlite3.Connection) -> None:
        """Write how the divisions grew, within the transaction there is."""
        base.executemany(
            "INSERT INTO division VALUES (?, ?, ?)"
            " ON CONFLICT (content, scope) DO UPDATE SET records = records + excluded.records",
            [(self.id, scope, more) for scope, more in self.grown.items() if more],
        )

    def saved(self) -> None:
        """The transaction is through."""
        for scope, more in self.grown.items():
            self.divisions[scope] = self.divisions.get(scope, 0) + more
            self.total += more
        self.grown.clear()


def value_of(field: str) -> str:
    """The text of ``field`` in a record's JSON, as SQL: what it is searched by."""
    return f"""CAST(json_extract(CAST(value AS TEXT), '$."{field}"') AS TEXT)"""


def make(base: sqlite3.Connection, contract: str, state: int, fields: Iterable[str]) -> Content:
    """A new content for ``contract``, within the transaction there is."""
    number = base.execute(
        "INSERT INTO content (contract, state, fields) VALUES (?, ?, '[]')", (contract, state)
    ).lastrowid
    content = Content(number or 0, contract, state, ())
    base.execute(_RECORD.format(id=content.id))
    base.execute(f"CREATE UNIQUE INDEX {content.table}_key ON {content.table} (key)")
    base.execute(f"CREATE INDEX {content.table}_scope ON {content.table} (scope, key)")
    index(base, content, fields)
    content.fresh = True
    return content


def index(base: sqlite3.Connection, content: Content, fields: Iterable[str]) -> None:
    """Have ``content`` searchable by ``fields`` alone, within the transaction there is."""
    wanted = tuple(fields)
    for field in {*content.fields} - {*wanted}:
        base.execute(f'DROP INDEX IF EXISTS "{content.table}_by_{field}"')
    for field in {*wanted} - {*content.fields}:
        base.execute(
            f'CREATE INDEX "{content.table}_by_{field}"'
            f" ON {content.table} ({value_of(field)}, scope, key)"
        )
    base.execute("UPDATE content SET fields = ? WHERE id = ?", (json.dumps(wanted), content.id))
    content.fields = wanted


def drop(base: sqlite3.Connection, content: Content) -> None:
    """Throw ``content`` away, within the transaction there is."""
    base.execute(f"DROP TABLE {content.table}")
    for table, column in (("division", "content"), ("position", "content"), ("content", "id")):
        base.execute(f"DELETE FROM {table} WHERE {column} = ?", (content.id,))


def contents(base: sqlite3.Connection) -> list[Content]:
    """Every content there is."""
    found = [
        Content(number, contract, state, json.loads(fields))
        for number, contract, state, fields in base.execute(
            "SELECT id, contract, state, fields FROM content"
        )
    ]
    for content in found:
        content.divisions = dict(
            base.execute("SELECT scope, records FROM division WHERE content = ?", (content.id,))
        )
        content.total = sum(content.divisions.values())
    return found


def failed(error: sqlite3.Error, path: Path | str = "") -> LevelsyncError | None:
    """What ``error`` means for the store; None for what should not happen."""
    where = {"file": str(path)} if path else {}
    whole = getattr(error, "sqlite_errorcode", 0)
    code = whole & 0xFF
    if code == sqlite3.SQLITE_FULL or whole == sqlite3.SQLITE_IOERR_SHMSIZE:
        return StoreFull(said=str(error), **where)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(said=str(error), **where)
    return None


def open_store(path: Path) -> sqlite3.Connection:
    """The writing connection to the store at ``path``, made or brought to this release's tables first.

    Raises StoreNewer, StoreDamaged, StoreFull.
    """
    base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        # Checkpoints are made in a thread; this is for whoever writes without.
        base.execute("PRAGMA wal_autocheckpoint = 20000")
        base.execute("PRAGMA journal_size_limit = 67108864")
        base.execute(f"PRAGMA cache_size = -{NARROW}")
        base.execute("PRAGMA temp_store = FILE")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreNewer(file=str(path), expected=f"at most {VERSION}", found=version)
        if version < VERSION:
            base.execute("BEGIN IMMEDIATE")
            _migrate(base)
            base.execute(f"PRAGMA user_version = {VERSION}")
            base.execute("COMMIT")
        base.execute(
            "CREATE TEMP TABLE told (contract TEXT, key TEXT, PRIMARY KEY (contract, key))"
            " WITHOUT ROWID"
        )
    except sqlite3.Error as error:
        base.close()
        raise failed(error, path) or error from None
    except LevelsyncError:
        base.close()
        raise
    return base


def _migrate(base: sqlite3.Connection) -> None:
    """From nothing, or from the first release's tables, which had all contracts in one."""
    tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master")}
    first = "record" in tables
    if first:
        base.execute("ALTER TABLE change RENAME TO change_1")
        base.execute("ALTER TABLE position RENAME TO position_1")
    for statement in _SCHEMA.split(";"):
        base.execute(statement)
    last, floor = 0, 1
    if first:
        last, floor = _take_over(base)
    base.executemany(
        "INSERT OR IGNORE INTO meta VALUES (?, ?)",
        [("id", uuid.uuid4().hex[:10]), ("last", str(last)), ("floor", str(floor))],
    )


def _take_over(base: sqlite3.Connection) -> tuple[int, int]:
    """Move what the first release's tables hold; the newest and the oldest change there are."""
    positions = base.execute("SELECT topic, partition, next, state FROM position_1").fetchall()
    names = {name for (name,) in base.execute("SELECT DISTINCT contract FROM record")}
    for contract in sorted(names | {contract_of(topic) for topic, *_ in positions}):
        content = make(base, contract, SHOWN, ())
        base.execute(
            f"INSERT INTO {content.table} (key, {COLUMNS})"
            f" SELECT key, {COLUMNS} FROM record WHERE contract = ? ORDER BY key",
            (contract,),
        )
        base.execute(
            f"INSERT INTO division SELECT {content.id}, scope, count(*) FROM {content.table}"
            " GROUP BY scope"
        )
        base.executemany(
            f"INSERT INTO position VALUES ({content.id}, ?, ?, ?, ?)",
            [row for row in positions if contract_of(row[0]) == contract],
        )
    columns = "seq, contract, key, scope, was, value, id, time, sequence, source"
    named = {name for _, name, *_ in base.execute("PRAGMA table_info (change_1)")}
    old = "old" if "old" in named else "NULL"
    base.execute(f"INSERT INTO change SELECT {columns}, {old} FROM change_1")
    row = base.execute("SELECT seq FROM sqlite_sequence WHERE name = 'change_1'").fetchone()
    last = int(row[0]) if row else 0
    (oldest,) = base.execute("SELECT min(seq) FROM change").fetchone()
    for table in ("record", "total", "change_1", "position_1"):
        base.execute(f"DROP TABLE {table}")
    return last, last + 1 if oldest is None else int(oldest)
