"""Which columns of a table hold the contract's fields, and whether they still can."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agents.base.errors import SourceMismatch
from agents.capture.pgoutput import Reading, Relation
from agents.capture.postgres_setup import Connection, Table
from agents.capture.postgres_types import Type
from contracts.compiled import inspection_of
from contracts.rejected import Rejected
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)


class Layout(NamedTuple):
    """How to read the rows of a table as it is from here on.

    ``twins`` are fields from a column that another field, the second, is read from already. ``stale``
    are fields that rows of this layout do not hold, or not as the contract needs them, while the table
    does by now: they are read from there. With a ``fault`` no row of this layout may be told, with a
    ``blind`` none that went or changed its key.
    """

    reading: Reading
    twins: tuple[tuple[str, str], ...] = ()
    stale: tuple[str, ...] = ()
    fault: SourceMismatch | None = None
    blind: SourceMismatch | None = None

    @property
    def plain(self) -> bool:
        """Is there no more to its rows than to read them?"""
        return not (self.twins or self.stale or self.fault or self.blind)


class Layouts:
    """The layouts that ``table`` has had; ``shapes`` are those of the contract's fields."""

    def __init__(self, table: Table, shapes: Mapping[str, Shape]) -> None:
        self._table = table
        self._shapes = shapes
        #: Column -> its type, as last seen to be right.
        self._before: dict[str, str] = {}

    async def learn(self, side: Connection, *, generated: bool) -> None:
        """Look at the table as it is. ``generated`` says whether the stream tells of stored generated
        columns. Raises SourceMismatch when a needed column can never fit, psycopg.Error."""
        table = self._table
        cursor = await side.execute(
            """
            SELECT attname, atttypid::int8, format_type(atttypid, atttypmod), attgenerated::text
            FROM pg_attribute JOIN pg_class relation ON relation.oid = attrelid
            JOIN pg_namespace space ON space.oid = relnamespace
            WHERE nspname = %s AND relname = %s AND attnum > 0 AND NOT attisdropped
            """,
            table.parts,
        )
        found = {row[0]: row[1:] for row in await cursor.fetchall()}
        await table.types.learn(side, [oid for oid, _, _ in found.values()])
        self._before = {column: name for column, (_, name, _) in found.items()}
        for field, column in table.columns.items():
            if column not in found:
                continue  # said by whoever looked before us
            oid, name, how = found[column]
            if how == "v" or (how == "s" and not generated):
                raise _not_in_the_log(table, column, how)
            if fault := self._unfit(field, column, table.types[oid], name):
                raise fault

    async def of(self, side: Connection, relation: Relation) -> Layout:
        """The layout of a table that the stream tells of. Raises psycopg.Error."""
        table = self._table
        oids, names = await self._types(side, relation)
        await table.types.learn(side, oids)
        places: dict[str, str] = {}
        twins = []
        for field, column in table.columns.items():
            if column in places:
                twins.append((field, places[column]))
            places.setdefault(column, field)
        reading = Reading(
            (places.get(column), table.types[oid].convert)
            for column, oid in zip(relation.columns, oids, strict=True)
        )
        there = dict(zip(relation.columns, zip(oids, names, strict=True), strict=True))
        fault = self._fault(there)
        stale: tuple[str, ...] = ()
        if fault is None:
            self._before = {column: name for column, (_, name) in there.items()}
        else:
            bad = tuple(field for field in table.columns if self._bad(field, there))
            if table.key not in bad and await self._mended(side):
                fault, stale = None, bad
        return Layout(reading, tuple(twins), stale, fault, self._uncovered(relation))

    def _bad(self, field: str, there: Mapping[str, tuple[int, str]]) -> bool:
        column = self._table.columns[field]
        if column not in there:
            return True
        shape = self._shapes.get(field)
        return shape is not None and not fits(self._table.types[there[column][0]], shape)

    async def _mended(self, side: Connection) -> bool:
        """Does the table as it is now have all that the contract needs?"""
        before = self._before
        try:
            await self.learn(side, generated=True)
        except SourceMismatch:
            self._before = before
            return False
        whole = set(self._table.columns.values()) <= self._before.keys()
        if not whole:
            self._before = before
        return whole

    async def _types(self, side: Connection, relation: Relation) -> tuple[list[int], list[str]]:
        """OID and name of each column's type."""
        oids, names = [], []
        for told in relation.types:
            if isinstance(told, str):
                cursor = await side.execute(
                    "SELECT coalesce(to_regtype(%s)::oid::int8, 25), %s", (told, told)
                )
            else:
                cursor = await side.execute(
                    "SELECT %s::int8, format_type(%s::int8::oid, %s)", (told[0], *told)
                )
            row = await cursor.fetchone()
            assert row
            oids.append(int(row[0]))
            names.append(str(row[1]))
        return oids, names

    def _fault(self, there: Mapping[str, tuple[int, str]]) -> SourceMismatch | None:
        table = self._table
        gone = [column for column in set(table.columns.values()) if column not in there]
        if gone:
            new = {name: there[name][1] for name in there if name not in self._before}
            return SourceMismatch(
                "The table no longer has the columns the contract needs",
                table=table.name_,
                missing=sorted(gone),
                before=", ".join(f"{c} {self._before.get(c, 'unknown')}" for c in sorted(gone)),
                new=", ".join(f"{name} {kind}" for name, kind in new.items()) or "none",
                do="; ".join(self._put_back(column, new) for column in sorted(gone))
                + "; or name the column that has it now under `columns` of the source; then reload"
                " the agent (SIGHUP)",
            )
        for field, column in table.columns.items():
            oid, name = there[column]
            if fault := self._unfit(field, column, table.types[oid], name):
                return fault
        return None

    def _put_back(self, column: str, new: Mapping[str, str]) -> str:
        name, before = self._table.identifier.as_string(), self._before.get(column, "…")
        same = [other for other, kind in new.items() if kind == before]
        if len(same) == 1:
            return f"ALTER TABLE {name} RENAME COLUMN {_quoted(same[0])} TO {_quoted(column)}"
        return f"ALTER TABLE {name} ADD COLUMN {_quoted(column)} {before}"

    def _unfit(self, field: str, column: str, type_: Type, name: str) -> SourceMismatch | None:
        shape = self._shapes.get(field)
        if shape is None or fits(type_, shape):
            return None
        table, before = self._table, self._before.get(column)
        wanted = type(shape).__name__.lower()
        if before is None or before == name:
            return SourceMismatch(
                f"Expected a column whose type can fill the contract's {wanted}, got {name}",
                table=table.name_,
                column=column,
                field=field,
                do="name another column under `columns` of the source, or give the column another"
                f" type: ALTER TABLE {table.identifier.as_string()} ALTER COLUMN {_quoted(column)}"
                " TYPE …",
            )
        return SourceMismatch(
            f"A column has another type, which cannot fill the contract's {wanted}",
            table=table.name_,
            column=column,
            field=field,
            before=before,
            now=name,
            do=f"ALTER TABLE {table.identifier.as_string()} ALTER COLUMN {_quoted(column)} TYPE"
            f" {before} USING {_quoted(column)}::{before}; then reload the agent (SIGHUP)",
        )

    def _uncovered(self, relation: Relation) -> SourceMismatch | None:
        key = self._table.columns[self._table.key]
        if relation.identity is None or key in relation.identity:
            return None
        return uncovered(self._table, f"{relation.schema}.{relation.table}")


