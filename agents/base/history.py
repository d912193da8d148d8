"""What each hop of this agent did, minute by minute, in ``history.sqlite`` of its state folder.

Once a second every hop is looked at, once a minute one row a hop is written, in a thread. Minutes become
hours after eight days, and hours go after 400; of a node with very many hops minutes become hours sooner.
What cannot be written is lost, and said; nothing else depends on it.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from agents.base.figures import Figures
from agents.base.status import Hop, Status
from contracts.model import Contract

log = structlog.get_logger()

FILE = "history.sqlite"
#: Seconds after which minutes become hours, and hours are forgotten.
MINUTES_KEPT, KEPT = 8 * 86_400, 400 * 86_400
#: Rows of minutes at most: 170 hops for eight days, some 200 MB.
MOST = 2_000_000
#: Seconds without a look that still count as looked at: a loop that was late, not one that was away.
LATE = 5

_COLUMNS = tuple(Figures.__struct_fields__)
_SUMS = ", ".join(_COLUMNS)
_ROWS = f"""(
    at INTEGER, series INTEGER, {_SUMS}, PRIMARY KEY (at, series)
) WITHOUT ROWID;
"""
_SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, hop TEXT, contract TEXT, source TEXT, target TEXT,
    UNIQUE (hop, contract, target)
);
CREATE TABLE IF NOT EXISTS minute {_ROWS}
CREATE TABLE IF NOT EXISTS hour {_ROWS}
PRAGMA user_version = 1;
"""


class Series(NamedTuple):
    """Whose figures they are."""

    hop: str
    contract: str
    from_: str
    to: str


class Row(NamedTuple):
    """The figures of one stretch: it began ``at``, seconds since 1970 UTC, and lasted ``seconds``."""

    series: Series
    at: int
    seconds: int
    figures: Figures


class Looks:
    """Looks at the hops of ``status`` and gathers what is seen, in memory."""

    def __init__(self, status: Status, contracts: Mapping[str, Contract]) -> None:
        self._status, self._contracts = status, contracts
        self._gathered: dict[Series, Figures] = {}
        #: By hop: itself, what it was called, and its figures. Looking is what costs the loop something.
        self._known: dict[int, tuple[Hop, str, str, Figures]] = {}
        #: By hop: itself, and what was counted of it.
        self._counted: dict[int, tuple[Hop, tuple[int, ...]]] = {}
        self._last = 0.0

    def look(self, now: float) -> None:
        """Look once at ``now``, seconds since 1970 UTC."""
        since = round(now - self._last)
        seconds = since if 1 <= since <= LATE else 1
        self._last = now
        for hop in self._status.hops:
            if hop.state == "ended":
                continue  # nothing is given any more, so nothing is promised
            contract = self._contracts.get(hop.contract)
            age = max(0.0, now - hop.complete / 1e6) if hop.complete else None
            promise = contract.freshness if contract else 0.0
            self._of(hop).look(hop.state == "running", age, promise, seconds)

    def _of(self, hop: Hop) -> Figures:
        known = self._known.get(id(hop))
        if known and known[0] is hop and known[1] is hop.from_ and known[2] is hop.to:
            return known[3]
        series = Series(hop.hop, hop.contract, hop.from_, hop.to)
        found = self._gathered.setdefault(series, Figures())
        self._known[id(hop)] = (hop, hop.from_, hop.to, found)
        return found

    def taken(self) -> list[tuple[Series, Figures]]:
        """What was gathered since the last time."""
        counted: dict[int, tuple[Hop, tuple[int, ...]]] = {}
        # One that is gone by now did something until then.
        hops = {key: known[0] for key, known in self._known.items()}
        for hop in (hops | {id(hop): hop for hop in self._status.hops}).values():
            counts = (hop.events, hop.rejected, hop.gaps, hop.breaches)
            _, before = self._counted.get(id(hop), (hop, (0, 0, 0, 0)))
            # A part that began anew counts from nothing.
            grown = [
                now - was if now >= was else now for now, was in zip(counts, before, strict=True)
            ]
            counted[id(hop)] = (hop, counts)
            if hop.state == "ended" and not any(grown):
                continue
            figures = self._of(hop)
            figures.events += grown[0]
            figures.refused += grown[1]
            figures.gaps += grown[2]
            figures.breaches += grown[3]
            figures.measure(hop.latency())
        self._counted = counted
        gathered, self._gathered = self._gathered, {}
        self._known.clear()
        return list(gathered.items())


