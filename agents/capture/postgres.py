"""Changes of one PostgreSQL table, by logical replication.

A source keeps a publication and a slot of its own. It copies the table first, in chunks beside the
stream (:mod:`agents.capture.postgres_copy`), and confirms to the server only what is safely in Kafka.
A position is ``{"system", "lsn", "copy"}``; ``(commit LSN, number in the transaction)`` is the same
on every redelivery and makes both the id and the sequence of a change.
"""

import asyncio
import contextlib
import struct
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from agents.base.config import Wrong
from agents.base.errors import SlotLost, SourceMismatch, Unavailable
from agents.capture import pgoutput
from agents.capture.postgres_copy import Copier, Progress
from agents.capture.postgres_setup import Table, examine, make_slot, open_failures, speak_plainly
from agents.capture.source import Change, Changes, Place, SourceSettings

#: Changes after which a read ends with the transaction, and at most, whatever the transaction.
ENOUGH, MOST = 1_000, 4_000
#: Seconds an idle read waits, and between looks at the server's clock.
IDLE = 1.0
#: Seconds between messages to the server; it drops a client that is silent for a minute.
FEEDBACK = 5.0
#: Seconds a slot may still be held by the connection before.
ACTIVE = 8.0

_KEEPALIVE = struct.Struct(">qqb")
_XLOG = 25  # bytes before a pgoutput message: kind, start, end, time
_STATUS = struct.Struct(">cqqqqb")
_WAL_PAGE = 8192
_PAGE_HEADERS = (24, 40)


class PostgresTable(SourceSettings, frozen=True, kw_only=True, tag="postgres"):
    """One table, whose changes are read from the database's own log."""

    dsn: str
    #: ``schema.table``
    table: str

    def __repr__(self) -> str:
        return f"PostgresTable(contract={self.contract!r}, table={self.table!r}, dsn=…)"

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return self.table

    def validate(self) -> None:
        """See :class:`agents.base.config.SourceTable`."""
        if self.table.count(".") != 1:
            raise Wrong("`schema.table`", f"`{self.table}`", "table")

    def source(self, place: Place) -> "PostgresSource":
        """See :class:`agents.capture.source.SourceSettings`."""
        contract = place.contract
        return PostgresSource(
            dsn=self.dsn,
            table=self.table,
            columns={field: field for field in contract.field_names} | self.columns,
            key=contract.key,
            name=place.name,
        )


class Position(msgspec.Struct):
    """Everything up to ``lsn`` was told, and of the first copy what ``copy`` says."""

    system: str
    lsn: int
    copy: Progress


