"""Rows of an outbox that Kafka has, deleted in batches that hold nobody up."""

from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import sql

from agents.capture.postgres_setup import Connection, Table

log = structlog.get_logger()

#: Rows deleted by one statement.
BATCH = 5_000


class _Batch(NamedTuple):
    """Rows by the column that orders them, all committed before ``lsn``."""

    rows: list[Any]
    lsn: int


class Cleaner:
    """Deletes rows of ``table`` that name ``contract``, or all where it is None, once they were told and
    the log is ``confirmed`` beyond them.

    It looks at what stands in the table and where the log ends after that: when that end is confirmed,
    each of these rows was told. So nothing is remembered per row, and what a killed agent left is found.
    """

    def __init__(self, table: Table, contract: str | None) -> None:
        self.confirmed = 0
        self.deleted = 0
        #: Why nothing can be deleted, for a person.
        self.trouble = ""
        self._table = table
        self._contract = contract
        self._batch: _Batch | None = None

    async def turn(self, side: Connection) -> None:
        """Delete a batch, if there is one to delete. Raises psycopg.OperationalError."""
        if self._batch is None:
            self._batch = await self._look(side)
        if not self._batch.rows or self._batch.lsn > self.confirmed:
            if not self._batch.rows:
                self._batch = None
            return
        order = sql.Identifier(self._table.columns[self._table.key])
        try:
            cursor = await side.execute(
                sql.SQL("DELETE FROM {} WHERE {} = ANY (%s)").format(self._table.identifier, order),
                (self._batch.rows,),
            )
        except psycopg.errors.InsufficientPrivilege as error:
            user = sql.Identifier(side.info.user).as_string()
            table = self._table.identifier.as_string()
            if not self.trouble:
                log.warning("the outbox is not cleaned up", table=self._table.name_)
            self.trouble = (
                f"{error.diag.message_primary}: GRANT DELETE ON {table} TO {user};, or say"
                " cleanup = false"
            )
            return
        self.deleted += cursor.rowcount
        self.trouble, self._batch = "", None

    async def _look(self, side: Connection) -> _Batch:
        order = sql.Identifier(self._table.columns[self._table.key])
        query = sql.SQL("SELECT {0} FROM {1} {2} ORDER BY {0} LIMIT {3}").format(
            order,
            self._table.identifier,
            sql.SQL("WHERE coalesce(contract, '') IN ('', {})").format(sql.Literal(self._contract))
            if self._contract
            else sql.SQL(""),
            sql.Literal(BATCH),
        )
        rows = [row[0] for row in await (await side.execute(query)).fetchall()]
        row = await (
            await side.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        ).fetchone()
        assert row
        return _Batch(rows, int(row[0]))
