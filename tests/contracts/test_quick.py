"""Rules as Python say what CEL says, or nothing."""

from types import SimpleNamespace

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.functions import FUNCTIONS
from contracts.quick import quickly
from contracts.subjects import CONTRACTS
from tests.contracts.test_expression import VALUES

NAMES = ("born", "number", "share")
FIELDS = dict.fromkeys(NAMES)

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
    quick = quickly([rule], FIELDS)
    found = quick and quick(SimpleNamespace(**values))
    if found is None:
        return
    try:
        expected: object = cel.compile(rule).execute(values | FUNCTIONS)
    except (RuntimeError, TypeError, ValueError):
        expected = "fails"
    assert found == expected


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
    assert quickly([rule], FIELDS) is None
    assert quickly(["born == null", rule], FIELDS) is None


def test_the_residents_rules_are_understood() -> None:
    """They are the ones most records are checked by."""
    contract = CONTRACTS["resident.v2"]
    assert quickly([rule.when for rule in contract.rules], dict.fromkeys(contract.field_names))


def test_a_value_is_seen_as_its_json() -> None:
    quick = quickly(["born == 'B'"], {"born": lambda value: value.upper()})
    assert quick
    assert quick(SimpleNamespace(born="b"))
    assert quick(SimpleNamespace(born=None)) is False