class PostgresSource:
    """A :class:`agents.capture.source.Source` over one table.

    ``columns`` maps contract fields to columns; ``key`` is the contract field that identifies a
    row; ``name`` becomes the publication and the slot. Not for use after an error.
    """

    def __init__(
        self,
        *,
        dsn: str,
        table: str,
        columns: Mapping[str, str],
        key: str,
        name: str,
        chunk: int = 2_000,
    ) -> None:
        self._dsn = dsn
        self._table = Table(table, dict(columns), key, name)
        self._chunk = chunk
        self._relations: dict[int, pgoutput.Relation] = {}
        self._picks: dict[int, list[tuple[str, int]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stream: psycopg.AsyncConnection[Any] | None = None
        self._side: psycopg.AsyncConnection[Any] | None = None
        self._socket = -1
        self._flushed = 0
        self._begin: pgoutput.Begin | None = None
        self._number = 0
        self._skip = False
        self._bound = 0
        #: (LSN to pass, clock time it proves), while we wait for the stream to pass it.
        self._sample: tuple[int, int] | None = None
        self._complete = 0
        self._news = False

    async def __aenter__(self) -> "PostgresSource":
        try:
            with open_failures(self._dsn, self._table):
                self._side = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=5
                )
                self._key_type = await examine(self._side, self._table)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        assert self._side
        known = msgspec.convert(position, Position) if position is not None else None
        with open_failures(self._dsn, self._table):
            slot = await make_slot(self._side, self._table, known.lsn if known else None)
            self._stream = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=5,
                replication="database",
            )
            system = await self._identify(known)
            self._position = known or Position(system, slot, Progress(run=f"{slot:X}"))
            self._tag = f"{int(system) & 0xFFFFFFFF:x}"
            row = await (
                await self._side.execute("SELECT pg_current_wal_flush_lsn() - '0/0'")
            ).fetchone()
            assert row
            self._bound = int(row[0])
            self._copier = Copier(
                self._dsn, self._table, self._key_type, self._position.copy, self._chunk, self._tag
            )
            await self._copier.open(held)
            self._flushed = slot
            await self._start()
        self._socket = self._stream.pgconn.socket
        self._tasks = [
            asyncio.create_task(self._keep_alive(), name=f"feedback-{self._table.name}"),
            asyncio.create_task(self._look_at_clock(), name=f"clock-{self._table.name}"),
        ]

    async def _identify(self, known: Position | None) -> str:
        assert self._stream
        await speak_plainly(self._stream)
        row = await (await self._stream.execute("IDENTIFY_SYSTEM")).fetchone()
        assert row
        system = str(row[0])
        if known and known.system != system:
            raise SlotLost(
                "The topic was filled from another database system",
                table=self._table.name_, expected=known.system, found=system,
            )  # fmt: skip
        return system

    async def _start(self) -> None:
        """START_REPLICATION from our own position: a server that crashed forgot what we confirmed."""
        assert self._stream
        lsn = self._position.lsn
        query = sql.SQL(
            "START_REPLICATION SLOT {slot} LOGICAL {lsn} "
            "(proto_version '1', publication_names {publication}, messages 'true')"
        ).format(
            slot=sql.Identifier(self._table.name),
            lsn=sql.SQL(f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"),
            publication=sql.Literal(self._table.name),
        )
        deadline = time.monotonic() + ACTIVE
        while True:
            try:
                await self._stream.execute(query)
                return
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        changes: list[Change] = []
        deadline = time.monotonic() + IDLE
        self._copier.begin()
        try:
            while True:
                await self._drain(changes)
                left = deadline - time.monotonic()
                if changes or self._news or left <= 0:
                    break
                await self._wait_readable(left)
        except psycopg.Error as error:
            raise Unavailable(
                "PostgreSQL ended the stream", table=self._table.name_, said=str(error).strip()
            ) from error
        self._news = False
        return Changes(
            changes=changes,
            position=msgspec.to_builtins(self._position),
            complete=self._complete if self._copier.done else 0,
            passed=self._position.lsn >= self._bound and self._copier.passed,
            settled=self._begin is None,
        )

    async def _wait_readable(self, seconds: float) -> None:
        # Watched only while we wait: under back-pressure a readable socket would keep the loop busy.
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._socket, readable.set)
        try:
            async with asyncio.timeout(seconds):
                await readable.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(self._socket)

    async def _drain(self, changes: list[Change]) -> None:
        """Take what libpq holds; it may hold rows for which the socket will not wake us."""
        assert self._stream
        pgconn = self._stream.pgconn
        pgconn.consume_input()
        while len(changes) < (ENOUGH if self._begin is None else MOST):
            size, data = pgconn.get_copy_data(1)
            if size == 0:
                break
            if size < 0:
                pgconn.get_result()
                raise psycopg.OperationalError("the server closed the stream")
            kind = data[0]
            if kind == 0x77:  # w
                await self._enter(bytes(data[_XLOG:]), changes)
            elif kind == 0x6B:  # k
                end, _, reply = _KEEPALIVE.unpack_from(data, 1)
                if self._begin is None and end > self._position.lsn:
                    self._position.lsn = end
                if reply:
                    self._send_status()
        self._check_sample()

    async def _enter(self, data: bytes, changes: list[Change]) -> None:
        message = pgoutput.decode(data, self._relations)
        if isinstance(message, pgoutput.Begin):
            self._begin, self._number = message, 0
            # The server skips what was confirmed, and we what was told, whichever is further.
            self._skip = message.commit_lsn < self._position.lsn
        elif isinstance(message, pgoutput.Commit):
            self._begin = None
            self._position.lsn = max(self._position.lsn, message.end_lsn)
            self._position.copy = self._copier.progress
        elif isinstance(message, pgoutput.Relation):
            self._relation(message)
        elif self._skip or message is None:
            return
        elif isinstance(message, pgoutput.Insert):
            row = self._fields(message.relation, message.new)
            await self._put(changes, row)
        elif isinstance(message, pgoutput.Update):
            await self._update(changes, message)
        elif isinstance(message, pgoutput.Delete):
            key = self._fields(message.relation, message.old)[self._table.key]
            self._tell(changes, str(key), None)
        elif isinstance(message, pgoutput.Truncate):
            raise SourceMismatch(
                "The table was truncated, and the stream does not say which rows went",
                table=self._table.name_,
                do="delete the topic and the slot to copy the table anew",
            )
        elif isinstance(message, pgoutput.Message) and self._begin:
            for key, fields, at in await self._copier.arrived(message):
                self._tell(changes, key, fields, copied_at=at)

    async def _update(self, changes: list[Change], message: pgoutput.Update) -> None:
        old = self._fields(message.relation, message.old) if message.old else {}
        new = self._fields(message.relation, message.new)
        if message.whole:
            for field, value in new.items():
                if value is pgoutput.UNCHANGED:
                    new[field] = old[field]
        key = self._table.key
        if old and old[key] != new[key]:
            self._tell(changes, str(old[key]), None)
        await self._put(changes, new)

    async def _put(self, changes: list[Change], fields: dict[str, Any]) -> None:
        """Tell of a row. Large columns that did not change are read from the table now: newer
        values are in order, since the change that made them follows, and a row that is gone needs
        no telling, since its deletion follows."""
        missing = [field for field, value in fields.items() if value is pgoutput.UNCHANGED]
        key = str(fields[self._table.key])
        if missing:
            assert self._side
            query = self._table.select(missing, sql.SQL("WHERE {0} = %s"))
            cursor = await self._side.execute(query, (key,))
            found = self._table.rows(cursor, missing)
            if not found:
                self._number += 1
                return
            fields.update(found[0])
        self._tell(changes, key, fields)

    def _tell(
        self,
        changes: list[Change],
        key: str,
        fields: dict[str, Any] | None,
        copied_at: int | None = None,
    ) -> None:
        assert self._begin
        lsn, moment, xid = self._begin
        number = self._number
        self._number += 1
        if copied_at is None:
            self._copier.touched(key, xid)
            name = f"{self._tag}.{lsn:X}.{number}"
        else:
            moment, name = copied_at, self._copier.name(key)
        sequence = f"{lsn:016X}{number:08X}"
        changes.append(Change(name, sequence, moment, key, fields, copied_at is not None))

    def _relation(self, relation: pgoutput.Relation) -> None:
        """A table is told of, perhaps changed: find the contract's columns before the next row."""
        places = {column: index for index, column in enumerate(relation.columns)}
        missing = [column for column in self._table.columns.values() if column not in places]
        if missing:
            raise SourceMismatch(
                "The table no longer has the columns the contract needs",
                table=self._table.name_,
                missing=missing,
                do=f"ALTER TABLE {self._table.name_} ADD COLUMN …, or name another under `columns`",
            )
        self._picks[relation.id] = [
            (field, places[column]) for field, column in self._table.columns.items()
        ]

    def _fields(self, relation: int, row: pgoutput.Row) -> dict[str, Any]:
        return {field: row[place] for field, place in self._picks[relation]}

    def _check_sample(self) -> None:
        if self._sample and self._begin is None and self._position.lsn >= self._sample[0]:
            self._complete = self._sample[1]
            self._sample, self._news = None, True

    async def _look_at_clock(self) -> None:
        """Once a second learn a WAL position and the time at which everything committed was before
        it; once the stream has passed the one, everything up to the other has been told."""
        assert self._side
        query = (
            b"SELECT pg_current_wal_insert_lsn() - '0/0', pg_current_wal_flush_lsn() - '0/0',"
            b" (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        )
        with contextlib.suppress(psycopg.Error):  # the stream ends too, and says so
            while True:
                if self._sample is None:
                    row = await (await self._side.execute(query)).fetchone()
                    assert row
                    insert, flush, now = (int(value) for value in row)
                    if flush % _WAL_PAGE == 0 and insert - flush in _PAGE_HEADERS:
                        insert = flush  # nothing but a page's header lies between
                    self._sample = (insert, now)
                self._send_status(reply=True)
                await asyncio.sleep(IDLE)

    async def _keep_alive(self) -> None:
        """Also while nobody reads: a silent client is dropped unseen."""
        with contextlib.suppress(psycopg.Error):
            while True:
                await asyncio.sleep(FEEDBACK)
                self._send_status()

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        self._flushed = max(self._flushed, int(position["lsn"]))
        with contextlib.suppress(psycopg.Error):  # the next read says so
            self._send_status()

    def _send_status(self, *, reply: bool = False) -> None:
        """Standby status update. Written = flushed, so that the server keeps telling where it is."""
        if self._stream is None or self._stream.closed:
            return
        lsn, now = self._flushed, int(time.time() * 1e6) - pgoutput.EPOCH
        pgconn = self._stream.pgconn
        pgconn.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, now, reply))
        pgconn.flush()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_copier"):
            await self._copier.close()
        for connection in (self._stream, self._side):
            if connection is not None:
                await connection.close()
