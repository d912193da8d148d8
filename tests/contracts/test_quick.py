"""Rules as Python say what CEL says, or nothing."""

import datetime
import re
from types import SimpleNamespace

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.check import Checker
from contracts.functions import FUNCTIONS
from contracts.quick import AsJson, Quick, moment_text, quickly
from contracts.subjects import CONTRACTS
from tests.contracts.test_expression import VALUES

NAMES = ("born", "number", "share")
FIELDS = dict.fromkeys(NAMES)


def compiled(rules: list[str], fields: dict[str, AsJson]) -> Quick | None:
    """The rules alone."""
    return quickly(("born", "number"), (), (), rules, fields)


OPERANDS = st.sampled_from(
    [*NAMES, "null", "'a'", '"b"', "''", "sex_of(born)", "part(number, 0, 1)", "birth_of(share)"]
)
COMPARISONS = st.builds(
    "{} {} {}".format, OPERANDS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), OPERANDS
)
RULES = st.recursive(
    COMPARISONS | st.sampled_from(["true", "false"]),
    lambda inner: st.one_of(
        st.builds("{} && {}".format, inner, inner),
        st.builds("{} || {}".format, inner, inner),
        st.builds("({}) == ({})".format, inner, inner),
        st.builds("({}) != ({})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("!!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(RULES, st.lists(st.sampled_from(VALUES), min_size=3, max_size=3))
def test_where_it_says_anything_it_is_what_the_library_would_say(
    rule: str, given_: list[object]
) -> None:
    """Red when a comparison of a number with text is left to Python, and when ``!`` reaches over a
    comparison: tried."""
    values = dict(zip(NAMES, given_, strict=True))
    quick = compiled([rule], FIELDS)
    if quick is None or quick(SimpleNamespace(**values)) is None:
        return
    try:
        expected: object = cel.compile(rule).execute(values | FUNCTIONS)
    except (RuntimeError, TypeError, ValueError):
        expected = "fails"
    assert expected is True


@pytest.mark.parametrize(
    "rule",
    [
        "born",
        "born && number == null",
        "size(born) == 1",
        "born.startsWith('a')",
        "born in ['a']",
        "born + 'x' == 'ax'",
        "age_on(born, number) >= 18",
        "(born == null) < (number == null)",
        "born == 1",
        r"born == 'a\'b'",
        "r'a' == born",
        "unknown == null",
        "born == null)",
        "(" * 200 + "born == null" + ")" * 200,
        "born == null" + " == true" * 200,
        "",
        "__import__('os') == born",
    ],
)
def test_what_is_not_understood_is_left_to_cel(rule: str) -> None:
    assert compiled([rule], FIELDS) is None
    assert compiled(["born == null", rule], FIELDS) is None


def test_a_value_is_seen_as_its_json() -> None:
    quick = compiled(["born == 'B'"], FIELDS | {"born": lambda value: value.upper()})
    assert quick
    assert quick(SimpleNamespace(born="b", number="1")) == ("b", "1")
    assert quick(SimpleNamespace(born=None, number="1")) is None


def test_of_a_moment_the_day_is_asked_without_its_text() -> None:
    quick = compiled(["day_of(born) == number"], FIELDS | {"born": moment_text})
    assert quick
    late = datetime.datetime(2026, 1, 1, 23, tzinfo=datetime.UTC)
    assert quick(SimpleNamespace(born=late, number="2026-01-02"))
    assert quick(SimpleNamespace(born=late, number="2026-01-01")) is None
    assert quick(SimpleNamespace(born=None, number="2026-01-01")) is None


@pytest.mark.parametrize("name", ["class", "ﬁeld", "a b", "名"])
def test_a_field_whose_name_python_would_take_for_another_is_left_alone(name: str) -> None:
    assert quickly(("born", name), (), (), (), {"born": None, name: None}) is None


def test_patterns_and_inspections_are_looked_at_where_there_is_something() -> None:
    """Red when what an inspection raises is taken for nothing: tried."""

    def short(value: str) -> None:
        if len(value) > 2:
            raise ValueError(value)

    look = re.compile("^a").search
    quick = quickly(("born", "number"), [("born", look)], [("share", short)], [], FIELDS)
    assert quick
    for born, share, passes in (("a", None, True), ("b", None, False), ("a", "ab", True),
                                ("a", "abc", False), (None, "ab", True)):  # fmt: skip
        found = quick(SimpleNamespace(born=born, number="1", share=share))
        assert (found == (born, "1")) is passes


def test_the_residents_contract_is_understood() -> None:
    """It is the one most records are checked by."""
    checker = Checker(CONTRACTS["resident.v2"])
    assert checker._quick is not None
