"""Expressions over records, and several of them over one."""

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.expression import Expression, WrongExpression, first_broken
from contracts.functions import FUNCTIONS

VALUES: list[object] = [None, "a", "b", "", "born == null", 1, 1.0, True, ["a"], {"a": 1}]
NAMES = ("born", "number", "share", "birth_of")


def test_a_function_gives_way_to_no_field_of_its_name() -> None:
    with pytest.raises(WrongExpression, match="a function whose name no field has, got `birth_of`"):
        Expression("birth_of(number) == born", NAMES)
    assert Expression("birth_of(number) == born", NAMES[:3]).fields


def test_a_call_in_quotes_is_text() -> None:
    rule = Expression("'birth_of(number)' == born && \"part(born, 0, 4)\" != number", NAMES[:3])
    assert set(rule.fields) == {"born", "number"}
    assert rule.holds({"born": "birth_of(number)", "number": "1"})


def test_a_call_on_a_field_that_is_not_filled_in_fails_only_where_it_is_reached() -> None:
    rule = Expression("number == null || birth_of(number) == born", NAMES[:3])
    assert rule.holds({"born": "1949-12-31", "number": None})
    assert not rule.holds({"born": "1949-12-31", "number": "x"})
    with pytest.raises(ValueError, match="found__0"):
        Expression("birth_of(number) != born", NAMES[:3]).holds({"born": "1", "number": None})
    assert Expression("part(born, 0, 4) == '1949'", NAMES).holds({"born": "1949-12-31"})


@pytest.mark.parametrize(
    "source",
    [
        "born == null",
        "born != null",
        "null == born",
        "born == number",
        "born < number",
        "born == null || number == null || born <= number",
        "born == null || number != null && share == null",
        "(born == null) == (number == null)",
        "(born < number) != (share == null)",
        "!(born == null) ? share != null : number == null",
        "born == null || 'x && born == null' != number",
        'number == "born == null" || born != null',
        "[born, number].all(share, share == null || (share != born))",
        "[1].exists(x, born == null)",
        "born == null ? true : (number == null ? false : share == null)",
        "born == 'a' && number > 'a' || share == 1",
        "born + 'x' == 'ax'",
        "size(born) == 1 && born == number",
        "born in ['a', 'b'] || number >= share",
        "born == number == true",
        "true == (born == number)",
        "born == \"a\" ? number == 'a' : share != 'a'",
        "sex_of(born) == '' || born == number",
        "part(born, 0, 1) == number",
        "sex_of(part(born, 0, 1)) == ''",
    ],
)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(VALUES), min_size=3, max_size=3))
def test_what_is_found_out_before_is_what_the_library_would_say(
    source: str, given_: list[object]
) -> None:
    values = dict(zip(NAMES, given_, strict=False))
    try:
        expected: object = cel.compile(source).execute(values | FUNCTIONS) is True
    except (RuntimeError, TypeError, ValueError):
        expected = "fails"
    try:
        found: object = Expression(source, NAMES[:3]).holds(values)
    except ValueError:
        found = "fails"
    assert found == expected


@pytest.mark.parametrize(
    "source",
    [
        "1 / int(share) == 1", "1 % int(share) == 1", "9223372036854775807 + int(number) == 1",
        "[1][5] == 1", "{'a': 1}[number] == 1", "int(1e300) == 1", "[1].exists(a, a / int(share) == 1)",
    ],
)  # fmt: skip
def test_what_cannot_be_reckoned_is_neither_true_nor_false(source: str) -> None:
    rule = Expression(source, NAMES[:3])
    with pytest.raises(ValueError, match=r"."):
        rule.holds({"born": "", "number": "7", "share": "0"})


@pytest.mark.parametrize(
    ("values", "broken"),
    [
        ({"born": "1949-12-31", "number": "11010519491231002X", "share": 1}, None),
        ({"born": "1949-12-30", "number": "11010519491231002X", "share": 9}, 0),
        ({"born": "1949-12-31", "number": "11010519491231002X", "share": 9}, 1),
        ({"born": "1949-12-31", "number": "11010519491231002X", "share": "1"}, 1),
        ({"born": "1949-12-31", "number": 5, "share": 1}, 0),
    ],
)
def test_the_first_rule_that_does_not_hold_is_told(
    values: dict[str, object], broken: int | None
) -> None:
    rules = [Expression(each, NAMES[:3]) for each in ("birth_of(number) == born", "share < 2")]
    assert {name for rule in rules for name in rule.fields} == {"born", "number", "share"}
    assert first_broken(rules, values) == broken
    for place, rule in enumerate(rules[: broken or 0]):
        assert rule.holds(values), place
