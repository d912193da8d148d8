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
from agents.base.errors import SourceMismatch, Unavailable
from agents.base.findings import Finding
from agents.capture import pgoutput
from agents.capture.postgres_backfill import Backfills
from agents.capture.postgres_copy import ROWS, Copied, Copier, Progress
from agents.capture.postgres_key import key_of
from agents.capture.postgres_publication import see_publication
from agents.capture.postgres_rights import examine_table
from agents.capture.postgres_setup import Table, examine, open_failures, speak_plainly
from agents.capture.postgres_slot import (
    Failover,
    Known,
    disagreement,
    drop_slot,
    furthest_of,
    identify,
    look_at_slot,
    make_slot,
    patiently,
    sequences_of,
    start_replication,
    tag_of,
)
from agents.capture.postgres_wal import Upkeep, parse_size
from agents.capture.source import Change, Changes, Place, SourceSettings, Sweep

#: Changes after which a read ends with the transaction, and at most, whatever the transaction.
ENOUGH, MOST = 1_000, 4_000
#: Seconds an idle read waits, and between looks at the server's clock.
IDLE = 1.0
#: Seconds between messages to the server; it drops a client that is silent for a minute.
FEEDBACK = 5.0

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
    #: Seconds after which a message in the log moves on a stream that nothing else moves; 0 for none.
    heartbeat: float = 10.0
    #: How much of its log the server may hold back for us: people are told at half of it, and alarmed
    #: at 90 %; ``0`` for no bound.
    wal_budget: str = "10GB"
    #: ``auto``: the slot is kept on standbys too, where the server can (17 and newer).
    failover: Failover = "auto"

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
        try:
            psycopg.conninfo.conninfo_to_dict(self.dsn)
        except psycopg.ProgrammingError:
            # What libpq says quotes the text, and with it perhaps a password.
            raise Wrong(
                "libpq's `name=value …` or `postgresql://…`", "something else, not shown", "dsn"
            ) from None
        if self.heartbeat < 0:
            raise Wrong("seconds, 0 for none", f"`{self.heartbeat}`", "heartbeat")
        try:
            parse_size(self.wal_budget)
        except ValueError:
            raise Wrong("a size such as `10GB`", f"`{self.wal_budget}`", "wal_budget") from None

    def source(self, place: Place) -> "PostgresSource":
        """See :class:`agents.capture.source.SourceSettings`."""
        contract = place.contract
        return PostgresSource(
            dsn=self.dsn,
            table=self.table,
            columns={field: field for field in contract.field_names} | self.columns,
            key=contract.key,
            name=place.name,
            place=place,
            heartbeat=self.heartbeat,
            wal_budget=parse_size(self.wal_budget),
            failover=self.failover,
        )

    async def examine(self, place: Place) -> list[Finding]:
        """See :class:`agents.capture.source.SourceSettings`."""
        contract = place.contract
        columns = {field: field for field in contract.field_names} | self.columns
        table = Table(self.table, columns, contract.key, place.name)
        return await examine_table(self.dsn, table, parse_size(self.wal_budget))


