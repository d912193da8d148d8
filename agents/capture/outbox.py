"""Events that an application writes itself: into an outbox, a table it inserts into and forgets.

The row is written in the application's own transaction, beside what it changed, and so is there if and
only if that is. It is read from the log as any other table, but only what is inserted counts: a row may
be deleted in the same transaction, and what Kafka has is deleted by us. An event's id is its row's, so
that a row written twice is told once.
"""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any

import msgspec
import psycopg

from agents.base.errors import SourceMismatch
from agents.base.findings import Finding
from agents.base.table import Wrong
from agents.base.tracing import valid
from agents.capture import pgoutput, postgres_name
from agents.capture.outbox_cleaner import Cleaner
from agents.capture.postgres import Position, PostgresSource
from agents.capture.postgres_backfill import Backfills
from agents.capture.postgres_copy import Copied, Progress
from agents.capture.postgres_dsn import check_dsn
from agents.capture.postgres_rights import examine_deletion, examine_table
from agents.capture.postgres_setup import Connection, Table
from agents.capture.postgres_slot import Failover
from agents.capture.postgres_wal import parse_size
from agents.capture.source import Change, Changes, Place, SourceSettings, Sweep, Unreadable
from contracts.model import Contract
from contracts.rejected import Rejected

#: What the table is; ``{}`` is its name.
DDL = """\
CREATE TABLE {} (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    contract text NOT NULL,
    key text NOT NULL,
    op text NOT NULL DEFAULT 'upsert' CHECK (op IN ('upsert', 'delete')),
    payload jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (op = 'delete' OR payload IS NOT NULL)
);"""

#: Ids that are remembered, so that a row written again soon is not told again.
REMEMBERED = 20_000
#: Bytes of a payload that a dead letter keeps.
RAW = 64 * 1024

Told = list[Change | Sweep]


class OutboxTable(SourceSettings, frozen=True, kw_only=True, tag="outbox"):
    """An outbox; ``columns`` are the payload's names of the contract's fields, where they differ."""

    dsn: str
    #: ``schema.table``
    table: str = "levelsync.outbox"
    #: The column by which rows that stand there at the first start are told in their order: a number that
    #: grows, and the primary key.
    order: str = "position"
    #: Does the table serve several contracts, told apart by its column ``contract``?
    shared: bool = True
    #: Are rows deleted once Kafka has them?
    cleanup: bool = True
    #: The column with an event's W3C Trace Context, where there is one.
    traceparent: str = ""
    heartbeat: float = 10.0
    wal_budget: str = "10GB"
    failover: Failover = "auto"

    def __repr__(self) -> str:
        return f"OutboxTable(contract={self.contract!r}, table={self.table!r}, dsn=…)"

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return f"outbox {self.table}"

    def validate(self) -> None:
        """See :class:`agents.base.config.SourceTable`."""
        try:
            postgres_name.split(self.table)
        except ValueError:
            raise Wrong("`schema.table`", f"`{self.table}`", "table") from None
        check_dsn(self.dsn, "dsn")
        try:
            parse_size(self.wal_budget)
        except ValueError:
            raise Wrong("a size such as `10GB`", f"`{self.wal_budget}`", "wal_budget") from None

    def source(self, place: Place) -> "OutboxSource":
        """See :class:`agents.capture.source.SourceSettings`."""
        return OutboxSource(self, place)

    async def examine(self, place: Place) -> list[Finding]:
        """See :class:`agents.capture.source.SourceSettings`."""
        table = _table(self, place)
        found = await examine_table(self.dsn, table, parse_size(self.wal_budget), "auto")
        if self.cleanup:
            found += await examine_deletion(self.dsn, table)
        return found


def _table(settings: OutboxTable, place: Place) -> Table:
    return Table(
        settings.table, _columns(settings), settings.order, place.name, publish="insert, update"
    )


def _columns(settings: OutboxTable) -> dict[str, str]:
    names = [settings.order, "id", "key", "op", "payload", "created_at"]
    more = [*(["contract"] if settings.shared else []), *filter(None, [settings.traceparent])]
    return {name: name for name in (*names, *more)}


