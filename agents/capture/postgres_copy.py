"""Copies of a table's rows, in chunks by key beside the stream: the first one, and every backfill.

A chunk is read in one REPEATABLE READ transaction that also notes its snapshot and writes a message
into the log. When the stream brings that message by, every row of the chunk whose key a delivered
transaction touched that the snapshot did not see is dropped: the stream has told something newer.
The rest is told there. No table is locked, no transaction is long or may write, and a kill costs the
chunks on their way.

The snapshot must not see less than the stream has told. A commit that waits for a synchronous standby
is in the log already, and told, while no snapshot sees it: where there are such standbys the first
chunk waits until every transaction that ran when the copy was begun is over.
"""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from typing import Any, NamedTuple

import msgspec
import psycopg
import structlog
from psycopg import sql

from agents.base.errors import SourceMismatch, Unavailable
from agents.capture.pgoutput import Message
from agents.capture.postgres_key import Key
from agents.capture.postgres_setup import Connection, Table, speak_plainly
from agents.capture.postgres_snapshot import Snapshot

log = structlog.get_logger()

PREFIX = "levelsync"

#: Rows and bytes of one chunk, whichever is reached first, and rows asked for at a time within it.
ROWS, BYTES, STEP = 4_000, 4 * 1024 * 1024, 1_000
#: Rows that a chunk has at least, and that are asked for before it is known how wide they are.
FEW = 50
#: Chunks that are read before the one before them was told.
AHEAD = 2
#: Seconds that one chunk may take the server, where an index brings the rows in order of their keys, and
#: where all rows must be sorted for each chunk.
PATIENCE, PATIENCE_UNSORTED = 30, 600
#: Seconds a chunk may wait for a lock, and at most for transactions of before the copy.
LOCK, BEFORE = 10, 60.0


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a copy is: every row up to the key ``last``, as the server writes it, was told.

    ``run`` names the copy in the ids of its rows, ``request`` is the operator's it serves, and
    ``where`` the SQL condition on its rows. When it has told all of them, it is ``told``, and with
    ``before`` whatever the topic holds from before that sequence is deleted; then it is ``done``.
    While a copy goes on that is ``behind``, the topic is not as complete as the stream.
    """

    run: str
    done: bool = False
    last: str | None = None
    rows: int = 0
    where: str = ""
    request: str = ""
    before: str = ""
    told: bool = False
    behind: bool = True


class Copied(NamedTuple):
    """A row to be told: its event's id, key and fields, and when it was read."""

    id: str
    key: str
    fields: dict[str, Any]
    time: int


class _Chunk(msgspec.Struct):
    snapshot: Snapshot
    time: int
    #: By key as the server writes it; a key stands once.
    rows: dict[str, dict[str, Any]]
    #: Up to which key the table was read, and whether that was its end.
    last: str | None
    end: bool
    #: Are all held keys at or before the last of these?
    passed: bool


