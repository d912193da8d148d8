"""Texts that PostgreSQL writes become plain values; names and settings of a source are read."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.base.table import Wrong
from agents.capture.postgres_layout import fits
from agents.capture.postgres_name import split
from agents.capture.postgres_settings import PostgresTable
from agents.capture.postgres_types import Types, array
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Integer,
    Map,
    Shape,
    String,
)

#: Rows of the catalogue: a domain over varchar, an array of it, an enum, a domain over that array.
LEARNED: list[tuple[Any, ...]] = [
    (90001, "code", "office.code", 1043, 0, ","),
    (90002, "_code", "office.code[]", 0, 90001, ","),
    (90003, "mood", "mood", 0, 0, ","),
    (90004, "codes", "codes", 90002, 0, ","),
    (1007, "_int4", "integer[]", 0, 23, ","),
    (1020, "_box", "box[]", 0, 603, ";"),
]


@pytest.fixture
def types() -> Types:
    found = Types()
    found.take(LEARNED)
    return found


def written(value: list[Any] | str | None) -> str:
    """As PostgreSQL's ``array_out`` writes an array of text."""
    if isinstance(value, list):
        return "{" + ",".join(map(written, value)) + "}"
    if value is None:
        return "NULL"
    if not value or value.upper() == "NULL" or any(c in '{}",\\' or c.isspace() for c in value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value


ITEMS = st.lists(
    st.none() | st.text(st.characters(exclude_characters="\0"), max_size=6), max_size=4
)


@given(ITEMS | st.lists(ITEMS.filter(bool), min_size=1, max_size=3))
def test_an_array_reads_as_it_was_written(value: list[Any]) -> None:
    assert array(None)(written(value)) == value


def test_types_are_what_they_are_made_over(types: Types) -> None:
    assert types[90001].family == "text"
    assert types[90001].name == "office.code"
    convert = types[90004].convert
    assert convert
    assert convert("{3701,NULL}") == ["3701", None]
    assert types[90004].item == types[90001]
    boxes = types[1020].convert
    assert boxes
    assert boxes("{(1,1),(0,0);(2,2),(1,1)}") == ["(1,1),(0,0)", "(2,2),(1,1)"]
    assert types[4711].family == "word", "never learned of: text"
    assert types.unknown([23, 90001, 4711]) == [4711]


def test_a_moment_without_a_zone_is_of_the_one_that_is_said() -> None:
    told = {
        zone: Types(zone)[1114].convert
        for zone in ("Asia/Shanghai", "Asia/Urumqi", "UTC", "America/New_York")
    }
    assert {zone: convert and convert("2024-07-01 10:00:00") for zone, convert in told.items()} == {
        "Asia/Shanghai": "2024-07-01T10:00:00+08:00",
        "Asia/Urumqi": "2024-07-01T10:00:00+06:00",
        "UTC": "2024-07-01T10:00:00+00:00",
        "America/New_York": "2024-07-01T10:00:00-04:00",
    }


@pytest.mark.parametrize(
    ("oid", "shape", "may"),
    [
        (23, String(), True),
        (23, Boolean(), True),
        (23, Date(), False),
        (1700, Decimal(), True),
        (16, Boolean(), True),
        (16, String(), False),
        (25, Integer(), True),
        (25, DateTime(), True),
        (25, Map(values=String()), False),
        (1082, DateTime(), False),
        (1114, DateTime(), True),
        (17, String(), False),
        (17, String(pattern="^[A-Za-z0-9+/=]*$"), True),
        (17, String(pattern="^[0-9]*$"), False),
        (3802, Map(values=String()), True),
        (3802, String(), False),
        (2950, Integer(), False),
        (90003, Enum(values=("a",)), True),
        (90002, Array(items=String()), True),
        (1007, Array(items=Date()), False),
        (1007, String(), False),
    ],
)
def test_which_type_may_fill_which_shape(types: Types, oid: int, shape: Shape, may: bool) -> None:
    assert fits(types[oid], shape) is may


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("public.person", ("public", "person")),
        ("人口.Person", ("人口", "Person")),
        ('"a.b"."c d"', ("a.b", "c d")),
        ('public."say ""hi"""', ("public", 'say "hi"')),
    ],
)
def test_a_name_has_two_parts(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


@pytest.mark.parametrize("name", ["person", "a.b.c", '"a.b"', "a. b", 'a."b'])
def test_what_is_no_name_of_a_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(name)):
        split(name)
    with pytest.raises(Wrong, match="table`"):
        PostgresTable(contract="x.v1", dsn="", table=name).validate()


def test_a_time_zone_that_is_none_is_refused() -> None:
    wrong = PostgresTable(contract="x.v1", dsn="", table="a.b", timezone="Asia/Jinan")
    with pytest.raises(Wrong, match="Asia/Shanghai"):
        wrong.validate()
