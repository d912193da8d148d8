"""The schema accepts what the decoder accepts, and says everything the contract says."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from contracts.check import Checker, Rejected
from contracts.export.json_schema import DATE, DATE_TIME, json_schema
from contracts.export.json_schema_reader import contract_of
from contracts.formats import FORMATS
from contracts.model import Contract
from contracts.pattern import python_form
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.contracts.generated import can_be, contracts, formatted, value_of
from tests.examples import examples

SLOW = settings(
    max_examples=examples(120),
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)


def _right(fault: Callable[[str], str | None]) -> Callable[[str], bool]:
    return lambda text: fault(text) is None


#: Check characters are asserted; `date` and `date-time` annotate, as 2020-12 has it.
ASSERTED: dict[str, Callable[[str], bool]] = {
    "date": lambda _: True,
    "date-time": lambda _: True,
    **{name: _right(found.fault) for name, found in FORMATS.items()},
}


class Schema:
    """A validator made from the export alone."""

    def __init__(self, contract: Contract, *, reader: bool = False) -> None:
        document = json_schema(contract, reader=reader)
        jsonschema_rs.meta.validate(document)
        self._validator = jsonschema_rs.Draft202012Validator(
            document, formats=ASSERTED, validate_formats=True
        )

    def accepts(self, record: Any) -> bool:
        return self._validator.is_valid(record)


def decides(checker: Checker, record: Any, *, reader: bool = False) -> bool:
    value = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    try:
        if reader:
            checker.decode(value)
        else:
            checker.accept(value)
    except Rejected:
        return False
    return True


# ---- values near and far ---------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
#: Integers beyond 2^53 are left out where a double is asked for: see the module's word on rounding.
_EXACT = 2**53

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, -0.0, 0.5, 1e2, 1e300, 2**53, -(2**53), 2.0**53, 2**63 - 1,
    2**63, -(2**63), -(2**63) - 1, 2**64, float(2**63), float(-(2**63)), float(2**64), 10**30,
    "", " ", "1", "1.0", "-0", "0", "00", "01", "+1", "1.", ".5", "1e2", "２", "１２３４５６", "0\n", "\n",
    "370102\n", "370", "37010", "𠀀", "𠀀𠀀", "é", "e\u0301", "\u0000", "\u2028", "null", "true",
    "2024-02-29", "2023-02-29", "2024-02-30", "1900-02-29", "2000-02-29", "0000-01-01", "0001-01-01",
    "0000-02-29", "0004-02-29", "0400-02-29", "9999-12-31", "2024-13-01", "2024-00-10", "2024-01-00",
    "2024-1-1", "２０２４-01-01", "2024-01-01\n", "2024-04-31", "2024-01-01T00:00:00",
    "2024-01-01T00:00:00Z", "2024-01-01t00:00:00z", "2024-01-01 00:00:00Z", "2024-01-01_00:00:00Z",
    "2024-01-01T24:00:00Z", "2024-01-01T23:59:60Z", "2024-01-01T23:60:00Z", "2024-01-01T00:00Z",
    "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.1Z", "2024-01-01T00:00:00,1Z",
    "2024-01-01T00:00:00.123456789012345Z", "2024-01-01T00:00:00+0800", "2024-01-01T00:00:00+08",
    "2024-01-01T00:00:00+08:00", "2024-01-01T00:00:00-23:59", "2024-01-01T00:00:00+24:00",
    "2024-01-01T00:00:00+08:60", "2024-01-01T00:00:00Z\n", "2024-01-01T00:00:00 Z",
    "9999-12-31T23:59:59.9999994999Z", "9999-12-31T23:59:59.9999995Z", "9999-12-31 23:59:59.9999999+08:00",
    "9999-12-31T23:58:59.9999999Z", "0001-01-01T00:00:00+08:00",
    "11010519491231002X", "110105194912310021", "11010519491231002x", "91350100M000100Y43",
    [], [None], {}, {"a": 1}, [[]], [{}], {"": None},
]  # fmt: skip


def strange() -> SearchStrategy[Any]:
    """Anything JSON has, with what people and machines get wrong."""
    plain = (
        st.sampled_from(STRANGE)
        | _TEXT
        | st.integers(-(2**65), 2**65)
        | st.integers(-_EXACT, _EXACT).map(float)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from(sorted(FORMATS)).flatmap(formatted)
    )
    return plain | st.lists(plain, max_size=3) | st.dictionaries(_TEXT, plain, max_size=3)


@st.composite
def near(draw: Any, shape: Shape) -> Any:
    """A value that is right, at a border of ``shape``, one past it, or anything at all."""
    choice = draw(st.integers(0, 9))
    if choice < 5:
        return draw(inside(shape))
    if choice < 8:
        return draw(border(shape))
    return draw(strange())


def inside(shape: Shape) -> SearchStrategy[Any]:
    """A value of ``shape`` whose parts, if it has any, may be off."""
    match shape:
        case Array():
            return st.lists(near(shape.items), max_size=shape.min_length + 2)
        case Map():
            return st.dictionaries(_TEXT, near(shape.values), max_size=3)
        case Object():
            return around(shape.fields)
    return value_of(shape)


def border(shape: Shape) -> SearchStrategy[Any]:
    match shape:
        case Integer(ge=ge, le=le):
            edges = [ge - 1, ge, ge + 1, le - 1, le, le + 1]
            return st.sampled_from([*edges, *map(float, edges), ge + 0.5, str(ge)])
        case Number():
            limits = [edge for edge in (shape.ge, shape.gt, shape.le, shape.lt) if edge is not None]
            return st.sampled_from(
                [*limits, *(e + 1 for e in limits), *(e - 1 for e in limits), 1e308, -1e308, 0]
            )
        case String():
            lengths = [
                shape.min_length - 1,
                shape.min_length,
                (shape.max_length or 6),
                (shape.max_length or 6) + 1,
            ]
            texts = st.sampled_from(lengths).flatmap(
                lambda n: st.text(st.sampled_from("a1甲𠀀"), min_size=max(n, 0), max_size=max(n, 0))
            )
            right = value_of(shape).filter(lambda text: text is not None)
            return (
                texts
                | right.map(lambda text: text + "\n")
                | right.map(lambda text: text[:-1])
                | right.map(lambda text: text.replace("2", "２"))
            )
        case Decimal():
            return st.from_regex(r"-?[0-9]{0,4}(\.[0-9]{0,4})?", fullmatch=True) | st.integers(
                -99, 99
            )
        case Date() | DateTime():
            digit = st.sampled_from("0123456789")
            day = st.builds(
                "{}{}{}{}-{}{}-{}{}".format,
                *[digit] * 4,
                st.sampled_from("01"),
                digit,
                st.sampled_from("0123"),
                digit,
            )
            if isinstance(shape, Date):
                return day
            clock = st.builds("{}{}:{}{}:{}{}".format, *[digit] * 6)
            parts = [
                st.sampled_from(["T", " ", "t", "x"]),
                clock,
                st.sampled_from(["", ".5", ".9999999", "."]),
            ]
            zone = st.sampled_from(["Z", "z", "+08:00", "-2359", "+8:00", "", "+24:00"])
            return st.builds("{}{}{}{}{}".format, day, *parts, zone)
        case Enum():
            return st.sampled_from(
                [*shape.values, "", "x", *(value + " " for value in shape.values), 1]
            )
        case Boolean():
            return st.sampled_from([0, 1, "true", None])
        case Array():
            return st.lists(value_of(shape.items), max_size=(shape.max_length or 2) + 1)
        case Map():
            return st.dictionaries(
                _TEXT, value_of(shape.values), max_size=(shape.max_length or 2) + 1
            )
    return around(shape.fields)


@st.composite
def around(draw: Any, fields: tuple[Field, ...]) -> dict[str, Any]:
    """A record in which mostly one thing is off: so that each is seen to decide."""
    off = (
        draw(st.sampled_from([None, *fields])) if draw(st.integers(0, 4)) else draw(st.just("all"))
    )
    record = {}
    for field in fields:
        if draw(st.integers(0, 15)) == 0 or (not field.required and draw(st.booleans())):
            continue
        wrong = off == "all" or off is field
        record[field.name] = draw(near(field.shape) if wrong else value_of(field.shape))
    if draw(st.integers(0, 7)) == 0:
        record[draw(st.sampled_from(["unknown", "", "KEY", "key "]))] = draw(strange())
    return record


def roundable(record: Any, shape: Shape) -> bool:
    """Is an integer somewhere that only a double could stand for?"""
    match shape:
        case Number():
            return isinstance(record, int) and abs(record) > _EXACT
        case Array() if isinstance(record, list):
            return any(roundable(each, shape.items) for each in record)
        case Map() if isinstance(record, dict):
            return any(roundable(each, shape.values) for each in record.values())
        case Object() if isinstance(record, dict):
            return any(roundable(record[f.name], f.shape) for f in shape.fields if f.name in record)
    return False


def without_rules(contract: Contract) -> Contract:
    return msgspec.structs.replace(contract, rules=())


# ---- the same decision -----------------------------------------------------------------------


@SLOW
@given(data=st.data(), contract=contracts().filter(can_be).map(without_rules), reader=st.booleans())
def test_any_contract_and_its_schema_decide_alike(
    data: Any, contract: Contract, reader: bool
) -> None:
    checker, schema = Checker(contract), Schema(contract, reader=reader)
    for _ in range(12):
        record = data.draw(around(contract.fields))
        if roundable(record, Object(fields=contract.fields)):
            continue
        assert schema.accepts(record) == decides(checker, record, reader=reader), record


def of_one(shape: Shape) -> Contract:
    """A contract whose one field to look at is ``it``."""
    key = Field(name="key", title=Text("键", "Key"), shape=String(min_length=1))
    it = Field(name="it", title=Text("它", "It"), shape=shape)
    return msgspec.structs.replace(
        CONTRACTS["division.v1"],
        subject="one",
        key="key",
        scope="key",
        fields=(key, it),
        rules=(),
        searchable=(),
        personal={},
    )


SHAPES: list[Shape] = [
    String(), String(min_length=1, max_length=2), String(pattern="^[^\\n\\r]{1,3}$"), String(pattern="[0-9]"),
    String(pattern="^[0-9]{2,6}$", format="division-code"), String(format="email"),
    *(String(format=name) for name in FORMATS),
    Integer(), Integer(ge=-1, le=1), Number(), Number(ge=0.0, lt=1.0), Number(gt=-1.0, le=1e300),
    Decimal(), Decimal(digits=3, places=3), Decimal(digits=3, places=0, positive=True), Boolean(), Date(),
    DateTime(), Enum(values=("0", "1")), Enum(values=("1", "甲"), labels={"1": Text("一", "One")}),
    Array(items=Integer()), Array(items=String(nullable=True), max_length=0), Map(values=String()),
    Map(values=Integer(), max_length=0), Object(fields=(Field(name="a", title=Text("a", "a"), shape=Integer()),)),
]  # fmt: skip


@pytest.mark.parametrize("nullable", [False, True], ids=["", "nullable"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_and_its_schema_decide_alike_on_strange_values(
    shape: Shape, nullable: bool
) -> None:
    contract = of_one(msgspec.structs.replace(shape, nullable=nullable))
    checker = Checker(contract)
    for reader in (False, True):
        schema = Schema(contract, reader=reader)
        for value in STRANGE:
            if not roundable(value, shape):
                record = {"key": "k", "it": value}
                assert schema.accepts(record) == decides(checker, record, reader=reader), value


def test_the_pattern_of_dates_is_the_calendar() -> None:
    import datetime
    import re

    pattern = re.compile(python_form(DATE))
    for year in (*range(10), *range(95, 105), *range(1890, 2110), 4, 400, 1000, 9996, 9999):
        for month in range(14):
            for day in (0, 1, 9, 10, 28, 29, 30, 31, 32):
                try:
                    datetime.date(year, month, day)
                    right = True
                except ValueError:
                    right = False
                assert (pattern.search(f"{year:04}-{month:02}-{day:02}") is not None) == right


def test_patterns_are_ours_and_so_mean_the_same_to_every_engine() -> None:
    from contracts.pattern import portable

    for pattern in (DATE, DATE_TIME):
        assert portable(pattern, 40) == pattern


# ---- and back --------------------------------------------------------------------------------


@SLOW
@given(contract=contracts(), reader=st.booleans())
def test_any_contract_comes_back_whole(contract: Contract, reader: bool) -> None:
    document = json.loads(json.dumps(json_schema(contract, reader=reader)))
    assert contract_of(document) == contract
