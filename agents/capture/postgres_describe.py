"""What a PostgreSQL table is, for a first contract: columns, what limits them, and some rows.

Everything is read in one read-only transaction with a time limit, and never more than
:data:`contracts.draft.sample.ROWS` rows. Values are read as the capture would tell them.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from agents.base.errors import SourceMismatch, Unavailable
from agents.capture.pgoutput import value_of
from agents.capture.postgres_types import LOOK_UP, PLAINLY, Types
from contracts.draft.sample import MOST_COLUMNS, ROWS, Column, Sample
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Integer,
    Number,
    Shape,
    String,
)

#: Seconds the whole may take at the server.
PATIENCE = 20
#: Bytes of rows after which no more are read.
ENOUGH = 16 * 1024 * 1024

Connection = psycopg.Connection[Any]


def describe(dsn: str, table: str) -> Sample:
    """``table`` is ``schema.table``. Raises SourceMismatch, Unavailable; neither tells the password."""
    schema, dot, name = table.partition(".")
    if not (schema and dot and name) or "." in name:
        raise SourceMismatch("Expected the table as `schema.table`", table=table)
    with _failures(dsn, table), psycopg.connect(dsn, connect_timeout=5) as connection:
        connection.read_only = True
        connection.execute(f"SET LOCAL statement_timeout = '{PATIENCE}s'".encode())
        for setting in PLAINLY:
            connection.execute(f"SET LOCAL {setting}".encode())
        return _read(connection, schema, name)


@contextlib.contextmanager
def _failures(dsn: str, table: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceMismatch(
            "The database user may not read the table",
            table=table, said=_said(error), do=f"GRANT SELECT ON {table} TO …",
        ) from None  # fmt: skip
    except psycopg.errors.QueryCanceled as error:
        raise Unavailable("PostgreSQL takes too long", table=table, said=_said(error)) from None
    except psycopg.ProgrammingError as error:
        if error.diag.message_primary is None:
            # Its text holds the connection string.
            raise SourceMismatch(
                "Expected a connection string such as postgresql://user@host:5432/database or"
                " `host=… dbname=…`, got something else"
            ) from None
        raise SourceMismatch("PostgreSQL refuses", table=table, said=_said(error)) from None
    except psycopg.Error as error:
        where = psycopg.conninfo.conninfo_to_dict(dsn)
        place = f"{where.get('host', 'local')}:{where.get('port', 5432)}/{where.get('dbname', '')}"
        raise Unavailable(
            f"PostgreSQL at {place} does not answer", table=table, said=_said(error)
        ) from None


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())


class _Row(NamedTuple):
    """A column by the catalogue, its domains looked through: ``limit`` is ``atttypmod``, ``item`` the
    type of an array's items, ``check`` what the domains check."""

    number: int
    name: str
    oid: int
    type: str
    item: int
    limit: int
    required: bool
    comment: str
    labels: list[str] | None
    check: list[str]


_COLUMNS = """
WITH RECURSIVE base AS (
    SELECT attribute.attnum, attribute.attname, attribute.atttypid AS oid, attribute.atttypmod AS typmod,
           attribute.attnotnull AS required, ARRAY[]::text[] AS checks
    FROM pg_attribute attribute
    WHERE attribute.attrelid = %(table)s AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT base.attnum, base.attname, domain.typbasetype,
           CASE WHEN domain.typtypmod >= 0 THEN domain.typtypmod ELSE base.typmod END,
           base.required OR domain.typnotnull,
           base.checks || ARRAY(
               SELECT pg_get_constraintdef(oid) FROM pg_constraint
               WHERE contypid = domain.oid AND contype = 'c' ORDER BY conname
           )
    FROM base JOIN pg_type domain ON domain.oid = base.oid AND domain.typtype = 'd'
)
SELECT base.attnum, base.attname, base.oid::int8, format_type(base.oid, base.typmod),
       kind.typelem::int8, base.typmod, base.required,
       coalesce(col_description(%(table)s, base.attnum), ''),
       (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum
        WHERE enumtypid = base.oid),
       base.checks
FROM base JOIN pg_type kind ON kind.oid = base.oid AND kind.typtype <> 'd'
ORDER BY base.attnum
"""