class History:
    """The file. For one thread at a time. Raises sqlite3.Error, OSError."""

    def __init__(self, path: Path, most: int = MOST) -> None:
        self._path, self._most = path, most
        self._base: sqlite3.Connection | None = None
        self._tidied = 0.0

    def write(self, minute: int, gathered: Iterable[tuple[Series, Figures]]) -> None:
        """Add what was gathered in the minute that began at ``minute``, seconds since 1970 UTC."""
        base = self._open()
        try:
            base.execute("BEGIN IMMEDIATE")
            for series, figures in gathered:
                _add(base, "minute", minute, _number(base, series), figures)
            base.execute("COMMIT")
        finally:
            if base.in_transaction:
                base.execute("ROLLBACK")
        if minute - self._tidied >= 3600 or minute < self._tidied:
            self._tidied = minute
            self.tidy(minute)

    def tidy(self, now: float) -> None:
        """Make hours of old minutes, one hour in a transaction, and forget old hours."""
        base = self._open()
        while (hour := self._oldest(base, now)) is not None:
            try:
                base.execute("BEGIN IMMEDIATE")
                for _, number, figures in _rows(base, "minute", hour, hour + 3600):
                    _add(base, "hour", hour, number, figures)
                base.execute("DELETE FROM minute WHERE at < ?", (hour + 3600,))
                base.execute("COMMIT")
            finally:
                if base.in_transaction:
                    base.execute("ROLLBACK")
        base.execute("DELETE FROM hour WHERE at < ?", (int(now - KEPT),))
        base.execute(
            "DELETE FROM series WHERE id NOT IN (SELECT series FROM minute)"
            " AND id NOT IN (SELECT series FROM hour)"
        )

    def _oldest(self, base: sqlite3.Connection, now: float) -> int | None:
        """The hour whose minutes are to become one."""
        at, rows = base.execute("SELECT min(at), count(*) FROM minute").fetchone()
        if at is None or at >= now - 3600:
            return None
        hour: int = at // 3600 * 3600
        return hour if hour + 3600 <= now - MINUTES_KEPT or rows > self._most else None

    def _open(self) -> sqlite3.Connection:
        if self._base is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            base = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                base.execute("PRAGMA cache_size = -500")
                base.executescript(_SCHEMA)
            except sqlite3.DatabaseError as error:
                base.close()
                if error.sqlite_errorcode & 0xFF not in (
                    sqlite3.SQLITE_NOTADB,
                    sqlite3.SQLITE_CORRUPT,
                ):
                    raise
                aside = self._path.with_suffix(".damaged")
                self._path.replace(aside)
                log.error("the history is damaged, a new one begins", file=str(aside))
                return self._open()
            self._base = base
        return self._base

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._base is not None:
            self._base.close()
            self._base = None


async def keep_history(
    status: Status, contracts: Mapping[str, Contract], path: Path, *, minute: float = 60.0
) -> None:
    """Keep the history of ``status`` at ``path`` until cancelled; ``minute`` is that of the clock."""
    looks, history = Looks(status, contracts), History(path)
    at = time.time() // minute * minute
    try:
        while True:
            now = time.time()
            if (next_ := now // minute * minute) != at:
                await _kept(history, int(at), looks.taken(), status)
                at = next_
            looks.look(now)
            step = min(1.0, minute)
            await asyncio.sleep(step - time.time() % step)
    finally:
        with contextlib.suppress(sqlite3.Error, OSError):
            history.write(int(at), looks.taken())
            history.close()


async def _kept(
    history: History, minute: int, gathered: list[tuple[Series, Figures]], status: Status
) -> None:
    try:
        await asyncio.to_thread(history.write, minute, gathered)
    except (sqlite3.Error, OSError) as error:
        history.close()
        if "history" not in status.warnings:
            log.error(
                "the history cannot be written; reports will not know this time", error=str(error)
            )
        status.warnings["history"] = (
            f"the history cannot be written, so reports will not know: {error}"
        )
    else:
        if status.warnings.pop("history", None):
            log.info("the history is written again")


# ---- reading -----------------------------------------------------------------------------------


def read_history(path: Path, since: float, until: float) -> Iterator[Row]:
    """All rows that begin from ``since`` to before ``until``, seconds since 1970 UTC. It changes nothing.
    Raises FileNotFoundError, sqlite3.Error."""
    if not path.exists():
        raise FileNotFoundError(path)
    base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        base.execute("BEGIN")  # a minute that becomes part of an hour meanwhile is not seen twice
        series = {
            number: Series(*names)
            for number, *names in base.execute(
                "SELECT id, hop, contract, source, target FROM series"
            )
        }
        for table, seconds in (("hour", 3600), ("minute", 60)):
            for at, number, figures in _rows(base, table, int(since), int(until)):
                yield Row(series[number], at, seconds, figures)
    finally:
        base.close()


def _number(base: sqlite3.Connection, series: Series) -> int:
    row = base.execute(
        "SELECT id, source FROM series WHERE hop = ? AND contract = ? AND target = ?",
        (series.hop, series.contract, series.to),
    ).fetchone()
    if row is None:
        return (
            base.execute(
                "INSERT INTO series (hop, contract, source, target) VALUES (?, ?, ?, ?)", series
            ).lastrowid
            or 0
        )
    if row[1] != series.from_:
        base.execute("UPDATE series SET source = ? WHERE id = ?", (series.from_, row[0]))
    return int(row[0])


def _add(base: sqlite3.Connection, table: str, at: int, number: int, figures: Figures) -> None:
    """Write ``figures``, with what stands there already: an agent may begin twice in a minute."""
    found = base.execute(
        f"SELECT {_SUMS} FROM {table} WHERE at = ? AND series = ?", (at, number)
    ).fetchone()
    if found:
        before = _figures(found)
        before.add(figures)
        figures = before
    values = [getattr(figures, name) for name in _COLUMNS]
    flat = [value for pair in sorted(figures.ages.items()) for value in pair]
    values[_COLUMNS.index("ages")] = msgspec.msgpack.encode(flat)
    marks = ", ".join("?" * (len(values) + 2))
    base.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", (at, number, *values))


def _rows(
    base: sqlite3.Connection, table: str, since: int, until: int
) -> Iterator[tuple[int, int, Figures]]:
    for at, number, *values in base.execute(
        f"SELECT at, series, {_SUMS} FROM {table} WHERE at >= ? AND at < ? ORDER BY at",
        (since, until),
    ):
        yield at, number, _figures(values)


def _figures(values: Iterable[Any]) -> Figures:
    named = dict(zip(_COLUMNS, values, strict=True))
    flat = msgspec.msgpack.decode(named["ages"], type=list[int])
    named["ages"] = dict(zip(flat[::2], flat[1::2], strict=True))
    return msgspec.convert(named, Figures)
