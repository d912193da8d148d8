"""Does a table of the window's own system fit what it is to hold? Says what is missing, with the SQL
that mends it, and makes what it may."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from agents.base.errors import LevelsyncError, Policy
from agents.base.window import SqlOut
from agents.window.sql_shape import (
    POSITION,
    REFUSED,
    Column,
    columns_of,
    comments_sql,
    mark_of,
    position_sql,
    refused_sql,
    table_sql,
)
from contracts.model import Contract

#: SQLSTATE of a right that is missing.
_NO_RIGHT = "42501"


class TableUnfit(LevelsyncError):
    """A table cannot hold what it is to hold."""

    policy = Policy.RETRY
    hint = "The agent goes on by itself once that is mended."


class Misfit(NamedTuple):
    """What does not fit, and the SQL that mends it."""

    what: str
    do: str


class Place(NamedTuple):
    """A table and its columns as they are: by column, the type as PostgreSQL writes it."""

    table: sql.Identifier
    columns: list[Column]
    types: dict[str, str]


Connection = psycopg.AsyncConnection[tuple[object, ...]]

_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, t.typname AS kind,
       t.typcategory::text AS category, a.attnotnull AS required,
       a.atthasdef OR a.attidentity <> '' AS filled, a.attgenerated <> '' AS generated
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_UNIQUE = """
SELECT 1 FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
WHERE n.nspname = %s AND c.relname = %s AND a.attname = %s
  AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 1
