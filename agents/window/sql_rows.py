"""Rows of a table put and taken away by the piece: one statement for all, values as one JSON array."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from agents.window.sql_shape import Column
from agents.window.sql_table import Connection, Place

#: Types without ``=``.
_INCOMPARABLE = ("json", "xml", "point", "polygon", "box", "path", "circle")
#: Classes of SQLSTATE, and single ones, that speak of a row's values: data, integrity, WITH CHECK OPTION,
#: RAISE of a trigger, a row too large for an index, a value too large for anything.
_ROW = ("22", "23", "44", "P0", "54000", "54001", "42804")


class Row(NamedTuple):
    """A key as it is to stand: ``value`` is the record's JSON, None when it is to be gone."""

    key: str
    id: str
    value: bytes | None


class Refused(NamedTuple):
    """A row the table does not take, and why."""

    row: Row
    error: str


class Rows:
    """Puts rows into the table at ``place``, whose key is column ``key``."""

    def __init__(self, place: Place, key: Column) -> None:
        self._put = _put(place, key)
        column = sql.Identifier(key.name)
        self._drop = sql.SQL(
            "DELETE FROM {table} AS t USING json_to_recordset(%s::json) AS r(key {type})"
            " WHERE t.{column} = r.key"
        ).format(table=place.table, column=column, type=_type(place.types[key.name]))

    async def enter(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Put and take away ``rows``, within a transaction. Raises psycopg.Error."""
        gone = [{"key": row.key} for row in rows if row.value is None]
        there = [row.value for row in rows if row.value is not None]
        if gone:
            await connection.execute(self._drop, (msgspec.json.encode(gone).decode(),))
        if there:
            await connection.execute(self._put, ((b"[" + b",".join(there) + b"]").decode(),))

    async def enter_what_can_be(self, connection: Connection, rows: Sequence[Row]) -> list[Refused]:
        """As :meth:`enter`, without those the table does not take: they are the answer."""
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        refused = await self._halved(connection, rows)
        while refused:
            # What one row was in the way of may fit by now.
            still = await self._halved(connection, [each.row for each in refused])
            if len(still) == len(refused):
                return still
            refused = still
        return refused

    async def _halved(self, connection: Connection, rows: Sequence[Row]) -> list[Refused]:
        if not rows:
            return []
        try:
            async with connection.transaction():
                await self.enter(connection, rows)
        except psycopg.Error as error:
            if not of_a_row(error):
                raise
            if len(rows) == 1:
                return [Refused(rows[0], told(error))]
        else:
            return []
        half = len(rows) // 2
        first = await self._halved(connection, rows[:half])
        return first + await self._halved(connection, rows[half:])


def of_a_row(error: psycopg.Error) -> bool:
    """Is it a row's own fault?"""
    return (error.sqlstate or "").startswith(_ROW)


def told(error: psycopg.Error) -> str:
    """What PostgreSQL says, without the row."""
    said = error.diag.message_primary or type(error).__name__
    return f"{error.sqlstate}: {said}"


def _put(place: Place, key: Column) -> sql.Composed:
    columns, names = place.columns, sql.SQL(", ")
    others = [each for each in columns if each is not key and each.name != key.name]
    if others:
        then: sql.Composable = sql.SQL("UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
            names.join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(each.name)) for each in others
            ),
            names.join(_compared("t", each, place) for each in others),
            names.join(_compared("excluded", each, place) for each in others),
        )
    else:
        then = sql.SQL("NOTHING")
    return sql.SQL(
        "INSERT INTO {table} AS t ({columns}) SELECT {values}"
        " FROM json_to_recordset(%s::json) AS r({fields}) ON CONFLICT ({key}) DO {then}"
    ).format(
        table=place.table,
        columns=names.join(sql.Identifier(each.name) for each in columns),
        values=names.join(_value(each, place) for each in columns),
        fields=names.join(
            sql.SQL("{} {}").format(sql.Identifier(each.field.name), _type(place.types[each.name]))
            for each in columns
        ),
        key=sql.Identifier(key.name),
        then=then,
    )


def _value(column: Column, place: Place) -> sql.Composable:
    value = sql.SQL("r.{}").format(sql.Identifier(column.field.name))
    if not column.filled:
        return value
    default: Any = column.field.default
    text = default if isinstance(default, str) else msgspec.json.encode(default).decode()
    return sql.SQL("COALESCE({}, {}::{})").format(
        value, sql.Literal(text), _type(place.types[column.name])
    )


def _compared(of: str, column: Column, place: Place) -> sql.Composable:
    name = sql.SQL("{}.{}").format(sql.Identifier(of), sql.Identifier(column.name))
    if place.types[column.name] in _INCOMPARABLE:
        return sql.SQL("{}::text").format(name)
    return name


def _type(name: str) -> sql.SQL:
    """A type as the catalogue writes it, quotes and all."""
    return sql.SQL(name.replace("{", "{{").replace("}", "}}"))


#: Makes a record's JSON as its reader sees it.
Shown = Callable[[bytes], bytes]
