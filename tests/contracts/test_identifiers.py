"""Check characters as the standards compute them."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.identifiers import (
    CREDIT_ALPHABET,
    citizen_check,
    citizen_fault,
    credit_check,
    credit_fault,
    disability_fault,
    level_of,
    within,
)

citizens = st.builds(
    lambda place, born, order: f"{place:06}{born:%Y%m%d}{order:03}",
    st.integers(110000, 659999),
    st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)),
    st.integers(0, 999),
)
credit_bodies = st.builds(
    lambda kind, place, body: f"{kind}{place:06}{body}",
    st.sampled_from(["91", "92", "93", "11"]),
    st.integers(110000, 659999),
    st.text(CREDIT_ALPHABET, min_size=9, max_size=9),
)


def test_the_published_examples_are_right() -> None:
    assert citizen_fault("11010519491231002X") is None  # GB 11643-1999, 4.2
    assert citizen_fault("440524188001010014") is None
    assert credit_fault("91350100M000100Y43") is None  # GB 32100-2015, appendix


@given(citizens)
def test_a_number_with_its_check_digit_is_right_and_with_another_is_not(first: str) -> None:
    right = citizen_check(first)
    assert citizen_fault(first + right) is None
    assert {citizen_fault(first + other) for other in "0123456789X" if other != right} == {
        "check-digit"
    }


@given(citizens, st.integers(0, 16), st.integers(1, 9))
def test_one_wrong_digit_is_always_found(first: str, place: int, shift: int) -> None:
    number = first + citizen_check(first)
    wrong = str((int(number[place]) + shift) % 10)
    assert citizen_fault(number[:place] + wrong + number[place + 1 :]) is not None


@given(citizens, st.integers(0, 15))
def test_two_neighbours_swapped_are_always_found(first: str, place: int) -> None:
    number = first + citizen_check(first)
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    assert swapped == number or citizen_fault(swapped) is not None


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("1101051949123100", "shape"),
        ("1101051949123100AX", "shape"),
        ("１１０１０５１９４９１２３１００２X", "shape"),
        ("110105194913310029", "birth-date"),
        ("110105194902300021", "birth-date"),
    ],
)
def test_a_number_that_cannot_be_is_named_by_its_fault(number: str, fault: str) -> None:
    assert citizen_fault(number) == fault


@given(credit_bodies)
def test_a_credit_code_with_its_check_character_is_right(first: str) -> None:
    right = credit_check(first)
    assert credit_fault(first + right) is None
    assert credit_fault(first + ("0" if right != "0" else "1")) == "check-character"


@given(credit_bodies, st.integers(0, 17), st.integers(1, 30))
def test_one_wrong_character_of_a_credit_code_is_always_found(
    first: str, place: int, shift: int
) -> None:
    code = first + credit_check(first)
    wrong = CREDIT_ALPHABET[(CREDIT_ALPHABET.index(code[place]) + shift) % 31]
    assert credit_fault(code[:place] + wrong + code[place + 1 :]) is not None


@given(
    citizens,
    st.sampled_from("1234567"),
    st.sampled_from("1234"),
    st.sampled_from(["", "B1", "B9"]),
    st.integers(0, 17),
    st.integers(1, 9),
)
def test_one_wrong_digit_of_the_person_in_a_disability_certificate_is_always_found(
    first: str, disability: str, grade: str, again: str, place: int, shift: int
) -> None:
    number = first + citizen_check(first) + disability + grade + again
    assert disability_fault(number) is None
    digit = 10 if number[place] == "X" else int(number[place])
    wrong = str((digit + shift) % 10)
    assert disability_fault(number[:place] + wrong + number[place + 1 :]) is not None


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("11010519491231002X", "shape"),
        ("11010519491231002X4", "shape"),
        ("11010519491231002X84", "shape"),
        ("11010519491231002X15", "shape"),
        ("11010519491231002X44C1", "shape"),
        ("11010519491231002X44B", "shape"),
        ("11010519491331002X44", "birth-date"),
        ("11010519491231002044", "check-digit"),
    ],
)
def test_a_wrong_disability_certificate_is_named_by_its_fault(number: str, fault: str) -> None:
    assert disability_fault(number) == fault


@pytest.mark.parametrize("code", ["91350100M000100Y4", "91350100I000100Y43", "9135A100M000100Y43"])
def test_a_credit_code_of_the_wrong_shape_is_refused(code: str) -> None:
    assert credit_fault(code) == "shape"


def test_levels_and_scopes_follow_the_code() -> None:
    codes = ["0", "37", "3701", "370102", "370102001", "370102001001"]
    levels = ["nation", "province", "city", "county", "township", "village"]
    assert [level_of(code) for code in codes] == levels
    assert within("370102001", "3701")
    assert within("370102", "0")
    assert not within("370202", "3701")
    for wrong in ("", "3", "37010", "37x1", "3701021"):
        with pytest.raises(ValueError, match="division code"):
            level_of(wrong)
