"""The proof can fail: each kind of broken history is found for what it is."""

import pytest

from agents.demo.office import Write
from agents.demo.verdict import (
    Seen,
    Verdict,
    expected_in,
    judge,
    judge_topic,
    leaked,
)

JOURNAL = [
    Write("insert", "a", "1", "", "370102001"),
    Write("update", "a", "2", "370102001", "370102001"),
    Write("move", "a", "3", "370102001", "370103001"),
    Write("update", "a", "4", "370103001", "370103001"),
    Write("move", "a", "5", "370103001", "370102002"),
    Write("delete", "a", "", "370102002", ""),
    Write("insert", "b", "6", "", "370103001"),
    Write("wrong", "c", "7", "", "370102001", "check-digit"),
]
EXPECTED = {"a": ["1", "2", "", "5", ""]}


def seen(*versions: str, key: str = "a") -> list[Seen]:
    return [Seen(key, version, f"{key}{at}", f"{at:04}") for at, version in enumerate(versions)]


def test_what_a_scope_must_see_follows_from_the_journal() -> None:
    assert expected_in("370102", JOURNAL) == EXPECTED
    assert expected_in("370103", JOURNAL) == {"a": ["3", "4", ""], "b": ["6"]}


def test_a_faultless_history_is_found_faultless() -> None:
    assert judge(EXPECTED, seen("1", "2", "", "5", "")) == Verdict(expected=5, arrived=5)


@pytest.mark.parametrize(
    ("history", "fault"),
    [
        (seen("1", "", "5", ""), "missing"),
        (seen("1", "2", "", "5", "")[:-1], "missing"),
        ([], "missing"),
        ([*seen("1", "2", "", "5", ""), seen("1")[0]], "repeated"),
        (seen("2", "1", "", "5", ""), "out_of_order"),
        (seen("1", "2", "", "5", "", "5"), "unexpected"),
        ([*seen("1", "2", "", "5", ""), *seen("6", key="b")], "unexpected"),
    ],
)
def test_a_broken_history_is_found_for_what_it_is(history: list[Seen], fault: str) -> None:
    verdict = judge(EXPECTED, history)
    faults = {
        name: getattr(verdict, name)
        for name in ("missing", "repeated", "out_of_order", "unexpected")
        if getattr(verdict, name)
    }
    assert list(faults) == [fault]


def test_a_topic_with_repeats_or_disorder_is_found() -> None:
    assert judge_topic(seen("1", "2", "3")) == Verdict(arrived=3)
    repeated = judge_topic([*seen("1", "2"), seen("1")[0]])
    assert (repeated.repeated, repeated.out_of_order) == (1, 0)
    one, two = seen("1", "2")
    assert judge_topic([two, one]).out_of_order == 1


def test_a_key_where_it_must_not_be_is_a_leak() -> None:
    assert leaked({"a"}, ["a", "a"]) == 0
    assert leaked({"a"}, ["a", "b"]) == 1
