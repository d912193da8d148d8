"""Changes of one PostgreSQL table, by logical replication.

A source keeps a publication and a slot of its own. It copies the table first, in chunks beside the
stream (:mod:`agents.capture.postgres_copy`), and confirms to the server only what is safely in Kafka.
``(commit LSN, number in the transaction)`` is the same on every redelivery and makes both the id and
the sequence of a change; see :class:`Position` for how a large transaction is resumed in its middle.
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

from agents.base.errors import SlotLost, SourceMismatch, Unavailable
from agents.base.status import Hop
from agents.capture import pgoutput, postgres_family
from agents.capture.postgres_backfill import Backfills
from agents.capture.postgres_clock import Clock
from agents.capture.postgres_copy import ROWS, Copied, Copier, Progress
from agents.capture.postgres_family import Family
from agents.capture.postgres_key import key_of
from agents.capture.postgres_layout import Layout, Layouts
from agents.capture.postgres_plugin import PLUGINS, candidates
from agents.capture.postgres_publication import see_publication
from agents.capture.postgres_setup import Table, examine, open_failures
from agents.capture.postgres_slot import (
    Failover,
    Known,
    disagreement,
    drop_slot,
    furthest_of,
    identify,
    look_at_slot,
    make_slot,
    sequences_of,
    tag_of,
)
from agents.capture.postgres_snapshot import Snapshot
from agents.capture.postgres_stream import HEAD, Stream
from agents.capture.postgres_types import CHINA, Types
from agents.capture.postgres_wal import Upkeep
from agents.capture.source import Change, Changes, Place, Sweep
from contracts.shape import Shape

#: Changes after which a read ends with the transaction, and at most, whatever the transaction.
ENOUGH, MOST = 1_000, 2_000
#: Seconds a read waits for more of a transaction it is in.
GATHER = 0.02
#: Seconds an idle read waits, and between looks at the server's clock.
IDLE = 1.0
#: Seconds between looks at what partitions the table has.
WATCH = 2.0
#: Seconds that a committed transaction may be unseen in the table.
SHOWN = 60.0
#: Seconds that a source which must stop waits for what it told to be safe.
LAST = 10.0

_KEEPALIVE = struct.Struct(">qqb")


class Position(msgspec.Struct):
    """Everything up to ``lsn`` was told, and of the copy what ``copy`` says; ``era`` counts the histories
    that were lost before (:mod:`agents.capture.postgres_slot`).

    ``within`` is ``(commit LSN, number)`` once the stream is in the middle of a transaction: of that
    transaction the first so many changes were told too. The server tells it again from its start, since
    what is confirmed is ``lsn``, and what was told is left out. ``table`` is the table's own OID, and
    ``parts`` those of its partitions.
    """

    system: str
    lsn: int
    copy: Progress
    era: int = 0
    timeline: int = 0
    within: tuple[int, int] | None = None
    table: int = 0
    parts: tuple[int, ...] = ()


class PostgresSource:
    """A :class:`agents.capture.source.Source` over one table.

    ``columns`` maps contract fields to columns; ``key`` is the contract field that identifies a
    row; ``name`` becomes the publication and the slot; ``shapes`` are those of the contract's fields,
    and columns that cannot fill them are refused. Not for use after an error.
    """

    #: Is a row told as it stands, without a look at it in :meth:`_tell`?
    as_is = True

    def __init__(
        self,
        *,
        dsn: str,
        table: str,
        columns: Mapping[str, str],
        key: str,
        name: str,
        shapes: Mapping[str, Shape] | None = None,
        timezone: str = CHINA,
        plugin: str = "auto",
        hop: Hop | None = None,
        chunk: int = ROWS,
        place: Place | None = None,
        heartbeat: float = 10.0,
        wal_budget: int = 0,
        failover: Failover = "auto",
        publish: str = "insert, update, delete, truncate",
    ) -> None:
        self._dsn = dsn
        self._table = Table(table, dict(columns), key, name, Types(timezone), publish)
        self._chunk = chunk
        self._failover = failover
        self._hop = hop = place.hop if place else hop
        self._backfills = Backfills(place, self._table)
        self._upkeep = Upkeep(hop, name, wal_budget, heartbeat)
        self._layouts = Layouts(self._table, shapes or {})
        self._plugins = candidates(plugin)
        self._readings: dict[int, pgoutput.Reading] = {}
        #: The layouts whose rows need more than reading.
        self._odd: dict[int, Layout] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stream = Stream(dsn, name)
        self._side: psycopg.AsyncConnection[Any] | None = None
        self._begin: pgoutput.Begin | None = None
        self._number = 0
        #: The commit LSN of the last transaction that the tables were seen to show.
        self._shows = 0
        #: How ids and sequences of this transaction begin, and its time.
        self._named = ("", "", 0)
        self._skip = False
        #: The number of the first change of this transaction that was not told yet.
        self._first = 0
        #: Does this transaction tell of a copied chunk, which is told whole or not at all?
        self._chunked = False
        self._furthest = (0, 0)
        self._passed = False
        #: A message that is to come first in the next read.
        self._kept: bytes | None = None
        #: Why nothing more may be told, and until when we wait for what was told to be safe.
        self._halt: SourceMismatch | None = None
        self._halted = 0.0
        self._confirmed: Any = None
        self._clock = Clock()

    async def __aenter__(self) -> "PostgresSource":
        try:
            with open_failures(self._dsn, self._table):
                self._side = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=5
                )
                await self._upkeep.look(self._side)
                await examine(self._side, self._table)
                self._family = await postgres_family.look(self._side, self._table)
                postgres_family.examine(self._family, self._table)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        assert self._side
        known = msgspec.convert(position, Position) if position is not None else None
        with open_failures(self._dsn, self._table):
            await self._stream.connect()
            flushed = await self._settle(known, held)
            at = self._position
            if at is known and at.table:
                self._joined(self._family)
            at.table, at.parts = self._family.root.oid, tuple(sorted(self._family.parts))
            self._tag = tag_of(at.system, at.era)
            self._era = sequences_of(at.era)
            self._furthest = self._furthest_of(held)
            self._backfills.stands(at.copy)
            if at.copy.done and (
                wanted := await self._backfills.next(self._side, at.copy, self._before())
            ):
                at.copy = wanted
            key = await key_of(self._side, self._table)
            self._copier = Copier(self._dsn, self._table, key, at.copy, self._tag, self._chunk)
            await self._copier.open(self._side, held)
            await self._stream.start(
                self._side, at.lsn, flushed, self._plugin.options(), self._plugin.wished
            )
        self._tasks = [
            asyncio.create_task(self._stream.keep_alive(), name=f"feedback-{self._table.name}"),
            asyncio.create_task(self._look_at_clock(), name=f"clock-{self._table.name}"),
            asyncio.create_task(self._watch(), name=f"watch-{self._table.name}"),
        ]

    async def _settle(self, known: Position | None, held: frozenset[str]) -> int:
        """Find where to go on, and with which slot; the answer is what the slot has confirmed.

        Raises SlotLost where the server's history does not go on from the topic's, and SourceMismatch
        where the table's does not, unless an operator has asked for a copy anew: then a new era begins
        with a new slot.
        """
        side, table = self._side, self._table
        assert side
        server = await identify(
            self._stream.connection, known.timeline if known and known.timeline else None
        )
        slot = await look_at_slot(side, table.name)
        furthest, last = furthest_of(held, server.system, known.era if known else 0)
        reached = Known(known.system, known.timeline, known.lsn, furthest) if known else None
        plugin = self._plugins[0]
        if slot and slot.plugin in self._plugins:
            plugin = slot.plugin
        lost: SlotLost | SourceMismatch | None = disagreement(
            slot, server, reached, table, plugin=plugin, database=side.info.dbname
        )
        if known and not lost:
            lost = self._gone(self._family, known)
        anew = self._backfills.anew(known.copy if known else None) if known or lost else None
        if lost and (anew is None or (slot and slot.database != side.info.dbname)):
            raise lost
        if slot and anew:
            await drop_slot(side, table.name)
            slot = None
        if slot:
            lsn = slot.confirmed
            if plugin == "pgoutput":
                await see_publication(side, table)
        else:
            lsn, plugin = await self._new_slot(side)
        self._plugin = PLUGINS[plugin](table, self._readings)
        await self._learn_table(side)
        if anew:
            era = last + 1
            before = f"{sequences_of(era)}{lsn:016X}{0:08X}"
            copy = Progress(run=f"{anew.id}.{lsn:X}", request=anew.id, before=before)
            self._position = Position(server.system, lsn, copy, era, server.timeline)
            return lsn
        self._position = known or Position(server.system, lsn, Progress(run=f"{lsn:X}"))
        self._position.timeline = server.timeline
        return lsn

    async def _new_slot(self, side: psycopg.AsyncConnection[Any]) -> tuple[int, str]:
        """Make it, by the first of the plugins that the server has; the publication before it."""
        said = {}
        for plugin in self._plugins:
            try:
                if plugin == "pgoutput":
                    await see_publication(side, self._table)
                return await make_slot(side, self._table.name, plugin, self._failover), plugin
            except (
                psycopg.errors.UndefinedFile,
                psycopg.errors.FeatureNotSupported,
                psycopg.errors.SyntaxError,
            ) as error:
                said[plugin] = error.diag.message_primary or str(error)
        raise SourceMismatch(
            f"Expected a server with the plugin {' or '.join(self._plugins)}",
            table=self._table.name_,
            said=said,
            do="install wal2json on the server; mppdb_decoding, openGauss's own, is not known here",
        )

    async def _learn_table(self, side: psycopg.AsyncConnection[Any]) -> None:
        """Raises SourceMismatch when the table can never be told of rightly."""
        generated = self._plugin.generated or side.info.server_version >= 180_000
        await self._layouts.learn(side, generated=generated)
        if self._family.root.kind == "p" and self._plugin.name != "pgoutput":
            raise SourceMismatch(
                f"Expected pgoutput for a table in partitions, found {self._plugin.name}, which"
                " does not know them for parts of a table",
                table=self._table.name_,
                do="take each partition as a source of its own, or a server with pgoutput",
            )

    def _gone(self, family: Family, known: Position) -> SourceMismatch | None:
        """Why it is not the table any more that ``known`` was about, or lacks partitions of it."""
        if not family.members or (known.table and known.table != family.root.oid):
            return SourceMismatch(
                "The table was dropped, and the log does not say which rows went with it",
                table=self._table.name_,
                do="levelsync backfill NODE.toml CONTRACT --anew, once the table is there again",
            )
        return postgres_family.lost(family, known.parts, self._table)

    def _furthest_of(self, held: frozenset[str]) -> tuple[int, int]:
        """Commit LSN and number of the last change that the topic holds already."""
        furthest = (0, 0)
        for name in held:
            tag, lsn, number, *_ = [*name.split(".", 3), "", ""]
            if tag == self._tag and lsn != "copy":
                with contextlib.suppress(ValueError):
                    furthest = max(furthest, (int(lsn, 16), int(number)))
        return furthest

    def _has_passed(self) -> bool:
        """Was everything told again that the topic held?"""
        lsn, number = self._furthest
        position = self._position
        if not self._copier.passed:
            return False
        if position.within and position.within[0] == lsn:
            return position.within[1] > number
        return position.lsn > lsn

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        changes: list[Change | Sweep] = []
        deadline, soon = time.monotonic() + IDLE, 0.0
        if swept := self._sweep():
            return swept
        try:
            await self._look_at_copy()
            while self._halt is None:
                await self._drain(changes)
                left = deadline - time.monotonic()
                if self._clock.news or left <= 0:
                    break
                if changes:
                    soon = soon or time.monotonic() + GATHER
                    left = soon - time.monotonic()
                    alone = self._kept is not None or type(changes[-1]) is Sweep
                    if self._begin is None or alone or len(changes) >= ENOUGH or left <= 0:
                        break
                if self._halt is None:
                    await self._stream.wait(left)
        except psycopg.errors.UndefinedObject as error:
            raise SlotLost(
                "The publication was dropped, or made again after the log that is to be read",
                table=self._table.name_, said=error.diag.message_primary,
            ) from error  # fmt: skip
        except psycopg.Error as error:
            raise Unavailable(
                "PostgreSQL ended the stream", table=self._table.name_, said=str(error).strip()
            ) from error
        self._clock.news = False
        if self._begin and not self._skip and (number := max(self._number, self._first)):
            self._position.within = (self._begin.commit_lsn, number)
        if self._halt is not None and not changes:
            await self._stop()
        return self._told(changes)

    def _told(self, changes: list[Change | Sweep]) -> Changes:
        progress = self._copier.progress
        self._passed = self._has_passed()
        return Changes(
            changes=changes,
            position=msgspec.to_builtins(self._position),
            complete=self._clock.complete if progress.done or not progress.behind else 0,
            passed=self._passed,
            settled=not self._chunked,
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
        if copier.failure and self._begin is None:
            backfills.failed(copier.progress, copier.failure)
            await copier.start(msgspec.structs.replace(copier.progress, done=True))
            self._position.copy = copier.progress
        if not backfills.due():
            return
        if not copier.done:
            await backfills.turn(self._side, copier.progress)
        elif self._begin is None and self._passed:
            wanted = await backfills.next(self._side, copier.progress, self._before())
            if wanted:
                await copier.start(wanted)
                self._position.copy = wanted

    async def _stop(self) -> None:
        """Raise why nothing more can be told, once what was told is under a watermark: then whoever
        mends the cause goes on from there, and no older row comes again under what he mended."""
        assert self._halt
        now = time.monotonic()
        self._halted = self._halted or now + LAST
        safe = self._confirmed == msgspec.to_builtins(self._position)
        if self._chunked or safe or now > self._halted:
            raise self._halt
        await asyncio.sleep(0.1)

    async def _drain(self, changes: list[Change | Sweep]) -> None:
        """Take what is in hand, but no more than is good for a read."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await self._enter(kept, changes)
        stream, quick = self._stream, self.as_is and self._plugin.name == "pgoutput"
        stream.fill()
        while len(changes) < (ENOUGH if self._begin is None else MOST):
            if self._kept or self._halt or (changes and type(changes[-1]) is Sweep):
                break
            data = stream.take()
            if data is None:
                break
            kind = data[0]
            if kind == 0x77:  # w
                raw = bytes(data[HEAD:])
                if not quick or self._skip or not self._insert(raw, changes):
                    await self._enter(raw, changes)
            elif kind == 0x6B:  # k
                end, _, reply = _KEEPALIVE.unpack_from(data, 1)
                if self._begin is None and end > self._position.lsn:
                    self._position.lsn = end
                if reply:
                    stream.say()
        if self._begin is None:
            self._clock.passed(self._position.lsn)

    def _insert(self, data: bytes, changes: list[Change | Sweep]) -> bool:
        """As :meth:`_enter`, for what most messages are; False for the others, which is cheap to say."""
        if self._odd or self._begin is None:
            return False
        fields = pgoutput.inserted(data, self._readings)
        if fields is None:
            return False
        number = self._number
        self._number = number + 1
        key = str(fields[self._table.key])
        self._copier.touched(key, self._begin.xid)
        if number >= self._first:
            name, sequence, moment = self._named
            changes.append(
                Change(f"{name}{number}", f"{sequence}{number:08X}", moment, key, fields)
            )
        return True

    async def _enter(self, data: bytes, changes: list[Change | Sweep]) -> None:
        try:
            message = self._plugin.decode(data)
        except ValueError as error:
            raise SourceMismatch(
                f"The plugin {self._plugin.name} says what we cannot read: {error}",
                table=self._table.name_,
                do="keep the server's log (the slot does), and report this",
            ) from error
        if isinstance(message, pgoutput.Begin):
            self._begin, self._number, self._chunked = message, 0, False
            lsn = message.commit_lsn
            self._named = f"{self._tag}.{lsn:X}.", f"{self._era}{lsn:016X}", message.time
            # The server skips what was confirmed, and we what was told, whichever is further.
            self._skip = message.commit_lsn < self._position.lsn
            within = self._position.within
            here = within is not None and within[0] == message.commit_lsn
            self._first = within[1] if within and here else 0
        elif isinstance(message, pgoutput.Commit):
            self._begin, self._chunked = None, False
            self._position.lsn = max(self._position.lsn, message.end_lsn)
            self._position.copy = self._copier.progress
            if self._position.within and self._position.within[0] <= message.commit_lsn:
                self._position.within = None
        elif isinstance(message, pgoutput.Relation):
            await self._relation(message)
            if self._plugin.again:
                await self._enter(data, changes)
        elif self._skip or message is None:
            return
        elif isinstance(message, pgoutput.Insert):
            if self._odd and not self._fit(message, message.new):
                self._kept = data
                return
            await self._put(changes, message.new)
        elif isinstance(message, pgoutput.Update):
            if self._odd and not self._fit(message, message.new, message.old):
                self._kept = data
                return
            await self._update(changes, message)
        elif isinstance(message, pgoutput.Delete):
            if self._odd and not self._fit(message, message.old):
                self._kept = data
                return
            self._tell(changes, str(message.old[self._table.key]), None)
        elif isinstance(message, pgoutput.Truncate):
            if changes:
                self._kept = data  # a sweep comes alone, after all that was before it
            else:
                await self._truncate(changes, message)
        elif isinstance(message, pgoutput.Message) and self._begin:
            for copied in await self._copier.arrived(message):
                self._chunked = True
                self._tell(changes, copied.key, copied.fields, copied)

    def _fit(
        self,
        message: pgoutput.Insert | pgoutput.Update | pgoutput.Delete,
        *rows: pgoutput.Row | None,
    ) -> bool:
        """Fill the twins of a row; False, and we halt, when its layout is not one to tell."""
        layout = self._odd.get(message.relation)
        if layout is None:
            return True
        fault = layout.fault
        if not isinstance(message, pgoutput.Insert):
            fault = fault or layout.blind
        if fault is not None and self._number >= self._first:
            self._halt = fault
            return False
        for row in rows:
            if row is not None:
                for field in layout.stale:
                    row[field] = pgoutput.UNCHANGED
                for field, other in layout.twins:
                    row[field] = row[other]
        return True

    async def _update(self, changes: list[Change | Sweep], message: pgoutput.Update) -> None:
        old, new = message.old, message.new
        if message.whole and old is not None:
            for field, value in new.items():
                if value is pgoutput.UNCHANGED:
                    new[field] = old[field]
        key = self._table.key
        if old is not None and new[key] is pgoutput.UNCHANGED:
            new[key] = old[key]
        if old is not None and old[key] != new[key]:
            self._tell(changes, str(old[key]), None)
        await self._put(changes, new)

    async def _put(self, changes: list[Change | Sweep], fields: dict[str, Any]) -> None:
        """Tell of a row. Large columns that did not change are read from the table now: newer
        values are in order, since the change that made them follows, and a row that is gone needs
        no telling, since its deletion follows."""
        missing = [field for field, value in fields.items() if value is pgoutput.UNCHANGED]
        key = str(fields[self._table.key])
        if missing and self._number >= self._first:
            assert self._side
            await self._shown()
            query = self._table.select(missing, sql.SQL("WHERE {0} = %s"))
            cursor = await self._side.execute(query, (key,))
            found = self._table.rows(cursor, missing)
            if not found:
                self._number += 1
                return
            fields.update(found[0])
        self._tell(changes, key, fields)

    async def _shown(self) -> None:
        """Wait until the tables show the transaction that is told of: what they showed before that would
        be older than what the log says. Raises Unavailable."""
        assert self._side
        assert self._begin
        if self._shows == self._begin.commit_lsn:
            return
        deadline = time.monotonic() + SHOWN
        while True:
            cursor = await self._side.execute("SELECT txid_current_snapshot()::text")
            row = await cursor.fetchone()
            assert row
            if Snapshot.parse(row[0]).sees(self._begin.xid):
                self._shows = self._begin.commit_lsn
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    "A transaction that is in the log is not to be seen in the table: does its commit"
                    " wait for a synchronous standby that is away?",
                    table=self._table.name_,
                    xid=self._begin.xid,
                )
            await asyncio.sleep(0.02)

    def _tell(
        self,
        changes: list[Change | Sweep],
        key: str,
        fields: dict[str, Any] | None,
        copied: Copied | None = None,
    ) -> None:
        assert self._begin
        prefix, sequence, moment = self._named
        number = self._number
        self._number += 1
        if copied is None:
            self._copier.touched(key, self._begin.xid)
            if number < self._first:
                return
            name = f"{prefix}{number}"
        else:
            moment, name = copied.time, copied.id
        sequence = f"{sequence}{number:08X}"
        changes.append(Change(name, sequence, moment, key, fields, copied is not None))

    async def _truncate(self, changes: list[Change | Sweep], message: pgoutput.Truncate) -> None:
        """Everything went, or the rows of some partitions, which nobody can name."""
        assert self._side
        assert self._begin
        lsn, moment, _ = self._begin
        family = await postgres_family.look(self._side, self._table)
        gone = set(message.relations)
        if family.parts and not (family.root.oid in gone or gone >= family.parts.keys()):
            told = sorted(one.name for oid, one in family.parts.items() if oid in gone)
            self._halt = SourceMismatch(
                "A partition was truncated alone, and the log does not say which rows went with it",
                table=self._table.name_,
                partitions=told or sorted(gone),
                do="levelsync backfill NODE.toml CONTRACT --anew, which copies what is there and"
                " deletes what is not",
            )
            return
        number = self._number
        self._number += 1
        if number >= self._first:
            sequence = f"{self._era}{lsn:016X}{number:08X}"
            changes.append(Sweep(f"{self._tag}.{lsn:X}.{number}", sequence, moment, sequence))

    async def _relation(self, relation: pgoutput.Relation) -> None:
        """A table is told of, perhaps changed: how to read it, before its next row."""
        assert self._side
        layout = await self._layouts.of(self._side, relation)
        self._readings[relation.id] = layout.reading
        self._odd.pop(relation.id, None)
        if not layout.plain:
            self._odd[relation.id] = layout

    async def _watch(self) -> None:
        """What the log never tells of: partitions that come and go with rows in them."""
        assert self._side
        try:
            while True:
                await asyncio.sleep(WATCH)
                family = await postgres_family.look(self._side, self._table)
                if gone := self._gone(family, self._position):
                    raise gone
                postgres_family.examine(family, self._table)
                self._joined(family)
        except SourceMismatch as error:
            self._halt = self._halt or error
        except psycopg.Error:
            pass  # the stream ends too, and says so

    def _joined(self, family: Family) -> None:
        parts = family.parts
        for oid in parts.keys() - set(self._position.parts):
            one = parts[oid]
            if one.joined and self._hop:
                self._hop.warnings[f"partition {one.name}"] = (
                    f"the partition {one.name} was attached: rows it held before that are not in the"
                    " log; levelsync backfill NODE.toml CONTRACT --where"
                    f' "tableoid = {oid}"'
                )
        self._position.parts = tuple(sorted(parts))

    async def _look_at_clock(self) -> None:
        assert self._side
        with contextlib.suppress(psycopg.Error):  # the stream ends too, and says so
            while True:
                await self._clock.look(self._side)
                self._stream.say(reply=True)
                await self._upkeep.turn(self._side, self._position.lsn)
                await asyncio.sleep(IDLE)

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        self._confirmed = position
        if (copy := position["copy"]).get("done"):
            self._backfills.stands(msgspec.convert(copy, Progress))
        self._stream.confirm(int(position["lsn"]))

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_copier"):
            await self._copier.close()
        await self._stream.close()
        if self._side is not None:
            await self._side.close()