"""
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


class Table:
    """The table that one ``[[window.sql]]`` names, for one connection of autocommit."""

    def __init__(self, connection: Connection, settings: SqlOut, contract: Contract) -> None:
        self._connection = connection
        self._settings = settings
        self.contract = contract
        self.schema, self.name = settings.table.split(".")
        self.table = sql.Identifier(self.schema, self.name)
        self.columns = columns_of(contract, settings.columns)
        self.key = next(each for each in self.columns if each.field.name == contract.key)

    async def make(self) -> Place:
        """The table, made where it may be made, with all that belongs to it. Raises TableUnfit."""
        there = await self._columns()
        try:
            if not there and self._settings.create:
                if not await self._has(
                    "SELECT 1 FROM pg_namespace WHERE nspname = %s", self.schema
                ):
                    await self._do(self._schema_sql)
                async with self._connection.transaction():
                    await self._do(table_sql(self.table, self.columns, self.contract))
                    for each in comments_sql(self.table, self.columns, self.contract):
                        await self._do(each)
                there = await self._columns()
            elif self._settings.create and await self._made_here():
                for column in self.columns:
                    if column.name not in there:  # of a later revision
                        await self._do(self._add_sql(column))
                there = await self._columns()
            for name, make in ((POSITION, position_sql), (REFUSED, refused_sql)):
                if await self._oid(name) is None:
                    await self._do(make(self.schema))
        except psycopg.Error as error:
            if error.sqlstate != _NO_RIGHT:
                raise
        if misfits := await self.misfits():
            raise TableUnfit(
                "; ".join(each.what for each in misfits),
                table=self._settings.table, do=" ".join(each.do for each in misfits),
            )  # fmt: skip
        return Place(self.table, self.columns, {name: row.type for name, row in there.items()})

    async def misfits(self) -> list[Misfit]:
        """Everything that keeps the table from being filled; changes nothing."""
        there = await self._columns()
        if not there:
            made = table_sql(self.table, self.columns, self.contract).as_string()
            if not self._settings.create:
                return [Misfit(f"There is no table {self._settings.table}", made)]
            hindered = await self._creatable()
            return [hindered] if hindered else []
        found = list(self._fitting(there))
        if not found and not await self._has(_UNIQUE, self.schema, self.name, self.key.name):
            do = sql.SQL("ALTER TABLE {} ADD UNIQUE ({});").format(
                self.table, sql.Identifier(self.key.name)
            )
            found.append(
                Misfit(
                    f"Nothing keeps `{self.key.name}` unique, by which rows are found", _text(do)
                )
            )
        found += await self._rights()
        return found

    def _fitting(self, there: "dict[str, _Row]") -> Iterator[Misfit]:
        for each in self.columns:
            row = there.get(each.name)
            if row is None:
                yield Misfit(f"There is no column `{each.name}`", _text(self._add_sql(each)))
                continue
            fits = "S" if each is self.key and each.type == "text" else each.fits
            if row.category not in fits or row.kind in each.unfit or row.generated:
                do = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}::{};").format(
                    self.table, sql.Identifier(each.name), sql.SQL(each.type),
                    sql.Identifier(each.name), sql.SQL(each.type),
                )  # fmt: skip
                made = "made by the table itself" if row.generated else row.type
                yield Misfit(
                    f"Column `{each.name}` is {made}, and the contract's is {each.type}", _text(do)
                )
        ours = {each.name: each.required or each.filled for each in self.columns}
        for name, row in there.items():
            if row.required and not ours.get(name, row.filled or row.generated):
                do = sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;").format(
                    self.table, sql.Identifier(name)
                )
                yield Misfit(f"Column `{name}` must be filled, and the contract may not", _text(do))

    async def _rights(self) -> list[Misfit]:
        row = await self._one(
            "SELECT current_user, has_schema_privilege(oid, 'USAGE') FROM pg_namespace"
            " WHERE nspname = %(schema)s",
            {"schema": self.schema},
        )
        user, found = sql.Identifier(str(row[0])), list[Misfit]()
        if not row[1]:
            do = sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(
                sql.Identifier(self.schema), user
            )
            found.append(Misfit(f"This user may not use schema {self.schema}", _text(do)))
        for name in (self.name, POSITION, REFUSED):
            identifier = sql.Identifier(self.schema, name)
            oid = await self._oid(name)
            if oid is None:
                if hindered := await self._creatable():
                    make = position_sql if name == POSITION else refused_sql
                    do = sql.SQL("{} GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {};").format(
                        make(self.schema), identifier, user
                    )
                    found.append(
                        Misfit(
                            f"There is no table {self.schema}.{name}; {hindered.what}", _text(do)
                        )
                    )
                continue
            query = "SELECT " + ", ".join(
                f"has_table_privilege(%(oid)s::oid, '{right}')" for right in _RIGHTS
            )
            has = await self._one(query, {"oid": oid})
            missing = [right for right, may in zip(_RIGHTS, has, strict=True) if not may]
            if missing:
                rights = sql.SQL(", ").join(map(sql.SQL, missing))
                do = sql.SQL("GRANT {} ON {} TO {};").format(rights, identifier, user)
                what = f"This user may not {', '.join(missing)} in {self.schema}.{name}"
                found.append(Misfit(what, _text(do)))
        return found

    async def _creatable(self) -> Misfit | None:
        """Why nothing can be made in the schema, None when it can."""
        row = await self._one(
            "SELECT current_user, current_database(),"
            " (SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')"
            "  FROM pg_namespace WHERE nspname = %(schema)s),"
            " has_database_privilege(current_database(), 'CREATE')",
            {"schema": self.schema},
        )
        user, schema = sql.Identifier(str(row[0])), sql.Identifier(self.schema)
        if row[2] is None and not (self._settings.create and row[3]):
            do = sql.SQL("{} GRANT USAGE, CREATE ON SCHEMA {} TO {};").format(
                self._schema_sql, schema, user
            )
            return Misfit(f"There is no schema {self.schema}", _text(do))
        if row[2] is False:
            do = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {};").format(schema, user)
            return Misfit(f"This user may make nothing in schema {self.schema}", _text(do))
        return None

    async def strange(self) -> bool:
        """Are there rows in it that did not come from here?"""
        if await self._oid(self.name) is None or await self._made_here():
            return False
        if await self._oid(POSITION) is not None:
            ours = sql.SQL('SELECT 1 FROM {} WHERE "table" = %s').format(
                sql.Identifier(self.schema, POSITION)
            )
            if await self._has(_text(ours), self.name):
                return False
        return await self._has(_text(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(self.table)))

    def taking(self) -> str:
        """The SQL by which a table with rows in it becomes ours."""
        statement = sql.SQL(
            "TRUNCATE {};  -- or, to have its rows compared, changed and deleted as the contract is:"
            " INSERT INTO {} VALUES ({}, {}, '', 0, '', '{{}}', '');"
        ).format(
            self.table,
            sql.Identifier(self.schema, POSITION),
            sql.Literal(self.name),
            sql.Literal(self.contract.name),
        )
        return _text(statement)

    async def _made_here(self) -> bool:
        oid = await self._oid(self.name)
        row = await self._one("SELECT obj_description(%(oid)s::oid, 'pg_class')", {"oid": oid})
        return mark_of(self.contract.name) in str(row[0] or "")

    @property
    def _schema_sql(self) -> sql.Composed:
        return sql.SQL("CREATE SCHEMA IF NOT EXISTS {};").format(sql.Identifier(self.schema))

    def _add_sql(self, column: Column) -> sql.Composed:
        return sql.SQL("ALTER TABLE {} ADD COLUMN {} {};").format(
            self.table, sql.Identifier(column.name), sql.SQL(column.type)
        )  # fmt: skip

    async def _columns(self) -> "dict[str, _Row]":
        cursor = self._connection.cursor(row_factory=class_row(_Row))
        await cursor.execute(_COLUMNS, (self.schema, self.name))
        return {row.name: row for row in await cursor.fetchall()}

    async def _oid(self, name: str) -> object | None:
        cursor = await self._connection.execute(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            (self.schema, name),
        )
        row = await cursor.fetchone()
        return row[0] if row else None

    async def _has(self, query: str, *values: str) -> bool:
        return await (await self._connection.execute(query, values)).fetchone() is not None

    async def _one(
        self, query: str, values: Mapping[str, object] | None = None
    ) -> tuple[object, ...]:
        row = await (await self._connection.execute(query, values)).fetchone()
        assert row
        return row

    async def _do(self, statement: sql.Composed) -> None:
        await self._connection.execute(statement)


class _Row(NamedTuple):
    name: str
    type: str
    kind: str
    category: str
    required: bool
    filled: bool
    generated: bool


def _text(statement: sql.Composable) -> str:
    return statement.as_string()
