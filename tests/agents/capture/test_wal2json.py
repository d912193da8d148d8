"""The bytes of wal2json become the values that pgoutput's become."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.capture.pgoutput import (
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
)
from agents.capture.wal2json import Decoder, escaped

#: id, note, alive of ``office.person``, and a column nobody needs.
COLUMNS = [("id", "text"), ("extra", "integer"), ("note", "text"), ("alive", "boolean")]


def change(action: str, **other: Any) -> bytes:
    told = {"action": action, "schema": "office", "table": "person", **other}
    return json.dumps(told, ensure_ascii=False).encode()


def columns(**values: Any) -> list[dict[str, Any]]:
    types = dict(COLUMNS)
    return [{"name": name, "type": types[name], "value": value} for name, value in values.items()]


@pytest.fixture
def decoder() -> Decoder:
    """One that knows the table already."""
    readings: dict[int, Reading] = {}
    decoder = Decoder(readings)
    told = decoder.decode(change("I", columns=columns(id="0", extra=1, note="n", alive=True)))
    assert told == Relation(
        0, "office", "person", ("id", "extra", "note", "alive"),
        ("text", "integer", "text", "boolean"), None,
    )  # fmt: skip
    readings[0] = Reading(
        [("id", None), (None, None), ("note", None), ("alive", lambda text: text == "true")]
    )
    return decoder


def test_transactions_and_messages() -> None:
    decoder = Decoder({})
    at = {"xid": 7, "timestamp": "2000-01-01 00:00:00.000005+00"}
    begun = decoder.decode(change("B", **at, lsn="1/2A", nextlsn="1/30"))
    assert begun == Begin((1 << 32) + 0x2A, 946_684_800_000_005, 7)
    ended = decoder.decode(change("C", **at, lsn="1/2A", nextlsn="1/30"))
    assert ended == Commit((1 << 32) + 0x2A, (1 << 32) + 0x30)
    said = decoder.decode(change("M", transactional=True, prefix="levelsync", content="a:1"))
    assert said == Message("levelsync", b"a:1")
    assert decoder.decode(change("T")) == Truncate((), (("office", "person"),))


def test_rows_have_fields_and_keep_their_digits(decoder: Decoder) -> None:
    row = columns(id="a", extra=1, note='李"\\\n', alive=True)
    assert decoder.decode(change("I", columns=row)) == Insert(
        0, {"id": "a", "note": '李"\\\n', "alive": True}
    )
    number = change("I", columns=columns(id="a", extra=1, note="X", alive=None))
    number = number.replace(b'"X"', b"1234567890123456789.50")
    told = decoder.decode(number)
    assert told == Insert(0, {"id": "a", "note": "1234567890123456789.50", "alive": None})


def test_a_column_left_out_of_an_update_did_not_change(decoder: Decoder) -> None:
    """Red when it becomes null: tried."""
    keyed = decoder.decode(
        change("U", columns=columns(id="b", extra=1, alive=False), identity=columns(id="a"))
    )
    assert isinstance(keyed, Relation), "an identity was told for the first time"
    assert keyed.identity == frozenset({"id"})
    told = decoder.decode(
        change("U", columns=columns(id="b", extra=1, alive=False), identity=columns(id="a"))
    )
    assert told == Update(0, {"id": "a"}, False, {"id": "b", "note": UNCHANGED, "alive": False})


def test_a_delete_tells_the_identity_alone(decoder: Decoder) -> None:
    gone = change("D", identity=columns(id="a"))
    assert isinstance(decoder.decode(gone), Relation)
    assert decoder.decode(gone) == Delete(0, {"id": "a"})


def test_the_first_row_of_a_table_may_leave_columns_open() -> None:
    readings: dict[int, Reading] = {}
    decoder = Decoder(readings)
    updated = change("U", columns=columns(id="b", alive=False), identity=columns(id="b"))
    told = decoder.decode(updated)
    assert isinstance(told, Relation)
    assert told.columns == ("id", "alive")
    readings[0] = Reading([("id", None), ("alive", None)])
    assert decoder.decode(updated) == Update(0, {"id": "b"}, False, {"id": "b", "alive": "false"})


@pytest.mark.parametrize(
    "row",
    [
        {"id": "a", "extra": 1, "note": "n"},
        {"id": "a", "extra": 1, "note": "n", "alive": True, "more": 1},
    ],
)
def test_other_columns_are_another_table(decoder: Decoder, row: dict[str, Any]) -> None:
    told = decoder.decode(
        change(
            "I",
            columns=[
                {"name": name, "type": dict(COLUMNS).get(name, "text"), "value": value}
                for name, value in row.items()
            ],
        )
    )
    assert isinstance(told, Relation)
    assert told.columns == tuple(row)


def test_another_type_is_another_table(decoder: Decoder) -> None:
    row = columns(id="a", extra=1, note="n", alive=True)
    row[2]["type"] = "bytea"
    told = decoder.decode(change("I", columns=row))
    assert isinstance(told, Relation)
    assert told.types[2] == "bytea"


def test_names_in_the_plugins_lists_are_escaped() -> None:
    assert escaped("人.口 a,b*'\\") == "人\\.口\\ a\\,b\\*\\'\\\\"


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: change("I", columns=text)))
def test_bytes_that_are_no_message_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        Decoder({}).decode(data)
