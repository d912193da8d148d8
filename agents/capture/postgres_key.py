"""The column by which a table is copied: how its values are ordered, and whether an index helps."""

from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from agents.base.errors import SourceMismatch
from agents.capture.postgres_setup import Table

Connection = psycopg.AsyncConnection[Any]


class Key(NamedTuple):
    """``column`` holds values of ``type_`` ordered by ``collation``, both as SQL; ``indexed`` says
    whether an index brings all rows in that order, ``unique`` whether a value stands once."""

    column: sql.Identifier
    type_: sql.SQL
    collation: sql.SQL
    indexed: bool
    unique: bool

    def after(self, last: str) -> sql.Composed:
        """The condition that a row comes after the key ``last``, as the server wrote it."""
        return sql.SQL("{} > {}").format(self.column, sql.Literal(last))

    async def furthest(self, side: Connection, keys: list[str]) -> str:
        """The last of ``keys``, of which there is one at least."""
        cursor = await side.execute(
            sql.SQL(
                "SELECT raw FROM unnest(%s::text[]) raw ORDER BY raw::{} {} DESC LIMIT 1"
            ).format(self.type_, self.collation),
            (keys,),
        )
        row = await cursor.fetchone()
        assert row
        return str(row[0])

    async def reaches(self, side: Connection, key: str, other: str) -> bool:
        """Is ``key`` at ``other`` or after it?"""
        cursor = await side.execute(
            sql.SQL("SELECT %s::text::{0} >= %s::text::{0} {1}").format(self.type_, self.collation),
            (key, other),
        )
        row = await cursor.fetchone()
        return bool(row and row[0])


async def key_of(side: Connection, table: Table) -> Key:
    """Look the key column up. Raises SourceMismatch where its values have no order, psycopg.Error."""
    column = table.columns[table.key]
    cursor = await side.execute(
        """
        SELECT format_type(atttypid, -1),
               CASE WHEN attcollation = 0 THEN '' ELSE (
                   SELECT format('COLLATE %%I.%%I', nspname, collname) FROM pg_collation c
                   JOIN pg_namespace n ON n.oid = collnamespace WHERE c.oid = attcollation) END,
               EXISTS (SELECT FROM pg_opclass JOIN pg_am am ON am.oid = opcmethod
                   WHERE amname = 'btree' AND opcdefault AND opcintype IN (base.oid, kind.oid)
                      OR base.typtype IN ('e', 'r', 'm', 'c') OR base.typcategory IN ('A', 'S')),
               coalesce(bool_or(sorted), false), coalesce(bool_or(sorted AND one), false)
        FROM pg_attribute JOIN pg_type kind ON kind.oid = atttypid
        JOIN pg_type base ON base.oid = CASE kind.typtype WHEN 'd' THEN kind.typbasetype ELSE kind.oid END
        LEFT JOIN LATERAL (
            SELECT indkey[0] = attnum AND indcollation[0] = attcollation AND amname = 'btree' AS sorted,
                   indisunique AND indnkeyatts = 1 AS one
            FROM pg_index JOIN pg_class index ON index.oid = indexrelid JOIN pg_am am ON am.oid = relam
            WHERE indrelid = attrelid AND indisvalid AND indpred IS NULL
        ) found ON true
        WHERE attrelid = %s::regclass AND attname = %s
        GROUP BY atttypid, attcollation, base.oid, kind.oid, base.typtype, base.typcategory
        """,
        (table.identifier.as_string(), column),
    )
    row = await cursor.fetchone()
    assert row, "looked for before"
    type_, collation, ordered, indexed, unique = row
    if not ordered:
        raise SourceMismatch(
            f"Expected a key column whose values have an order, got {type_}",
            table=table.name_,
            column=column,
            do=f"name another column for {table.key} under `columns` of the source",
        )
    return Key(sql.Identifier(column), sql.SQL(type_), sql.SQL(collation), indexed, unique)
