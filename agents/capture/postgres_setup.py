"""What a PostgreSQL source needs of the server: looked at, and made, before the first row."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.pq import Format
from psycopg.pq.abc import PGresult
from psycopg.types.string import TextLoader

from agents.base.errors import SlotLost, SourceMismatch, Unavailable
from agents.capture import postgres_name
from agents.capture.pgoutput import value_of
from agents.capture.postgres_types import PLAINLY, Types

Connection = psycopg.AsyncConnection[Any]


class Table(msgspec.Struct, frozen=True):
    """``name_`` is ``schema.table``; ``columns`` maps contract fields to columns; ``name`` is that of
    the publication and the slot; ``types`` are the database's."""

    name_: str
    columns: dict[str, str]
    key: str
    name: str
    types: Types = msgspec.field(default_factory=Types)
    #: Which changes are to be published.
    publish: str = "insert, update, delete, truncate"

    @property
    def parts(self) -> tuple[str, str]:
        """Schema and table."""
        return postgres_name.split(self.name_)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(*self.parts)

    def select(self, fields: Sequence[str], rest: sql.SQL) -> sql.Composed:
        """``SELECT`` the columns of ``fields``; ``{0}`` in ``rest`` is the key column."""
        columns = sql.SQL(", ").join(sql.Identifier(self.columns[field]) for field in fields)
        key = sql.Identifier(self.columns[self.key])
        return sql.SQL("SELECT {} FROM {} ").format(columns, self.identifier) + rest.format(key)

    def rows(self, cursor: psycopg.AsyncCursor[Any], fields: Sequence[str]) -> list[dict[str, Any]]:
        """The cursor's rows as the stream would tell them: from the same text, by the same types."""
        result = cursor.pgresult
        assert result is not None
        converters = [self.types[result.ftype(at)].convert for at in range(len(fields))]
        try:
            texts = _texts(result)
        except UnicodeDecodeError:
            return [
                {
                    field: None if raw is None else value_of(raw, converters[at])
                    for at, field in enumerate(fields)
                    for raw in (result.get_value(number, at),)
                }
                for number in range(result.ntuples)
            ]
        rows = [dict(zip(fields, values, strict=True)) for values in texts]
        for field, convert in zip(fields, converters, strict=True):
            if convert is not None:
                for row in rows:
                    if (text := row[field]) is not None:
                        row[field] = convert(text)
        return rows


class _Texts:
    """What psycopg asks how to load values: every one as its text, whatever its type."""

    connection = None
    adapters = AdaptersMap()


_Texts.adapters.register_loader(0, TextLoader)


def _texts(result: PGresult) -> list[tuple[str | None, ...]]:
    """The rows of a result as psycopg's own C reads them, which is three times as quick as cell by
    cell. Raises UnicodeDecodeError."""
    loader = Transformer(_Texts())
    loader.set_pgresult(result, set_loaders=True, format=Format.TEXT)
    return loader.load_rows(0, result.ntuples, tuple)


@contextlib.contextmanager
def open_failures(dsn: str, table: Table) -> Iterator[None]:
    """Turn what the server answers while we open into the agent's own errors."""
    facts = {"table": table.name_, "slot": table.name}
    try:
        yield
    except (
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.UndefinedObject,
    ) as error:
        raise SlotLost(said=_said(error), **facts) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceMismatch(
            "The database user lacks a right",
            said=_said(error),
            do="`levelsync doctor NODE.toml` says which, and the SQL that gives it",
            **facts,
        ) from error
    except psycopg.Error as error:
        where = psycopg.conninfo.conninfo_to_dict(dsn)
        if service := where.get("service"):
            place = f"service {service}"
        else:
            place = (
                f"{where.get('host', 'local')}:{where.get('port', 5432)}/{where.get('dbname', '')}"
            )
        raise Unavailable(
            f"PostgreSQL at {place} does not answer", said=_said(error), **facts
        ) from error


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip()


async def speak_plainly(connection: Connection) -> None:
    """Have the session write values as :class:`agents.capture.postgres_types.Types` reads them."""
    for setting in PLAINLY:
        await connection.execute(f"SET {setting}".encode())


async def examine(side: Connection, table: Table) -> str:
    """Check server, table, columns and identity; the answer is the key column's type.

    Raises SourceMismatch that says what to change, and where.
    """
    await speak_plainly(side)
    (level,) = await _row(side, "SHOW wal_level")
    if level != "logical":
        raise SourceMismatch(
            f"Expected wal_level = logical, got {level}.",
            do="ALTER SYSTEM SET wal_level = 'logical' and restart PostgreSQL",
        )
    schema, name = table.parts
    found = await _rows(
        side,
        """
        SELECT attribute.attname, format_type(attribute.atttypid, NULL), relation.relreplident::text,
               coalesce((
                   SELECT bool_or(attribute.attnum = ANY (ix.indkey)) FROM pg_index ix
                   WHERE ix.indrelid = relation.oid AND CASE relation.relreplident
                       WHEN 'd' THEN ix.indisprimary WHEN 'i' THEN ix.indisreplident END
               ), false)
        FROM pg_class relation
        JOIN pg_namespace space ON space.oid = relation.relnamespace
        JOIN pg_attribute attribute ON attribute.attrelid = relation.oid
        WHERE space.nspname = %s AND relation.relname = %s AND attnum > 0 AND NOT attisdropped
        """,
        schema,
        name,
    )
    if not found:
        raise SourceMismatch("Expected the table, found none of that name", table=table.name_)
    there = {row[0]: row[1:] for row in found}
    missing = sorted(set(table.columns.values()) - there.keys())
    if missing:
        raise SourceMismatch(
            "Expected the columns the contract needs",
            table=table.name_,
            missing=missing,
            there=sorted(there),
            do="name the column that holds each field under `columns` of the source",
        )
    key = table.columns[table.key]
    kind, identity, covered = there[key]
    if identity != "f" and not covered:
        raise SourceMismatch(
            f"Expected the column {key} in the table's replica identity: without it the "
            "application's own UPDATE and DELETE would fail once the table is published",
            table=table.name_,
            do=f"ALTER TABLE {table.name_} ADD PRIMARY KEY ({key}), "
            f"or ALTER TABLE {table.name_} REPLICA IDENTITY FULL",
        )
    return str(kind)


async def _rows(side: Connection, query: LiteralString, *values: Any) -> list[Any]:
    return await (await side.execute(query, values or None)).fetchall()


async def _row(side: Connection, query: LiteralString) -> Any:
    return (await _rows(side, query))[0]