def uncovered(table: Table, name: str) -> SourceMismatch:
    """A table, or a partition, called ``name``, whose log does not say which key goes."""
    key = table.columns[table.key]
    return SourceMismatch(
        f"Expected the column {key} in the replica identity of {name}: without it the log does not"
        " say which record a DELETE or a changed key takes away",
        table=table.name_,
        do=f"ALTER TABLE {name} REPLICA IDENTITY DEFAULT where {key} is the primary key, REPLICA"
        f" IDENTITY USING INDEX … for a unique index over {key} (NOT NULL), or REPLICA IDENTITY FULL;"
        " then reload the agent (SIGHUP), or levelsync backfill NODE.toml CONTRACT --anew where such"
        " changes were made meanwhile",
    )


def _not_in_the_log(table: Table, column: str, how: str) -> SourceMismatch:
    why = (
        "is virtual, so it is never written to the log"
        if how == "v"
        else "is generated, and pgoutput tells of such columns only from PostgreSQL 18 on"
    )
    return SourceMismatch(
        f"Expected a column that the log has; {column} {why}",
        table=table.name_,
        column=column,
        do="make it a plain column filled by a trigger, or leave the field out of the contract"
        + ("" if how == "v" else ', or say plugin = "wal2json", which tells of it'),
    )


def _quoted(name: str) -> str:
    return name if name.isidentifier() and name.islower() else '"' + name.replace('"', '""') + '"'


# ---- what can fill what ----------------------------------------------------------------------

_NUMBERS: Sequence[type] = (String, Enum, Integer, Number, Decimal)
_FITS: dict[str, Sequence[type]] = {
    "integer": (*_NUMBERS, Boolean),
    "number": _NUMBERS,
    "boolean": (Boolean,),
    "text": (*_NUMBERS, Boolean, Date, DateTime),
    "word": (String, Enum),
    "date": (Date, String),
    "moment": (DateTime, String),
    "json": (Array, Map, Object),
    "map": (Map, Object),
}


def fits(type_: Type, shape: Shape) -> bool:
    """May some value of a column's type be one of ``shape``? Bytes come as base64: only text whose
    pattern lets that through is meant for them."""
    if type_.family == "array":
        return isinstance(shape, Array) and (
            isinstance(shape.items, Array) or type_.item is None or fits(type_.item, shape.items)
        )
    if type_.family == "bytes":
        return isinstance(shape, String) and shape.pattern is not None and _takes_base64(shape)
    return isinstance(shape, tuple(_FITS[type_.family]))


def _takes_base64(shape: String) -> bool:
    looks = inspection_of(shape)
    try:
        if looks is not None:
            looks("+/8A")
            looks("AP8=")
    except Rejected:
        return False
    return True
