"""The bytes of pgoutput become values, byte for byte."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.capture.pgoutput import (
    EPOCH,
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Reading,
    Relation,
    Truncate,
    Update,
    decode,
    inserted,
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


#: Of a table with a key, a flag, and between them a column nobody needs.
READINGS: dict[int, Reading] = {
    7: Reading([("id", None), (None, None), ("alive", lambda text: text == "t")])
}


def test_a_relation_names_its_columns_types_and_identity() -> None:
    assert decode(RELATION, {}) == Relation(
        7, "office", "person", ("id", "alive"), ((25, -1), (16, -1)), frozenset({"id"})
    )


def test_transactions_and_messages() -> None:
    assert decode(b"B" + struct.pack(">qqI", 99, 5, 3), READINGS) == Begin(99, 5 + EPOCH, 3)
    assert decode(b"C" + struct.pack(">bqqq", 0, 99, 107, 5), READINGS) == Commit(99, 107)
    message = b"M" + struct.pack(">bq", 1, 99) + b"levelsync\0" + struct.pack(">I", 3) + b"a:1"
    assert decode(message, READINGS) == Message("levelsync", b"a:1")
    assert decode(b"T" + struct.pack(">IbI", 1, 0, 7), READINGS) == Truncate((7,))
    assert decode(b"Y" + b"whatever", READINGS) is None
    assert decode(b"O" + b"whatever", READINGS) is None


def test_rows() -> None:
    head = struct.pack(">I", 7)
    assert decode(b"I" + head + b"N" + row("李", "x", "t"), READINGS) == Insert(
        7, {"id": "李", "alive": True}
    )
    assert decode(b"U" + head + b"N" + row("a", False, False), READINGS) == Update(
        7, None, False, {"id": "a", "alive": UNCHANGED}
    )
    key = row("b", None, None)
    assert decode(b"U" + head + b"K" + key + b"N" + row("a", "", "f"), READINGS) == Update(
        7, {"id": "b", "alive": None}, False, {"id": "a", "alive": False}
    )
    whole = row("b", "y", "t")
    assert decode(b"U" + head + b"O" + whole + b"N" + row("a", "", None), READINGS) == Update(
        7, {"id": "b", "alive": True}, True, {"id": "a", "alive": None}
    )
    assert decode(b"D" + head + b"K" + row("a", None, None), READINGS) == Delete(
        7, {"id": "a", "alive": None}
    )


def test_text_that_is_not_utf_8_stays_bytes() -> None:
    """No contract takes it, so it becomes a dead letter. Red when the value is decoded: tried."""
    data = b"I" + struct.pack(">I", 7) + b"N" + row("x", "", "t").replace(b"x", b"\xff")
    assert decode(data, READINGS) == Insert(7, {"id": b"\xff", "alive": True})


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(data, READINGS)


@given(st.integers(1, 60))
def test_a_message_that_is_cut_is_refused(length: int) -> None:
    whole = b"I" + struct.pack(">I", 7) + b"N" + row("x" * 50, "", "t")
    with pytest.raises(ValueError, match="pgoutput"):
        decode(whole[:length], READINGS)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES = st.lists(
    TEXTS | st.integers(200, 70_000).map("x".__mul__) | st.sampled_from(["", "t", None, False]),
    max_size=6,
)


@given(VALUES, st.lists(st.booleans(), min_size=6, max_size=6), st.booleans())
def test_a_row_reads_the_same_whichever_way_is_short_enough(
    values: list[str | bool | None], needed: list[bool], turned: bool
) -> None:
    """Texts of every length, empty, null and unchanged ones beside each other, with what could be
    taken for the beginning of a column in them, and columns nobody needs. Red when the last column is
    taken for a field where nobody needs it: tried."""
    convert = str.upper if turned else None
    names = [f"c{number}" if needed[number] else None for number in range(len(values))]
    readings = {7: Reading([(name, convert) for name in names])}
    told = {
        name: UNCHANGED
        if value is False
        else value.upper()
        if turned and isinstance(value, str)
        else value
        for name, value in zip(names, values, strict=True)
        if name is not None
    }
    message = b"I" + struct.pack(">I", 7) + b"N" + row(*values)
    assert decode(message, readings) == Insert(7, told)
    quickly = inserted(message, readings)
    texts = all(isinstance(value, str) and len(value) < 65_536 for value in values)
    assert quickly == (told if texts and values else None)
    assert inserted(b"D" + message[1:], readings) is None