class Position(msgspec.Struct):
    """Everything up to ``lsn`` was told, and of the copy what ``copy`` says; ``era`` counts the histories
    that were lost before (:mod:`agents.capture.postgres_slot`)."""

    system: str
    lsn: int
    copy: Progress
    era: int = 0
    timeline: int = 0


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
        chunk: int = ROWS,
        place: Place | None = None,
        heartbeat: float = 10.0,
        wal_budget: int = 0,
        failover: Failover = "auto",
    ) -> None:
        self._dsn = dsn
        self._table = Table(table, dict(columns), key, name)
        self._chunk = chunk
        self._failover = failover
        self._backfills = Backfills(place, self._table)
        hop = place.hop if place else None
        self._upkeep = Upkeep(hop, name, wal_budget, heartbeat)
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
        self._passed = False

    async def __aenter__(self) -> "PostgresSource":
        try:
            with open_failures(self._dsn, self._table):
                self._side = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=5
                )
                await self._upkeep.look(self._side)
                await examine(self._side, self._table)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        assert self._side
        known = msgspec.convert(position, Position) if position is not None else None
        with open_failures(self._dsn, self._table):
            self._stream = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=5,
                replication="database",
            )
            await speak_plainly(self._stream)
            self._flushed = await self._settle(known, held)
            at = self._position
            self._tag = tag_of(at.system, at.era)
            self._era = sequences_of(at.era)
            self._backfills.stands(at.copy)
            if at.copy.done and (wanted := await self._backfills.next(self._side, self._before())):
                at.copy = wanted
            row = await (
                await self._side.execute("SELECT pg_current_wal_flush_lsn() - '0/0'")
            ).fetchone()
            assert row
            self._bound = int(row[0])
            key = await key_of(self._side, self._table)
            self._copier = Copier(self._dsn, self._table, key, at.copy, self._tag, self._chunk)
            await self._copier.open(self._side, held)
            await self._start()
        self._socket = self._stream.pgconn.socket
        self._tasks = [
            asyncio.create_task(self._keep_alive(), name=f"feedback-{self._table.name}"),
            asyncio.create_task(self._look_at_clock(), name=f"clock-{self._table.name}"),
        ]

    async def _settle(self, known: Position | None, held: frozenset[str]) -> int:
        """Find where to go on, and with which slot; the answer is what the slot has confirmed.

        Raises SlotLost where the server's history does not go on from the topic's, unless an operator
        has asked for a copy anew: then a new era begins with a new slot.
        """
        side, stream, name = self._side, self._stream, self._table.name
        assert side
        assert stream
        server = await identify(stream, known.timeline if known and known.timeline else None)
        slot = await look_at_slot(side, name)
        furthest, last = furthest_of(held, server.system, known.era if known else 0)
        reached = Known(known.system, known.timeline, known.lsn, furthest) if known else None
        lost = disagreement(
            slot, server, reached, self._table, plugin="pgoutput", database=side.info.dbname
        )
        anew = self._backfills.anew(known.copy if known else None) if known or lost else None
        if lost and (anew is None or (slot and slot.database != side.info.dbname)):
            raise lost
        await see_publication(side, self._table)
        if anew:
            if slot:
                await drop_slot(side, name)
            lsn = await make_slot(side, name, "pgoutput", self._failover)
            era = last + 1
            before = f"{sequences_of(era)}{lsn:016X}{0:08X}"
            copy = Progress(run=f"{anew.id}.{lsn:X}", request=anew.id, before=before)
            self._position = Position(server.system, lsn, copy, era, server.timeline)
            return lsn
        if slot is None:
            lsn = await make_slot(side, name, "pgoutput", self._failover)
        else:
            lsn = slot.confirmed
        self._position = known or Position(server.system, lsn, Progress(run=f"{lsn:X}"))
        self._position.timeline = server.timeline
        return lsn

    async def _start(self) -> None:
        assert self._stream
        assert self._side
        options = sql.SQL("proto_version '1', publication_names {}, messages 'true'").format(
            sql.Literal(self._table.name)
        )
        query = start_replication(self._table.name, self._position.lsn, options)
        stream = self._stream
        await patiently(self._side, self._table.name, lambda: stream.execute(query))

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        changes: list[Change] = []
        deadline = time.monotonic() + IDLE
        if swept := self._sweep():
            return swept
        try:
            await self._look_at_copy()
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
        return self._told(changes)

    def _told(self, changes: list[Change] | list[Sweep]) -> Changes:
        progress = self._copier.progress
        self._passed = self._position.lsn >= self._bound and self._copier.passed
        return Changes(
            changes=changes,
            position=msgspec.to_builtins(self._position),
            complete=self._complete if progress.done or not progress.behind else 0,
            passed=self._passed,
            settled=self._begin is None,
        )

    def _before(self) -> str:
        """A sequence above all that were told, and below all to come."""
        return f"{self._era}{self._position.lsn:016X}{0:08X}"

    def _sweep(self) -> Changes | None:
        """Have what a copy anew did not find deleted, once it has told all it found."""
        progress = self._position.copy
        if progress.done or not progress.told or self._begin:
            return None
        sequence = f"{self._era}{self._position.lsn - 1:016X}{0xFFFFFFFF:08X}"
        name = f"{self._tag}.sweep.{progress.run}"
        self._copier.swept()
        self._position.copy = self._copier.progress
        return self._told([Sweep(name, sequence, int(time.time() * 1e6), progress.before)])

    async def _look_at_copy(self) -> None:
        """See that chunks are read, and once a second what operators want copied."""
        assert self._side
        copier, backfills = self._copier, self._backfills
        copier.begin()
        if not backfills.due():
            return
        if not copier.done:
            await backfills.turn(self._side, copier.progress)
        elif self._begin is None and self._passed:
            wanted = await backfills.next(self._side, self._before())
            if wanted and wanted.request != copier.progress.request:
                await copier.start(wanted)
                self._position.copy = wanted

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
                do="`levelsync backfill NODE.toml CONTRACT --anew` copies it again",
            )
        elif isinstance(message, pgoutput.Message) and self._begin:
            for copied in await self._copier.arrived(message):
                self._tell(changes, copied.key, copied.fields, copied)

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
        copied: Copied | None = None,
    ) -> None:
        assert self._begin
        lsn, moment, xid = self._begin
        number = self._number
        self._number += 1
        if copied is None:
            self._copier.touched(key, xid)
            name = f"{self._tag}.{lsn:X}.{number}"
        else:
            moment, name = copied.time, copied.id
        sequence = f"{self._era}{lsn:016X}{number:08X}"
        changes.append(Change(name, sequence, moment, key, fields, copied is not None))

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
                await self._upkeep.turn(self._side, self._position.lsn)
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
        if (copy := position["copy"]).get("done"):
            self._backfills.stands(msgspec.convert(copy, Progress))
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
