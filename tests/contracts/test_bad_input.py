"""Whatever bytes come, there is one clear error and an answer in no time."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.check import LARGEST, Checker, Rejected
from contracts.define import about, define
from contracts.text import Text


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    key: Annotated[str, about("键", "Key", pattern=r"^[a-z]{1,5}$")]
    number: Annotated[int, about("数", "Number")] = 0
    share: Annotated[float, about("比", "Share")] = 0.0
    more: Annotated[dict[str, Annotated[int, about("值", "Value")]], about("多", "More")] = (
        msgspec.field(default_factory=dict)
    )


CHECKER = Checker(
    define(
        Thing,
        subject="thing",
        major=1,
        title=Text("物", "Things"),
        catalogue="t",
        owner=Text("测", "Tests"),
        level="county",
        key="key",
        scope="key",
        classification="general",
        sharing="unconditional",
        basis=Text("测", "Tests"),
        freshness=1.0,
    )
)
DEEP = 100_000


@pytest.fixture(params=["accept", "decode"])
def taking(request: pytest.FixtureRequest) -> Iterator[Callable[[bytes], object]]:
    began = time.perf_counter()
    method: Callable[[bytes], object] = getattr(CHECKER, request.param)
    yield method
    assert time.perf_counter() - began < 2.0, "a wrong value took too long"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"[]", "type"),
        (b"null", "type"),
        (b'{"key":"a"} x', "json"),
        (b"\xef\xbb\xbf" + b'{"key":"a"}', "json"),
        ('{"key":"a"}'.encode("utf-16"), "json"),
        ('{"key":"济南"}'.encode("gb18030"), "encoding"),
        (b'{"key":"\xff"}', "encoding"),
        (b'{"key":"\\ud800"}', "json"),
        (b'{"key":"\\udc00\\ud800"}', "json"),
        (b'{"key":"a","key":"b"}', "repeated-name"),
        (b'{"key":"a","more":{"x":1,"x":2}}', "repeated-name"),
        (b'{"key":"a","share":NaN}', "json"),
        (b'{"key":"a","share":Infinity}', "json"),
        (b'{"key":"a","share":1e999}', "range"),
        (b'{"key":"a","number":NaN}', "json"),
        (b'{"key":"a","number":1.5}', "type"),
        (b'{"key":"a","number":9223372036854775808}', "range"),
        (b'{"key":"a","number":-9223372036854775809}', "range"),
        (b'{"key":"a","number":' + b"9" * 100_000 + b"}", "range"),
        (b'{"key":"a","share":' + b"9" * 100_000 + b"}", "range"),
        (b'{"key":"a","number":1e400}', "range"),
        (b'{"key":"a","number":true}', "type"),
        (b'{"key":"a","number":"1"}', "type"),
        (b'{"key":"abcdef"}', "pattern"),
        (b'{"key":"a\\n"}', "pattern"),
        (b'{"key":null}', "type"),
        (b"{}", "required"),
        (b'{"key":"a","more":' + b'{"x":' * DEEP + b"1" + b"}" * DEEP + b"}", "type"),
        (b"[" * DEEP, "type"),
        (b'{"key":"' + b"a" * LARGEST + b'"}', "too-large"),
    ],
    ids=lambda found: repr(found)[:40],
)
def test_each_has_one_clear_error(
    taking: Callable[[bytes], object], value: bytes, rule: str
) -> None:
    with pytest.raises(Rejected) as caught:
        taking(value)
    assert caught.value.rule == rule
    assert caught.value.path.startswith("$")
    assert caught.value.message.startswith("Expected")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (b"[" * DEEP + b"]" * DEEP, "too-deep"),
        (b'{"x":1,"x":2}', "repeated-name"),
        (b"NaN", "json"),
        (b"9" * 100_000, None),
    ],
    ids=["deep", "repeated", "nan", "huge"],
)
def test_what_a_reader_passes_over_does_it_no_harm(more: bytes, rule: str | None) -> None:
    value = b'{"key":"a","unknown":' + more + b"}"
    if rule is None:
        CHECKER.decode(value)
        return
    with pytest.raises(Rejected) as caught:
        CHECKER.decode(value)
    assert caught.value.rule == rule
    with pytest.raises(Rejected):
        CHECKER.accept(value)


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "\ud800"},
        {"key": "a", "share": float("nan")},
        {"key": "a", "share": float("inf")},
        {"key": "a", "number": 2**64},
        {"key": "a", "number": 10**5000},
        {"key": b"a"},
        {"key": object()},
        {1: 2},
        {"key": "a", "more": {"\ud800": 1}},
    ],
    ids=lambda found: repr(found)[:40] if not isinstance(found, dict) else str(list(found)),
)
def test_fields_from_a_source_are_refused_no_less_clearly(fields: Any) -> None:
    with pytest.raises(Rejected):
        CHECKER.check(fields)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(value: bytes) -> None:
    for taking_ in (CHECKER.accept, CHECKER.decode):
        try:
            taking_(value)
        except Rejected:
            continue


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["key", "number", "share", "more", "x"]), _JSON))
def test_no_fields_raise_anything_else(fields: dict[str, Any]) -> None:
    try:
        CHECKER.check(fields)
    except Rejected:
        return