class OutboxSource(PostgresSource):
    """A :class:`agents.capture.source.Source` over an outbox."""

    as_is = False

    def __init__(self, settings: OutboxTable, place: Place) -> None:
        super().__init__(
            dsn=settings.dsn,
            table=settings.table,
            columns=_columns(settings),
            key=settings.order,
            name=place.name,
            publish="insert, update",
            place=place,
            heartbeat=settings.heartbeat,
            wal_budget=parse_size(settings.wal_budget),
            failover=settings.failover,
        )
        self._settings = settings
        self._contract: Contract = place.contract
        self._backfills = _NoBackfills(place, self._table)
        self._fields = {
            **{name: name for name in self._contract.field_names},
            **{called: field for field, called in settings.columns.items()},
        }
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._held = False
        self._bound = 0
        self._cleaner = Cleaner(self._table, self._contract.name if settings.shared else None)

    async def __aenter__(self) -> "OutboxSource":
        try:
            await super().__aenter__()
        except SourceMismatch as error:
            if "do" not in error.facts or "missing" in error.facts:
                error.facts["do"] = DDL.format(self._table.identifier.as_string())
            raise
        return self

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        await super().open(position, held)
        assert self._side
        self._held = bool(held)
        row = await (
            await self._side.execute("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
        ).fetchone()
        assert row
        self._bound = int(row[0])
        if self._settings.cleanup:
            self._tasks.append(asyncio.create_task(self._clean(), name=f"clean-{self._table.name}"))

    async def _settle(self, known: Position | None, held: frozenset[str]) -> int:
        confirmed = await super()._settle(known, held)
        # What is not in an outbox was told before: nothing is swept.
        self._position.copy = msgspec.structs.replace(self._position.copy, before="")
        return confirmed

    def _has_passed(self) -> bool:
        # Ids are the application's, and do not say where in the log they are.
        if self._held and not self._copier.done:
            return False
        return self._position.lsn >= self._bound

    async def _clean(self) -> None:
        """Delete what Kafka has, beside the stream."""
        assert self._side
        with contextlib.suppress(psycopg.OperationalError):  # the stream ends too, and says so
            while True:
                await asyncio.sleep(0.5)
                if self._copier.done:
                    await self._cleaner.turn(self._side)

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        await super().confirm(position)
        self._cleaner.confirmed = max(self._cleaner.confirmed, int(position["lsn"]))

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        if self._hop:
            self._hop.gauges["outbox_deleted_rows"] = float(self._cleaner.deleted)
            self._hop.warnings.pop("cleanup", None)
            if self._cleaner.trouble:
                self._hop.warnings["cleanup"] = self._cleaner.trouble
        return await super().read()

    # ---- from a row to an event --------------------------------------------------------------

    async def _update(self, changes: Told, message: pgoutput.Update) -> None:
        made = self._made(changes, message.new, None)
        if made is not None:
            refused = Rejected(
                "$", "outbox-update", "Expected rows of the outbox never to change: insert another"
            )
            changes.append(_unreadable(made, _key(message.new), refused))  # type: ignore[arg-type]

    async def _truncate(self, changes: Told, message: pgoutput.Truncate) -> None:
        """What was in it, the log has told before."""

    def _tell(
        self,
        changes: Told,
        key: str,
        fields: dict[str, Any] | None,
        copied: Copied | None = None,
    ) -> None:
        made = self._made(changes, fields, copied)
        if made is not None and (event := self._event(made)) is not None:
            changes.append(event)  # type: ignore[arg-type]

    def _made(
        self, changes: Told, row: dict[str, Any] | None, copied: Copied | None
    ) -> Change | None:
        """The row's change as the stream counts it; None where it is nobody's here."""
        before = len(changes)
        key = "" if row is None else str(row[self._table.key])
        super()._tell(changes, key, row, copied)
        if len(changes) == before:
            return None
        made = changes.pop()
        assert isinstance(made, Change)
        if row is None or (self._settings.shared and not self._is_ours(row)):
            return None
        return made

    def _is_ours(self, row: dict[str, Any]) -> bool:
        # One that names no contract is everybody's, rather than nobody's.
        return row["contract"] in (None, "", self._contract.name)

    def _event(self, made: Change) -> Change | Unreadable | None:
        row = made.fields
        assert isinstance(row, dict)
        name = str(row["id"])
        if name in self._recent:
            return None
        self._recent[name] = None
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        made = msgspec.structs.replace(
            made,
            id=name,
            copied=False,
            origin=f"{self._table.name_} {self._table.key}={row[self._table.key]}",
            raw=_raw(row["payload"]),
            traceparent=self._trace(row),
        )
        try:
            key, fields = self._read(row)
        except Rejected as refused:
            return _unreadable(made, _key(row), refused)
        return msgspec.structs.replace(made, key=key, fields=fields)

    def _trace(self, row: dict[str, Any]) -> str:
        column = self._settings.traceparent
        return valid(str(row.get(column) or "")) if column else ""

    def _read(self, row: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """Key and record of a row. Raises Rejected."""
        op, payload, key = row["op"], row["payload"], _key(row)
        if op == "delete":
            if not key:
                raise Rejected("$", "outbox-key", "Expected a key of what is to be deleted")
            return key, None
        if op != "upsert":
            raise Rejected("$", "outbox-op", "Expected `upsert` or `delete` for op")
        if isinstance(payload, str):
            try:
                payload = msgspec.json.decode(payload)
            except ValueError as error:
                raise Rejected("$", "json", f"Expected JSON, {error}") from None
        if not isinstance(payload, dict):
            kind = "nothing" if payload is None else type(payload).__name__
            raise Rejected("$", "type", f"Expected an object, got {kind}")
        fields = {self._fields.get(str(name), str(name)): value for name, value in payload.items()}
        return key or str(fields.get(self._contract.key, "")), fields


def _key(row: dict[str, Any]) -> str:
    return "" if row["key"] is None else str(row["key"])


def _raw(payload: Any) -> bytes:
    if payload is None:
        return b""
    raw = payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)
    return raw[:RAW]


def _unreadable(made: Change, key: str, refused: Rejected) -> Unreadable:
    row = made.fields
    raw = made.raw or (_raw(row["payload"]) if isinstance(row, dict) else b"")
    return Unreadable(
        made.id, made.sequence, made.time, key, refused, made.origin, raw, made.traceparent
    )


class _NoBackfills(Backfills):
    """An outbox tells each row once; there is nothing to tell again but after a lost slot."""

    async def next(self, side: Connection, done: Progress, sequence: str) -> Progress | None:
        for request in self._pending():
            if request.id != done.request:
                self._answer(
                    request,
                    "failed",
                    error="An outbox's rows are gone once they were told. Have the application insert"
                    " again what is to be told again; --anew is for a slot that is lost.",
                )
        return None
