"""Patterns mean the same to every engine, and none can hang."""

import re
import time

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.model import WrongContract
from contracts.pattern import MOST_PATTERN, portable, python_form


@pytest.mark.parametrize(
    ("pattern", "normal"),
    [
        (r"^\d{6}(\d{3})?$", "^[0-9]{6}(?:[0-9]{3})?$"),
        (r"^[\w-]+$", r"^[A-Za-z0-9_\-]+$"),
        (r"a.c", r"a[^\n\r]c"),
        (r"^\S$", r"^[^ \t\n\r\f\v]$"),
        (r"^[^\d,]$", "^[^0-9,]$"),
        (r"^(?:鲁|京)[A-Z]$", "^(?:鲁|京)[A-Z]$"),
        (r"^济$", "^济$"),
        (r"^a/b$", r"^a\/b$"),
        ("^[[]$", r"^[\[]$"),
    ],
)
def test_a_pattern_is_brought_to_the_form_all_engines_read_alike(pattern: str, normal: str) -> None:
    assert portable(pattern, 100) == normal
    assert portable(normal, 100) == normal, "a second time changes nothing"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"^\d{3}$", "123", True),
        (r"^\d{3}$", "123\n", False),
        (r"^\d{3}$", "１２３", False),
        (r"^\d{3}$", "١٢٣", False),
        (r"^.$", "\r", False),
        (r"^.$", "𠮷", True),
        (r"^\s$", "\u3000", False),
        (r"^\w$", "é", False),
        ("b", "abc", True),
        ("^[^a]$", "\n", True),
        (r"^a\$b$", "a$b", True),
        ("^[$]$", "$", True),
    ],
)
def test_python_and_a_schema_validator_agree(pattern: str, text: str, matches: bool) -> None:
    normal = portable(pattern, 100)
    assert (re.search(python_form(normal), text) is not None) is matches
    assert jsonschema_rs.is_valid({"pattern": normal}, text) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$", "(a*)*", "(a|a){30}b", "(a|ab)*c", "a?" * 30 + "a" * 30, "(.*,){11}P", "((a?)?)*",
        "^(([a-z])+.)+[A-Z]([a-z])+$", "(a{0,50}){0,50}", ".*.*.*.*=.*", "(?:a|b)+" * 3,
    ],
)  # fmt: skip
def test_what_could_hang_is_refused(pattern: str) -> None:
    with pytest.raises(WrongContract, match="could hang"):
        portable(pattern, 1000)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)", "(?<!a)b", r"(a)\1", "(?i)a", "(?P<n>a)", r"\bword", r"a\Z", "a*?", "a++", "a**", "*a",
        "a{3,2}", "(", "a)", "[", "[]", "[a", "\\", "[b-a]", r"\x41", r"\p{L}", "a{2}{3}", "^*",
        "[a&&b]", "(" * 50 + ")" * 50, "\\ud800", "a" * (MOST_PATTERN + 1),
    ],
)  # fmt: skip
def test_what_engines_read_differently_is_refused(pattern: str) -> None:
    with pytest.raises(WrongContract):
        portable(pattern, 100)


_ATOMS = st.sampled_from(["a", "b", r"\d", "[ab]", "[^a]", ".", "a|b"])
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,9}", "{3,}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
        st.lists(inner, min_size=2, max_size=4).map("".join),
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(_PATTERNS, st.booleans())
def test_whatever_is_accepted_is_quick_on_the_worst_text(pattern: str, anchored: bool) -> None:
    whole = f"^({pattern})$" if anchored else pattern
    try:
        compiled = re.compile(python_form(portable(whole, 60)))
    except WrongContract:
        return
    for text in ("a" * 59 + "!", "ab" * 29 + "!", "1" * 60, "b" * 60):
        began = time.process_time()
        compiled.search(text)
        assert time.process_time() - began < 5.0
