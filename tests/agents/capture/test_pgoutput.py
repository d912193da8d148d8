"""The bytes of pgoutput become values, byte for byte."""

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.capture.pgoutput import (
    CONVERT,
    EPOCH,
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Relation,
    Truncate,
    Update,
    decode,
)

RELATION = (
    b"R" + struct.pack(">I", 7) + b"office\0person\0" + b"d" + struct.pack(">H", 2)
    + b"\1id\0" + struct.pack(">Ii", 25, -1) + b"\0alive\0" + struct.pack(">Ii", 16, -1)
)  # fmt: skip


def row(*values: str | bool | None) -> bytes:
    """Tuple data; False stands for an unchanged large column."""
    data = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            data += b"n"
        elif value is False:
            data += b"u"
        else:
            text = str(value).encode()
            data += b"t" + struct.pack(">I", len(text)) + text
    return data


@pytest.fixture
def relations() -> dict[int, Relation]:
    known: dict[int, Relation] = {}
    decode(RELATION, known)
    return known


def test_a_relation_names_its_columns_and_types(relations: dict[int, Relation]) -> None:
    assert relations[7] == Relation(7, "office.person", ("id", "alive"), (25, 16))


def test_transactions_and_messages(relations: dict[int, Relation]) -> None:
    assert decode(b"B" + struct.pack(">qqI", 99, 5, 3), relations) == Begin(99, 5 + EPOCH, 3)
    assert decode(b"C" + struct.pack(">bqqq", 0, 99, 107, 5), relations) == Commit(99, 107)
    message = b"M" + struct.pack(">bq", 1, 99) + b"levelsync\0" + struct.pack(">I", 3) + b"a:1"
    assert decode(message, relations) == Message("levelsync", b"a:1")
    assert decode(b"T" + struct.pack(">IbI", 1, 0, 7), relations) == Truncate((7,))
    assert decode(b"Y" + b"whatever", relations) is None
    assert decode(b"O" + b"whatever", relations) is None


def test_rows(relations: dict[int, Relation]) -> None:
    head = struct.pack(">I", 7)
    assert decode(b"I" + head + b"N" + row("李", "t"), relations) == Insert(7, ["李", True])
    assert decode(b"U" + head + b"N" + row("a", False), relations) == Update(
        7, None, False, ["a", UNCHANGED]
    )
    assert decode(b"U" + head + b"K" + row("b", None) + b"N" + row("a", "f"), relations) == Update(
        7, ["b", None], False, ["a", False]
    )
    assert decode(b"U" + head + b"O" + row("b", "t") + b"N" + row("a", None), relations) == Update(
        7, ["b", True], True, ["a", None]
    )
    assert decode(b"D" + head + b"K" + row("a", None), relations) == Delete(7, ["a", None])


@pytest.mark.parametrize(
    ("oid", "text", "value"),
    [
        (16, "t", True),
        (16, "f", False),
        (17, "\\x00ff", "AP8="),
        (1184, "2024-05-01 02:00:00.5+00", "2024-05-01 02:00:00.5Z"),
        (1184, "infinity", "infinity"),
        (3802, '{"a": [1, null]}', {"a": [1, None]}),
        (1009, '{a,"b,c",NULL,"NULL","d\\"e",""}', ["a", "b,c", None, "NULL", 'd"e', ""]),
        (1009, "{}", []),
        (1007, "{1,2}", ["1", "2"]),
        (1007, "{{1},{2}}", "{{1},{2}}"),
    ],
)
def test_values_that_are_not_their_own_text(oid: int, text: str, value: Any) -> None:
    assert CONVERT[oid](text) == value


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_and_nothing_else_happens(data: bytes) -> None:
    known = {7: Relation(7, "office.person", ("id", "alive"), (25, 16))}
    with contextlib.suppress(ValueError):
        decode(data, known)


@given(st.integers(1, 68))
def test_a_message_that_is_cut_is_refused(length: int) -> None:
    """Red when the length of a text is not compared with the one before it: tried."""
    known: dict[int, Relation] = {}
    decode(RELATION, known)
    whole = b"I" + struct.pack(">I", 7) + b"N" + row("x" * 50, "t")
    with pytest.raises(ValueError, match="pgoutput"):
        decode(whole[:length], known)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES = st.lists(
    TEXTS | st.integers(200, 70_000).map("x".__mul__) | st.sampled_from(["", "t", None, False]),
    max_size=6,
)


@given(VALUES)
def test_a_row_reads_the_same_whichever_way_is_short_enough(
    values: list[str | bool | None],
) -> None:
    """Texts of every length, empty, null and unchanged ones beside each other, with what could be
    taken for the beginning of a column in them."""
    names = tuple(f"c{number}" for number in range(len(values)))
    known = {7: Relation(7, "office.person", names, (25,) * len(values))}
    told = [UNCHANGED if value is False else value for value in values]
    assert decode(b"I" + struct.pack(">I", 7) + b"N" + row(*values), known) == Insert(7, told)
