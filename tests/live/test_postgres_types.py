"""Every common type, from the copy, from the stream and from wal2json: one plain value."""

from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest

from agents.capture.pgoutput import value_of
from agents.capture.postgres import PostgresSource
from agents.capture.postgres_layout import fits
from agents.capture.postgres_setup import speak_plainly
from agents.capture.postgres_types import Types
from agents.demo.servers import PostgresServer
from contracts.check import Checker
from contracts.rejected import Rejected
from contracts.shape import (
    Array,
    Date,
    DateTime,
    Decimal,
    Field,
    Integer,
    Map,
    Number,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.live.reading import Reading

pytestmark = pytest.mark.live

MADE = """
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('好', 'so, so', 'b"ad');
CREATE DOMAIN code AS varchar(12) CHECK (VALUE <> '');
CREATE DOMAIN codes AS code[];
CREATE DOMAIN yes AS boolean;
CREATE DOMAIN file AS bytea;
CREATE DOMAIN moment AS timestamptz;
CREATE TYPE place AS (street text, number int);
"""


class Case(NamedTuple):
    """``value`` is an SQL expression of ``type``; ``plain`` what it must become. ``null``: wal2json of
    old versions tells it as null."""

    type: str
    value: str
    plain: Any
    null: bool = False


CASES = [
    Case("smallint", "-32768", "-32768"),
    Case("integer", "2147483647", "2147483647"),
    Case("bigint", "9007199254740993", "9007199254740993"),
    Case("numeric(10,2)", "12.5", "12.50"),
    Case("numeric", "1234567890123456789012345678.000000001", "1234567890123456789012345678.000000001"),
    Case("numeric", "'NaN'", "NaN", null=True),
    Case("numeric", "'Infinity'", "Infinity", null=True),
    Case("real", "0.1", "0.1"),
    Case("real", "'NaN'", "NaN", null=True),
    Case("double precision", "0.1::float8 + 0.2::float8", "0.30000000000000004"),
    Case("double precision", "1e300", "1e+300"),
    Case("double precision", "'-Infinity'", "-Infinity", null=True),
    Case("boolean", "true", True),
    Case("boolean", "false", False),
    Case("text", "E'李\"\\\\\\n\\t雷'", '李"\\\n\t雷'),
    Case("text", "''", ""),
    Case("varchar(5)", "'ab  '", "ab  "),
    Case("char(6)", "'ab'", "ab"),
    Case("name", "'ab'", "ab"),
    Case('"char"', "'a'", "a"),
    Case("citext", "'Ab'", "Ab"),
    Case("date", "'2024-02-29'", "2024-02-29"),
    Case("date", "'infinity'", "infinity"),
    Case("date", "'0044-03-15 BC'", "0044-03-15 BC"),
    Case("date", "'12024-01-01'", "12024-01-01"),
    Case("time", "'10:00:00.5'", "10:00:00.5"),
    Case("timetz", "'10:00:00.5+08'", "10:00:00.5+08:00"),
    Case("timestamp", "'2024-05-01 10:00:00'", "2024-05-01T10:00:00+08:00"),
    Case("timestamp", "'2024-05-01 10:00:00.123456'", "2024-05-01T10:00:00.123456+08:00"),
    Case("timestamp", "'1988-07-01 10:00:00'", "1988-07-01T10:00:00+09:00"),
    Case("timestamp", "'1900-01-01 00:00:00'", "1899-12-31T15:54:17Z"),
    Case("timestamp", "'infinity'", "infinity"),
    Case("timestamp", "'0044-03-15 10:00:00 BC'", "0044-03-15 10:00:00 BC"),
    Case("timestamp(0)", "'12024-05-01 10:00:00'", "12024-05-01 10:00:00"),
    Case("timestamptz", "'2024-05-01 10:00:00+08'", "2024-05-01T02:00:00Z"),
    Case("timestamptz", "'2024-05-01 10:00:00.5+08'", "2024-05-01T02:00:00.5Z"),
    Case("timestamptz", "'-infinity'", "-infinity"),
    Case("timestamptz", "'0044-03-15 10:00:00+00 BC'", "0044-03-15 10:00:00+00 BC"),
    Case("timestamptz", "'12024-05-01 10:00:00+00'", "12024-05-01T10:00:00Z"),
    Case("interval", "'1 year 2 days 3:00:04.5'", "P1Y2DT3H4.5S"),
    Case("interval", "'-1 mon'", "P-1M"),
    Case("uuid", "'F47AC10B-58CC-4372-A567-0E02B2C3D479'", "f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    Case("bytea", r"'\x00ff10'", "AP8Q"),
    Case("bytea", "''", ""),
    Case("json", """'{"a": [1, null, "李"], "b": 1.5}'""", {"a": [1, None, "李"], "b": 1.5}),
    Case("json", "'1e999'", "1e999"),
    Case("json", "'null'", None),
    Case("jsonb", """'{"b": {"c": true}}'""", {"b": {"c": True}}),
    Case("jsonb", "'[]'", []),
    Case("mood", "'so, so'", "so, so"),
    Case("code", "'3701'", "3701"),
    Case("codes", "ARRAY['a,b', NULL]", ["a,b", None]),
    Case("yes", "true", True),
    Case("file", r"'\x00ff'", "AP8="),
    Case("moment", "'2024-05-01 10:00:00+08'", "2024-05-01T02:00:00Z"),
    Case("integer[]", "'{1,NULL,3}'", ["1", None, "3"]),
    Case("integer[]", "'{}'", []),
    Case("integer[]", "'{{1,2},{3,4}}'", [["1", "2"], ["3", "4"]]),
    Case("integer[]", "'[0:1]={1,2}'", ["1", "2"]),
    Case("text[]", """ARRAY['a,b', NULL, 'NULL', '', 'd"e\\', '{x}', ' y']""",
         ["a,b", None, "NULL", "", 'd"e\\', "{x}", " y"]),
    Case("mood[]", """ARRAY['好', 'b"ad', 'so, so']::mood[]""", ["好", 'b"ad', "so, so"]),
    Case("boolean[]", "'{t,f,NULL}'", [True, False, None]),
    Case("timestamptz[]", "ARRAY['2024-05-01 10:00:00+08'::timestamptz]", ["2024-05-01T02:00:00Z"]),
    Case("timestamp[]", "ARRAY['2024-05-01 10:00:00'::timestamp]", ["2024-05-01T10:00:00+08:00"]),
    Case("bytea[]", r"ARRAY['\x00ff'::bytea]", ["AP8="]),
    Case("jsonb[]", """ARRAY['{"a": "b,c"}'::jsonb]""", [{"a": "b,c"}]),
    Case("code[]", "ARRAY['3701']::code[]", ["3701"]),
    Case("int4range", "'[1,5]'", "[1,6)"),
    Case("numrange", "'empty'", "empty"),
    Case("tstzrange", "'[2024-05-01 10:00:00+08,)'", '["2024-05-01 02:00:00+00",)'),
    Case("int4multirange", "'{[1,3),[5,7)}'", "{[1,3),[5,7)}"),
    Case("inet", "'10.0.0.1'", "10.0.0.1"),
    Case("cidr", "'10.0.0.0/8'", "10.0.0.0/8"),
    Case("macaddr", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
    Case("money", "'-1234.5'::numeric::money", "-1234.50"),
    Case("bit(4)", "B'0101'", "0101"),
    Case("varbit", "B'01'", "01"),
    Case("xml", "'<a b=\"c\">李</a>'", '<a b="c">李</a>'),
    Case("place", "ROW('a \"b\"', 3)", '("a ""b""",3)'),
    Case("hstore", """'"a b"=>"1\\"", c=>NULL'""", {"a b": '1"', "c": None}),
    Case("point", "'(1,2)'", "(1,2)"),
    Case("text", "NULL", None),
]  # fmt: skip


def cases(plugin: str) -> list[Case]:
    """Those that the server has on which we test ``plugin``."""
    return [case for case in CASES if case.type != "xml" or plugin == "wal2json"]


async def told(dsn: str, plugin: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every case by its column, as the copy tells it and as the stream does."""
    names = [f"c{number}" for number, case in enumerate(cases(plugin))]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as base:
        await base.execute(MADE.encode())
        columns = ", ".join(
            f"{n} {case.type}" for n, case in zip(names, cases(plugin), strict=True)
        )
        await base.execute(f"CREATE TABLE kinds (id text PRIMARY KEY, {columns})".encode())
        values = ", ".join(case.value for case in cases(plugin))
        await base.execute(f"INSERT INTO kinds VALUES ('copied', {values})".encode())
        reading = Reading(
            PostgresSource(
                dsn=dsn,
                table="public.kinds",
                columns={"id": "id", **{name: name for name in names}},
                key="id",
                name="levelsync_kinds" + dsn[-8:],
                plugin=plugin,
            )
        )
        await reading.open(None)
        try:
            await reading.quiet()
            await base.execute(f"INSERT INTO kinds VALUES ('streamed', {values})".encode())
            await reading.until(lambda: len(reading.told) == 2)
        finally:
            await reading.close()
    return reading.state["copied"], reading.state["streamed"]


def named(values: dict[str, Any], plugin: str) -> dict[str, Any]:
    return {
        f"{number} {case.type} {case.value}": values[f"c{number}"]
        for number, case in enumerate(cases(plugin))
    }


def expected(plugin: str) -> dict[str, Any]:
    return {f"{n} {case.type} {case.value}": case.plain for n, case in enumerate(cases(plugin))}


async def test_copy_and_pgoutput_tell_the_same_plain_values(database: str) -> None:
    """Red when a domain is not looked through, or an array's elements are left as text: tried."""
    copied, streamed = await told(database, "pgoutput")
    assert named(copied, "pgoutput") == expected("pgoutput")
    assert named(streamed, "pgoutput") == expected("pgoutput")


async def test_wal2json_tells_them_too(elsewhere: str) -> None:
    """But for numbers that JSON does not have: wal2json before 2.6 tells those as null."""
    copied, streamed = await told(elsewhere, "wal2json")
    wanted = expected("wal2json")
    assert named(copied, "wal2json") == wanted
    found = named(streamed, "wal2json")
    for key, case in zip(wanted, cases("wal2json"), strict=True):
        assert found[key] in ([case.plain, None] if case.null else [case.plain]), key


async def test_pgoutput_of_an_older_server_tells_the_same(elsewhere: str) -> None:
    copied, streamed = await told(elsewhere, "pgoutput")
    assert named(copied, "pgoutput") == named(streamed, "pgoutput") == expected("pgoutput")


SHAPES: list[tuple[str, str, Shape, str]] = [
    ("date", "'infinity'", Date(), "format"),
    ("date", "'0044-03-15 BC'", Date(), "format"),
    ("timestamptz", "'infinity'", DateTime(), "format"),
    ("timestamptz", "'12024-05-01 10:00:00+00'", DateTime(), "format"),
    ("timestamp", "'0044-03-15 10:00:00 BC'", DateTime(), "format"),
    ("numeric", "'NaN'", Decimal(), "decimal"),
    ("numeric", "'Infinity'", Number(), "range"),
    ("double precision", "'NaN'", Number(), "range"),
    ("json", "'1e999'", Map(values=Number()), "type"),
    ("integer[]", "'{{1},{2}}'", Array(items=Integer()), "type"),
    ("bytea", r"'\x00ff'", String(max_length=2, pattern="^[A-Za-z0-9+/=]*$"), "length"),
]


@pytest.mark.parametrize(("type_", "value", "shape", "rule"), SHAPES)
async def test_what_a_contract_cannot_hold_is_refused_by_path_and_never_stops(
    postgres: PostgresServer, type_: str, value: str, shape: Shape, rule: str
) -> None:
    types = Types()
    async with await psycopg.AsyncConnection.connect(postgres.dsn("postgres")) as base:
        await speak_plainly(base)
        cursor = await base.execute(f"SELECT ({value})::{type_} AS field".encode())
        assert cursor.pgresult
        await types.learn(base, [cursor.pgresult.ftype(0)])
        raw = cursor.pgresult.get_value(0, 0)
        assert raw is not None
        plain = value_of(raw, types[cursor.pgresult.ftype(0)].convert)
    assert fits(types[cursor.pgresult.ftype(0)], shape)
    contract = msgspec.structs.replace(
        CONTRACTS["division.v1"],
        fields=(
            *CONTRACTS["division.v1"].fields,
            Field(name="field", title=Text("字段", "field"), shape=shape),
        ),
    )
    with pytest.raises(Rejected) as refused:
        Checker(contract).check(
            {"code": "370101", "name": "n", "level": "county", "parent": "3701", "field": plain}
        )
    assert refused.value.path.startswith("$.field")
    assert refused.value.rule == rule