class Copier:
    """Copies one table; :meth:`begin` asks for the next chunks, :meth:`arrived` hands them out.

    ``size`` is the most rows a chunk has. After :meth:`start` it copies once more.
    """

    def __init__(
        self, dsn: str, table: Table, key: Key, progress: Progress, tag: str, size: int = ROWS
    ) -> None:
        self.progress = progress
        self._dsn = dsn
        self._table = table
        self._key = key
        self._size = size
        self._step = FEW
        #: What was said last of a chunk that could not be read.
        self._said = ""
        self._tag = tag
        self._session = uuid.uuid4().hex
        self._number = 0
        self._connection: Connection | None = None
        self._reader: asyncio.Task[None] | None = None
        #: Chunks by the number of their message, oldest first, and room for more.
        self._chunks: deque[tuple[int, _Chunk]] = deque()
        self._room = asyncio.Semaphore(AHEAD)
        self._touched: dict[str, int] = {}
        self._furthest: str | None = None
        self.passed = True
        #: Why the copy cannot go on, where that is its own condition's fault.
        self.failure = ""

    @property
    def done(self) -> bool:
        """Is there nothing left to copy or to sweep?"""
        return self.progress.done

    @property
    def _reading(self) -> bool:
        return not (self.progress.done or self.progress.told)

    def name(self, key: str) -> str:
        """The id of a copied row: the same each time it is told."""
        return f"{self._tag}.copy.{self.progress.run}.{key}"

    async def open(self, side: Connection, held: frozenset[str]) -> None:
        """``held`` are ids the topic has already; of these we know those we copied."""
        prefix = self.name("")
        copied = [name.removeprefix(prefix) for name in held if name.startswith(prefix)]
        if copied and self._reading:
            self.passed = False
            self._furthest = await self._key.furthest(side, copied)

    async def start(self, progress: Progress) -> None:
        """Copy again, as ``progress`` says. Only when the copy before is done."""
        await self.close()
        self.progress = progress
        self._touched.clear()
        self._furthest, self.passed, self.failure = None, True, ""
        self._room = asyncio.Semaphore(AHEAD)

    def begin(self) -> None:
        """See that chunks are being read, if there are any left; raises what failed."""
        if self._reader is not None and self._reader.done():
            self._reader.result()
        elif self._reader is None and self._reading:
            self._reader = asyncio.create_task(self._read_all(), name=f"copy-{self._table.name}")

    def touched(self, key: str, xid: int) -> None:
        """The stream told of ``key`` in transaction ``xid``."""
        if not (self.progress.done or self.progress.told):
            self._touched[key] = xid

    async def arrived(self, message: Message) -> list[Copied]:
        """Each row to be told now; none when the message is not ours."""
        if message.prefix != PREFIX or not self._chunks:
            return []
        number, chunk = self._chunks[0]
        if message.content != f"{self._session}:{number}".encode():
            return []
        self._chunks.popleft()
        self._room.release()
        # What this snapshot sees, every later one sees too.
        sees, key, touched = chunk.snapshot.sees, self._table.key, self._touched
        if touched:
            self._touched = touched = {key: xid for key, xid in touched.items() if not sees(xid)}
        prefix, at = self.name(""), chunk.time
        told = [
            Copied(prefix + raw, name, row, at)
            for raw, row in chunk.rows.items()
            if (name := str(row[key])) not in touched
        ]
        self.progress = msgspec.structs.replace(
            self.progress,
            told=chunk.end,
            done=chunk.end and not self.progress.before,
            last=chunk.last,
            rows=self.progress.rows + len(told),
        )
        self.passed = self.passed or chunk.passed or chunk.end
        if chunk.end:
            await self.close()
        return told

    def swept(self) -> None:
        """What the copy did not find was deleted: it is done."""
        self.progress = msgspec.structs.replace(self.progress, done=True)

    async def close(self) -> None:
        """End the connection; chunks on their way are read again by the next run."""
        self._touched = {}
        self._chunks.clear()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    # ---- reading, beside the stream ----------------------------------------------------------

    async def _read_all(self) -> None:
        """Read chunk after chunk, :data:`AHEAD` of what was told. Raises LevelsyncError."""
        last = self.progress.last
        try:
            self._connection = connection = await self._connected()
            await self._wait_for_commits(connection)
            while True:
                await self._room.acquire()
                # The message may come by before we see our own commit.
                number = self._number = self._number + 1
                chunk = await self._read(connection, last, number)
                last = chunk.last
                if chunk.end:
                    return
        except (psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError) as error:
            if self.progress.where:
                self.failure = error.diag.message_primary or str(error)
                return
            raise SourceMismatch(
                "The table cannot be read",
                table=self._table.name_,
                said=error.diag.message_primary,
                do="`levelsync doctor NODE.toml` says what is missing",
            ) from error
        except psycopg.Error as error:
            raise Unavailable(
                "A chunk of the table cannot be read",
                table=self._table.name_,
                said=error.diag.message_primary or str(error).strip(),
            ) from error

    async def _connected(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=5
        )
        await speak_plainly(connection)
        patience = PATIENCE if self._key.indexed else PATIENCE_UNSORTED
        for setting in (
            f"statement_timeout = '{patience}s'",
            f"lock_timeout = '{LOCK}s'",
            "idle_in_transaction_session_timeout = '60s'",
        ):
            await connection.execute(f"SET {setting}".encode())
        return connection

    async def _wait_for_commits(self, connection: Connection) -> None:
        """See that what was told before now is seen by the snapshots to come."""
        cursor = await connection.execute(
            "SELECT txid_current_snapshot()::text, current_setting('synchronous_standby_names') <> ''"
        )
        row = await cursor.fetchone()
        assert row
        now = Snapshot.parse(row[0])
        deadline = time.monotonic() + BEFORE
        while row[1] and time.monotonic() < deadline:
            cursor = await connection.execute("SELECT txid_current_snapshot()::text")
            found = await cursor.fetchone()
            assert found
            if Snapshot.parse(found[0]).xmin >= now.xmax or not now.running:
                return
            await asyncio.sleep(0.2)

    async def _read(self, connection: Connection, last: str | None, number: int) -> _Chunk:
        """One chunk, put where :meth:`arrived` finds it before its message can come by."""
        while True:
            try:
                async with connection.transaction():
                    return await self._read_in(connection, last, number)
            except BaseException as error:
                if self._chunks and self._chunks[-1][0] == number:
                    self._chunks.pop()
                if isinstance(error, psycopg.errors.LockNotAvailable):
                    said = "the table is locked; the copy waits"
                elif isinstance(error, psycopg.errors.QueryCanceled) and self._size > FEW:
                    self._size = max(self._size // 4, FEW)
                    said = "a chunk of the table took too long, the next is smaller"
                else:
                    raise
                if said != self._said:
                    self._said = said
                    log.warning(
                        "the copy waits", table=self._table.name_, reason=said, count=self._size
                    )
                await asyncio.sleep(1.0)

    async def _read_in(self, connection: Connection, last: str | None, number: int) -> _Chunk:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor = await connection.execute(
            "SELECT txid_current_snapshot()::text,"
            " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        )
        row = await cursor.fetchone()
        assert row
        rows, end = await self._rows(connection, last)
        last = next(reversed(rows), last)
        passed = self._furthest is None or end
        if not passed and last is not None:
            assert self._furthest is not None
            passed = await self._key.reaches(connection, last, self._furthest)
        chunk = _Chunk(Snapshot.parse(row[0]), int(row[1]), rows, last, end, passed)
        await connection.execute(
            "SELECT pg_logical_emit_message(true, %s::text, %s::text)",
            (PREFIX, f"{self._session}:{number}"),
        )
        self._chunks.append((number, chunk))
        return chunk

    async def _rows(
        self, connection: Connection, last: str | None
    ) -> tuple[dict[str, dict[str, Any]], bool]:
        """Rows after ``last`` in the order of their keys, and whether the table ends with them.

        As many as one chunk holds; of rows with the same key, if there are such, one.
        """
        table, size = self._table, self._size
        fields = list(table.columns)
        await connection.execute(self._query(fields, last))
        at, read, seen = fields.index(table.key), 0, 0
        rows: dict[str, dict[str, Any]] = {}
        while True:
            step = min(self._step, size - read)
            cursor = await connection.execute(f"FETCH {step} FROM levelsync_copy".encode())
            result = cursor.pgresult
            assert result
            found = table.rows(cursor, fields)
            for number, row in enumerate(found):
                raw = result.get_value(number, at)
                if raw is not None:  # no record without a key
                    rows[raw.decode()] = row
            read += len(found)
            width = _width(result)
            seen += int(width * len(found))
            self._step = max(10, min(STEP, int(BYTES / 4 / width)))
            if len(found) < step:
                return rows, True
            if read == size or seen >= BYTES:
                return rows, False

    def _query(self, fields: list[str], last: str | None) -> sql.Composed:
        conditions: list[sql.Composable] = []
        if self.progress.where:
            # On its own lines: it may end in a comment.
            conditions.append(sql.SQL(f"(\n{self.progress.where}\n)"))
        if last is not None:
            conditions.append(self._key.after(last))
        which = sql.SQL("WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")
        # With a limit the planner takes the index, where there is one.
        return sql.SQL(
            "DECLARE levelsync_copy NO SCROLL CURSOR FOR {} {} ORDER BY {} LIMIT {}"
        ).format(
            self._table.select(fields, sql.SQL("")),
            which,
            self._key.column,
            sql.Literal(self._size),
        )


def _width(result: Any) -> float:
    """Bytes of a row, from a few of them; more than nothing."""
    rows, columns = result.ntuples, result.nfields
    if not rows:
        return 1.0
    some = range(0, rows, max(1, rows // 16))
    seen = sum(len(result.get_value(number, at) or b"") for number in some for at in range(columns))
    return max(1.0, seen / len(some))
