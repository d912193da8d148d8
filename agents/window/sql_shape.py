"""A contract as a PostgreSQL table: column types, and the statement that makes it."""

from collections.abc import Iterator, Mapping

import msgspec
from psycopg import sql

from contracts.model import Contract
from contracts.shape import (
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Number,
    Shape,
    String,
)

#: How far PostgreSQL's ``integer`` reaches.
_INTEGER = 2**31


class Column(msgspec.Struct, frozen=True):
    """A field of the contract and the column it goes into."""

    field: Field
    name: str
    #: What it is made as.
    type: str
    #: ``pg_type.typcategory`` of other types that it may be: their text is the same as in JSON.
    fits: str
    #: Types of those categories that it may not be.
    unfit: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Is it never null?"""
        return self.field.required and not self.field.shape.nullable

    @property
    def filled(self) -> bool:
        """Has a record that leaves it out a value all the same?"""
        return self.field.default is not None and not self.field.shape.nullable


def columns_of(contract: Contract, names: Mapping[str, str]) -> list[Column]:
    """The columns of ``contract`` as its reader sees it; ``names`` are those called otherwise."""
    return [
        Column(field, names.get(field.name, field.name), *_type(field.shape))
        for field in contract.fields
    ]


#: A moment without its zone is another moment.
_ZONELESS = ("timestamp", "time", "date", "interval")


def _type(shape: Shape) -> tuple[str, str, tuple[str, ...]]:
    match shape:
        case String() | Enum():
            # Dates, numbers and booleans as text are taken by columns of these kinds, or refused.
            return "text", "SEU", ()
        case Integer(ge=low, le=high):
            return "integer" if low >= -_INTEGER and high < _INTEGER else "bigint", "NS", ()
        case Number():
            return "double precision", "NS", ()
        case Decimal(digits=digits, places=places):
            return f"numeric({digits}, {places})", "NS", ()
        case Boolean():
            return "boolean", "BS", ()
        case Date():
            return "date", "DS", ("time", "timetz")
        case DateTime():
            return "timestamptz", "DS", _ZONELESS
        case _:
            return "jsonb", "USA", ("uuid", "bytea")


def table_sql(table: sql.Identifier, columns: list[Column], contract: Contract) -> sql.Composed:
    """``CREATE TABLE`` for ``columns``."""
    lines = [
        sql.SQL("    {} {}{}").format(
            sql.Identifier(each.name),
            sql.SQL(each.type),
            sql.SQL(" NOT NULL" if each.required else ""),
        )
        for each in columns
    ]
    key = next(each for each in columns if each.field.name == contract.key)
    lines.append(sql.SQL("    PRIMARY KEY ({})").format(sql.Identifier(key.name)))
    return sql.SQL("CREATE TABLE {} (\n{}\n);").format(table, sql.SQL(",\n").join(lines))


def comments_sql(
    table: sql.Identifier, columns: list[Column], contract: Contract
) -> Iterator[sql.Composed]:
    """Titles in Chinese, as comments of the table and its columns."""
    yield sql.SQL("COMMENT ON TABLE {} IS {};").format(
        table, sql.Literal(f"{contract.title.zh} {mark_of(contract.name)}")
    )
    for each in columns:
        yield sql.SQL("COMMENT ON COLUMN {}.{} IS {};").format(
            table, sql.Identifier(each.name), sql.Literal(each.field.title.zh)
        )


def mark_of(contract: str) -> str:
    """Stands in the comment of a table that the window made itself."""
    return f"(levelsync {contract})"


def position_sql(schema: str) -> sql.Composed:
    """``CREATE TABLE`` for the positions."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (\n"
        '    "table" text PRIMARY KEY,\n'
        "    contract text NOT NULL,\n"
        "    store text NOT NULL,\n"
        "    seq bigint NOT NULL,\n"
        "    id text NOT NULL,\n"
        "    progress text NOT NULL,\n"
        "    writer text NOT NULL,\n"
        "    complete_as_of timestamptz,\n"
        "    told_at timestamptz NOT NULL DEFAULT now()\n"
        ");"
    ).format(sql.Identifier(schema, POSITION))


def refused_sql(schema: str) -> sql.Composed:
    """``CREATE TABLE`` for the keys whose row was refused."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (\n"
        '    "table" text,\n'
        "    key text,\n"
        "    id text NOT NULL,\n"
        "    error text NOT NULL,\n"
        "    at timestamptz NOT NULL DEFAULT now(),\n"
        '    PRIMARY KEY ("table", key)\n'
        ");"
    ).format(sql.Identifier(schema, REFUSED))


POSITION, REFUSED = "levelsync_position", "levelsync_refused"
