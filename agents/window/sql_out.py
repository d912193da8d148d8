"""A table of the window's own system in PostgreSQL, kept as the store is.

Rows and the position that says how far they reach are written in one transaction, so whatever dies
meanwhile, the table goes on from where it is, and no change is missing or entered twice. A row which
the table does not take stops its own key alone: it stands in ``levelsync_refused`` until it fits.
"""

import asyncio
import contextlib
import datetime
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg import sql

from agents.base.errors import LevelsyncError, Policy, Unavailable
from agents.base.status import Hop
from agents.base.window import SqlOut
from agents.window.delivery import Delivery, Position, Progress, Work
from agents.window.office import Office
from agents.window.rights import Visitor, sight_of
from agents.window.sql_rows import Refused, Row, Rows, of_a_row, told
from agents.window.sql_shape import POSITION, REFUSED
from agents.window.sql_table import Connection, Table, TableUnfit
from contracts.model import Contract

log = structlog.get_logger()

#: Seconds between two transactions under load; 500 changes that wait go at once.
TICK = 0.1
#: Seconds after which rows that were refused are tried again, and how many at once.
AGAIN, MOST_AGAIN = 30.0, 500
#: Seconds for a connection, and for one statement.
_PATIENCE, _STATEMENT = 10, 60
_TCP: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
#: SQLSTATE classes of a table, a column or a right that is not there, or not any more.
_UNFIT = ("42", "3F")


class TakenOver(LevelsyncError):
    """Another agent fills this table now."""

    policy = Policy.STOP
    hint = "Only one agent may fill a table; stop one of the two, then `kill -HUP` the other."


class BeginAgain(LevelsyncError):
    """The position in the database was taken away."""

    policy = Policy.RETRY
    hint = "Everything is compared again."


def address_of(dsn: str) -> str:
    """Server and database for a person: no user, no password. Raises TableUnfit."""
    try:
        found = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        # What it says repeats the text, and with it the password.
        raise TableUnfit(
            "The dsn cannot be read",
            do="expected `host=… dbname=… user=… password=…` or `postgresql://…`",
        ) from None
    host, port = found.get("host", "localhost"), found.get("port", 5432)
    return f"{host}:{port}/{found.get('dbname', '')}"


def shown_at(settings: SqlOut) -> str:
    """The table and where it is, for a person."""
    try:
        return f"sql {address_of(settings.dsn)} {settings.table}"
    except TableUnfit:
        return f"sql {settings.table}"


async def connected(dsn: str, name: str) -> Connection:
    """A connection in autocommit. Raises Unavailable, TableUnfit."""
    where = address_of(dsn)
    try:
        connection = await psycopg.AsyncConnection.connect(
            dsn,
            autocommit=True,
            connect_timeout=_PATIENCE,
            application_name=name,
            client_encoding="UTF8",
            **_TCP,
        )
        await connection.execute(f"SET statement_timeout = '{_STATEMENT}s'")
    except (psycopg.Error, OSError) as error:
        raise Unavailable(
            "PostgreSQL does not let us in", server=where, said=_said(error)
        ) from None
    return connection