def _read(connection: Connection, schema: str, name: str) -> Sample:
    where = f"{schema}.{name}"
    found = connection.execute(
        """
        SELECT relation.oid::int8, relkind::text, coalesce(obj_description(relation.oid, 'pg_class'), '')
        FROM pg_class relation JOIN pg_namespace space ON space.oid = relnamespace
        WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'p', 'v', 'm', 'f')
        """,
        (schema, name),
    ).fetchone()
    if found is None:
        raise SourceMismatch(
            "Expected the table, found none of that name", table=where, there=_tables(connection)
        )
    oid, kind, comment = found
    rows = [_Row(*row) for row in connection.execute(_COLUMNS, {"table": oid}).fetchall()]
    if not rows:
        raise SourceMismatch("Expected columns in the table, found none", table=where)
    if len(rows) > MOST_COLUMNS:
        raise SourceMismatch(
            f"Expected at most {MOST_COLUMNS} columns, found {len(rows)}; draft from a view that has"
            " what windows need",
            table=where,
        )
    keys = connection.execute(
        """
        SELECT indisprimary, indkey::int2[]::int4[] FROM pg_index
        WHERE indrelid = %s AND indisunique AND indpred IS NULL AND indexprs IS NULL AND indisvalid
        """,
        (oid,),
    ).fetchall()
    checks = connection.execute(
        "SELECT conkey::int4[], pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = %s AND contype = 'c' ORDER BY conname",
        (oid,),
    ).fetchall()
    values, whole = _values(connection, schema, name, [row.name for row in rows])
    questions = _about_keys(rows, keys, kind)
    questions += [
        f"the table also checks {text.removeprefix('CHECK ')}: is a rule in CEL due?"
        for numbers, text in checks
        if len(numbers or ()) != 1
    ]
    columns = []
    for at, row in enumerate(rows):
        own = [*row.check, *(text for numbers, text in checks if numbers == [row.number])]
        shape, asked = _limited(*_shape(row), own)
        columns.append(
            Column(
                name=row.name,
                values=tuple(value[at] for value in values),
                comment=row.comment,
                shape=shape,
                nullable=not row.required,
                primary=any(primary and numbers == [row.number] for primary, numbers in keys),
                unique=any(numbers == [row.number] for _, numbers in keys),
                questions=tuple(asked),
            )
        )
    return Sample(
        origin=f"the PostgreSQL table {where}",
        columns=tuple(columns),
        rows=len(values),
        whole=whole,
        comment=comment,
        questions=tuple(questions),
        live=True,
    )


def _tables(connection: Connection) -> list[str]:
    found = connection.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 20"
    ).fetchall()
    return [row[0] for row in found]


def _values(
    connection: Connection, schema: str, table: str, names: Sequence[str]
) -> tuple[list[list[Any]], bool]:
    """Rows as the stream would tell them; False when there are more."""
    rows: list[list[Any]] = []
    size = 0
    types = Types()
    connection.execute(
        sql.SQL("DECLARE levelsync_describe NO SCROLL CURSOR FOR SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(schema, table)
        )
    )
    while True:
        batch = _batch(connection, types)
        rows += batch
        size += sum(len(str(value)) for row in batch for value in row)
        if not batch:
            return rows, True
        if len(rows) > ROWS or size > ENOUGH:
            return rows[:ROWS], False


def _batch(connection: Connection, types: Types) -> list[list[Any]]:
    result = connection.execute("FETCH 100 FROM levelsync_describe").pgresult
    assert result is not None
    oids = [result.ftype(at) for at in range(result.nfields)]
    if unknown := types.unknown(oids):
        types.take(connection.execute(LOOK_UP, (unknown,)).fetchall())
    converters = [types[oid].convert for oid in oids]
    rows = []
    for number in range(result.ntuples):
        raw = [result.get_value(number, at) for at in range(len(oids))]
        rows.append(
            [
                None if value is None else value_of(value, convert)
                for value, convert in zip(raw, converters, strict=True)
            ]
        )
    return rows


def _about_keys(
    rows: Sequence[_Row], keys: Sequence[tuple[bool, list[int]]], kind: str
) -> list[str]:
    names = {row.number: row.name for row in rows}
    if kind in ("v", "m", "f"):
        return ["this is a view or foreign table; changes can only be captured from a table"]
    primary = [numbers for is_primary, numbers in keys if is_primary]
    if not primary:
        return [
            "the table has no primary key: ALTER TABLE … ADD PRIMARY KEY, or capture refuses it"
        ]
    if len(primary[0]) > 1:
        told = ", ".join(names.get(number, "?") for number in primary[0])
        return [
            f"the primary key is ({told}) and a contract has one: which column tells records apart?"
        ]
    return []


# ---- types -----------------------------------------------------------------------------------