class SqlDelivery:
    """The delivery into one table, as a part of the agent (:class:`agents.base.run.Part`)."""

    def __init__(self, office: Office, settings: SqlOut, contract: Contract, hop: Hop) -> None:
        self.hop = hop
        self._office = office
        self._settings = settings
        self._sight = sight_of(settings, office.secret)
        self._contract = contract
        self._visitor = Visitor(
            "sql", settings.table, purpose=settings.purpose,
            sights={contract.name: self._sight}, corrections=False,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        settings, office, name = self._settings, self._office, self._contract.name
        connection = await connected(settings.dsn, f"levelsync {office.node}")
        try:
            table = Table(connection, settings, self._sight.contract(self._contract))
            sink = Filled(connection, table, await _made(table), self._sight.shown, self.hop)
            delivery = Delivery(
                office.store, office.feed, office.follows, {name: self._sight}, self.hop,
                lambda _: self._contract, TICK,
            )  # fmt: skip
            office.journal.tell(self._visitor, "follow", name, settings.table)
            await delivery.run(sink, stop)
        except psycopg.Error as error:
            raise self._judged(error) from None
        finally:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    def _judged(self, error: psycopg.Error) -> LevelsyncError:
        table = self._settings.table
        if (error.sqlstate or "").startswith(_UNFIT):
            return TableUnfit("The table is not as it was", table=table, said=told(error))
        return Unavailable("PostgreSQL does not answer", table=table, said=_said(error))


async def _made(table: Table) -> "Rows":
    return Rows(await table.make(), table.key)


def _said(error: Exception) -> str:
    """What a server says, which never has the password in it; its first line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return told(error)
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class Filled:
    """A table as a :class:`agents.window.delivery.Sink`."""

    def __init__(
        self,
        connection: Connection,
        table: Table,
        rows: Rows,
        shown: Callable[[bytes], bytes],
        hop: Hop,
    ) -> None:
        self._connection = connection
        self._table = table
        self._rows = rows
        self._shown = shown
        self._hop = hop
        self._contract = table.contract.name
        self._writer = uuid.uuid4().hex[:12]
        self._refusing = 0
        self._again = 0.0
        names = {
            "position": sql.Identifier(table.schema, POSITION),
            "refused": sql.Identifier(table.schema, REFUSED),
            "table": table.table,
            "key": sql.Identifier(table.key.name),
        }
        self._sql = {name: sql.SQL(text).format(**names) for name, text in _STATEMENTS.items()}

    async def where(self) -> Position | None:
        """See :class:`agents.window.delivery.Sink`; from here on nobody else fills the table.

        Raises TableUnfit where there are rows in it that did not come from here.
        """
        name = self._table.name
        row = await self._one("where", (name,))
        if row is None and await self._table.strange():
            raise TableUnfit(
                "There are rows in it that did not come from here",
                table=f"{self._table.schema}.{name}", do=self._table.taking(),
            )  # fmt: skip
        await self._do("claim", (name, self._contract, self._writer))
        await self._count()
        self._again = asyncio.get_running_loop().time() + AGAIN
        if row is None:
            return None
        contract, store, seq, identity, progress = row
        if contract != self._contract:
            return None
        return Position(
            str(store), int(str(seq)), str(identity),
            msgspec.json.decode(str(progress), type=dict[str, Progress]),
        )  # fmt: skip

    async def enter(self, work: Work) -> Collection[tuple[str, str]]:
        """See :class:`agents.window.delivery.Sink`."""
        rows = [
            Row(each.key, each.entry.id, self._shown(each.entry.value))
            if each.entry
            else Row(each.key, "", None)
            for each in work.items
        ]
        try:
            async with self._connection.transaction():
                await self._moved(work, quick=not rows)
                await self._rows.enter(self._connection, rows)
                if self._refusing and rows:
                    await self._do("fits", (self._table.name, [row.key for row in rows]))
        except psycopg.Error as error:
            if not rows or not of_a_row(error):
                raise
            async with self._connection.transaction():
                await self._moved(work)
                refused = await self._rows.enter_what_can_be(self._connection, rows)
                bad = {each.row.key for each in refused}
                good = [row.key for row in rows if row.key not in bad]
                await self._do("fits", (self._table.name, good))
                fresh = await self._keep(refused)
            self._tell(fresh)
        if (self._refusing and rows) or (self._hop.warnings.get("refused") and not self._refusing):
            await self._count()
        return await self._tried_again()

    async def _moved(self, work: Work, *, quick: bool = False) -> None:
        """Save the position. Raises TakenOver, BeginAgain."""
        position, name = work.position, self._table.name
        if quick:
            await self._connection.execute("SET LOCAL synchronous_commit = off")
        at = work.complete.get(self._contract, 0)
        complete = datetime.datetime.fromtimestamp(at / 1e6, datetime.UTC) if at else None
        progress = msgspec.json.encode(position.contracts).decode()
        moved = await self._do(
            "moved",
            (position.store, position.seq, position.id, progress, complete, name, self._writer),
        )
        if moved.rowcount == 1:
            return
        row = await self._one("writer", (name,))
        if row and row[0]:
            raise TakenOver(table=f"{self._table.schema}.{name}")
        raise BeginAgain(table=f"{self._table.schema}.{name}")

    async def _keep(self, refused: Sequence[Refused]) -> int:
        """Keep them; the answer is how many were not kept before."""
        fresh = 0
        for each in refused:
            kept = await self._do(
                "refuse",
                {
                    "table": self._table.name,
                    "key": each.row.key,
                    "id": each.row.id,
                    "error": each.error,
                },
            )
            row = await kept.fetchone()
            fresh += bool(row and row[0])
        return fresh

    def _tell(self, fresh: int) -> None:
        """So many more stand in the table of what is refused."""
        self._refusing += fresh
        self._hop.rejected += fresh
        if fresh:
            log.error(
                "rows are refused by the table", hop=self._hop.hop, contract=self._hop.contract,
                topic=self._hop.to, count=fresh, table=f"{self._table.schema}.{REFUSED}",
            )  # fmt: skip

    async def _count(self) -> None:
        row = await self._one("refusing", (self._table.name,))
        self._refusing = int(str(row[0])) if row else 0
        self._hop.gauges = {**self._hop.gauges, "refused_rows": float(self._refusing)}
        if self._refusing:
            self._hop.warnings["refused"] = (
                f"{self._refusing} keys are not as they should be in {self._table.schema}."
                f"{self._table.name}, which refuses their rows: see {self._table.schema}.{REFUSED}"
            )
        else:
            self._hop.warnings.pop("refused", None)

    async def _tried_again(self) -> Collection[tuple[str, str]]:
        now = asyncio.get_running_loop().time()
        if not self._refusing or now < self._again:
            return ()
        self._again = now + AGAIN
        cursor = await self._do("again", (self._table.name, MOST_AGAIN))
        return [(self._contract, str(key)) for (key,) in await cursor.fetchall()]

    async def held(self, contract: str, after: str, limit: int) -> Sequence[str]:
        """See :class:`agents.window.delivery.Sink`."""
        if after:
            cursor = await self._do("held after", (after, limit))
        else:
            cursor = await self._do("held", (limit,))
        return [str(key) for (key,) in await cursor.fetchall()]

    async def _do(
        self, name: str, values: Sequence[object] | Mapping[str, object]
    ) -> "psycopg.AsyncCursor[tuple[object, ...]]":
        return await self._connection.execute(self._sql[name], values)

    async def _one(self, name: str, values: Sequence[object]) -> tuple[object, ...] | None:
        return await (await self._do(name, values)).fetchone()


_STATEMENTS = {
    "where": 'SELECT contract, store, seq, id, progress FROM {position} WHERE "table" = %s',
    "claim": (
        'INSERT INTO {position} AS p ("table", contract, store, seq, id, progress, writer)'
        " VALUES (%s, %s, '', 0, '', '{{}}', %s)"
        ' ON CONFLICT ("table") DO UPDATE SET writer = excluded.writer, contract = excluded.contract'
    ),
    "moved": (
        "UPDATE {position} SET store = %s, seq = %s, id = %s, progress = %s,"
        ' complete_as_of = coalesce(%s, complete_as_of), told_at = now() WHERE "table" = %s'
        " AND writer = %s"
    ),
    "writer": 'SELECT writer FROM {position} WHERE "table" = %s',
    "fits": 'DELETE FROM {refused} WHERE "table" = %s AND key = ANY(%s)',
    "refuse": (
        'WITH before AS (SELECT FROM {refused} WHERE "table" = %(table)s AND key = %(key)s'
        "  AND id = %(id)s)"
        ' INSERT INTO {refused} AS r ("table", key, id, error)'
        " VALUES (%(table)s, %(key)s, %(id)s, %(error)s)"
        ' ON CONFLICT ("table", key) DO UPDATE SET id = excluded.id, error = excluded.error, at = now()'
        " RETURNING NOT EXISTS (SELECT FROM before)"
    ),
    "refusing": 'SELECT count(*) FROM {refused} WHERE "table" = %s',
    "again": 'SELECT key FROM {refused} WHERE "table" = %s ORDER BY at LIMIT %s',
    "held": "SELECT {key}::text FROM {table} ORDER BY {key} LIMIT %s",
    "held after": "SELECT {key}::text FROM {table} WHERE {key} > %s ORDER BY {key} LIMIT %s",
}