_INTEGERS = {21: 2**15, 23: 2**31, 20: 2**63, 26: 2**32}
_TEXTS = {25: "text", 1042: "character", 1043: "varchar", 19: "name"}
_ITEMS = {16, 21, 23, 20, 25, 1043, 1700, 2950}


def _shape(row: _Row) -> tuple[Shape | None, list[str]]:
    """The shape of a column's type, None where only its values can tell, and what is open."""
    oid = row.oid
    if row.labels:
        values = tuple(sorted(row.labels))
        return Enum(values=values), ["what does each of these codes mean?"]
    if oid in _INTEGERS:
        limit = _INTEGERS[oid]
        return Integer(ge=-limit, le=limit - 1), []
    if oid in _TEXTS:
        length = row.limit - 4 if row.limit > 4 and oid != 25 else None
        return String(max_length=length), []
    if oid == 1700:
        return _numeric(row)
    if oid in (700, 701):
        return Number(), ["inexact numbers: if this is money or is compared, take numeric"]
    if oid == 16:
        return Boolean(), []
    if oid == 1082:
        return Date(), []
    if oid == 1184:
        return DateTime(), []
    if oid == 1114:
        return DateTime(), [
            "without an offset: taken as China Standard Time unless the source says `timezone`"
        ]
    if oid == 1083:
        return String(min_length=1, max_length=40), ["a time of day alone comes as text: right?"]
    if oid == 2950:
        return String(pattern="^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", max_length=36), []
    if oid in (114, 3802):
        return None, ["what may stand in this JSON? The shape is that of the rows looked at"]
    if oid == 17:
        return String(pattern="^[A-Za-z0-9+/=]*$"), [
            "bytes come as base64: should a record hold a file at all?"
        ]
    if row.item in _ITEMS:
        return _array(row)
    return String(max_length=1000), [f"{row.type} comes as PostgreSQL writes it, as text: right?"]


def _numeric(row: _Row) -> tuple[Shape | None, list[str]]:
    if row.limit < 4:
        return None, []
    digits, places = (row.limit - 4) >> 16 & 0xFFFF, (row.limit - 4) & 0x7FF
    if not 0 <= places <= digits <= 38:
        return None, [f"{row.type} has more digits than a contract's decimal, or fewer than places"]
    # Of numeric(2, 2) the whole part is still written, as 0.
    return Decimal(digits=max(digits, places + 1), places=places), ["which unit?"]


def _array(row: _Row) -> tuple[Shape | None, list[str]]:
    inside: Shape = String(nullable=True)
    if row.item in _INTEGERS:
        limit = _INTEGERS[row.item]
        inside = Integer(ge=-limit, le=limit - 1, nullable=True)
    elif row.item == 1700:
        inside = Decimal(digits=38, places=18, nullable=True)
    elif row.item == 16:
        inside = Boolean(nullable=True)
    return Array(items=inside), []


# ---- checks ----------------------------------------------------------------------------------

_LISTED = re.compile(r"= ANY \(\(?ARRAY\[(.*)\]")
_QUOTED = re.compile(r"'((?:[^']|'')*)'::")
_BOUND = re.compile(r"^CHECK \(\(\(?\w+\)? (>=|>|<=|<) \(?(-?\d+)\)?(?:::\w+)?\)\)$")


def _limited(
    shape: Shape | None, asked: list[str], checks: Sequence[str]
) -> tuple[Shape | None, list[str]]:
    """The shape as checks of one column narrow it; those not understood become questions."""
    for text in checks:
        listed, bound = _LISTED.search(text), _BOUND.match(text)
        if listed and isinstance(shape, String) and text.count("ANY") == 1 and " AND " not in text:
            values = [value.replace("''", "'") for value in _QUOTED.findall(listed[1])]
            if values:
                shape = Enum(values=tuple(sorted(set(values))))
                asked = [*asked, "what does each of these codes mean?"]
                continue
        if bound and isinstance(shape, Integer):
            number = int(bound[2])
            if bound[1] in (">", ">="):
                least = number + (bound[1] == ">")
                shape = msgspec.structs.replace(shape, ge=max(shape.ge, least))
            else:
                most = number - (bound[1] == "<")
                shape = msgspec.structs.replace(shape, le=min(shape.le, most))
            continue
        if bound and isinstance(shape, Decimal) and bound[1] in (">", ">=") and int(bound[2]) >= 0:
            shape = msgspec.structs.replace(shape, positive=True)
            if bound.groups() == (">=", "0"):
                continue
        if not text.startswith("CHECK ((") or "IS NOT NULL" not in text:
            asked = [*asked, f"the table checks {text.removeprefix('CHECK ')}: say it here too"]
    return shape, asked
