"""Bodies of the HTTP intake as records; senders and what they may send."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.base.budget import Budget
from agents.base.config import IntakeTable, Sender
from agents.base.errors import ConfigError
from agents.base.table import sealed_token
from agents.capture.http_answer import Problem, Ticket
from agents.capture.http_desk import Desk
from agents.capture.http_parse import Item, Lines, batch, binary, line, structured
from agents.capture.ledger import Entry, Ledger, digest_of
from agents.sources import load
from contracts.rejected import Rejected

EVENT = {"specversion": "1.0", "id": "7", "source": "/a", "type": "x.changed"}


def test_lines_are_cut_wherever_the_pieces_end() -> None:
    text = b"one\ntwo\r\n\n" + b"x" * 50 + b"\nlast"
    wanted = [b"one", b"two\r", b"", None, b"last"]
    for size in range(1, len(text) + 1):
        lines = Lines(20)
        found = [
            each
            for start in range(0, len(text), size)
            for each in lines.feed(text[start : start + size])
        ]
        assert found + lines.end() == wanted, size


def test_a_line_too_long_is_never_held() -> None:
    """Red when ``Lines.feed`` waits for the end of a line, however long: tried."""
    lines = Lines(1_000)
    for _ in range(1_000):
        assert lines.feed(b"x" * 1_000) == []
        assert len(lines._rest) <= 2_000
    assert lines.feed(b"\nnext\n") == [None, b"next"]
    assert lines.end() == []
    lines.feed(b"y" * 5_000)
    assert lines.end() == [None]


def test_a_line_is_a_record_or_a_deletion() -> None:
    assert line(b'{"$delete": "7"}') == Item(None, key="7")
    assert line(b'{"a": "$delete"}') == Item(b'{"a": "$delete"}')
    # What is neither is judged as a record, and refused by its unknown field.
    assert line(b'{"$delete": "7", "b": 1}').value is not None
    with pytest.raises(Rejected):
        line(b'{"$delete": ""}')


def test_a_structured_event_says_id_key_and_time() -> None:
    said = EVENT | {"subject": "k", "time": "1970-01-01T00:00:01Z", "data": {"b": 1}, "more": 2}
    assert structured(json.dumps(said).encode()) == Item(b'{"b": 1}', "/a 7", "k", 1_000_000)
    gone = EVENT | {"subject": "k", "type": "x.deleted"}
    assert structured(json.dumps(gone).encode()) == Item(None, "/a 7", "k", None)


def test_ids_of_different_events_are_different() -> None:
    """Red when source and id are joined by what either may hold: tried with a colon."""
    one = structured(json.dumps(EVENT | {"source": "a:b", "id": "c", "data": 1}).encode())
    other = structured(json.dumps(EVENT | {"source": "a", "id": "b:c", "data": 1}).encode())
    assert one.id != other.id


def test_a_binary_event_has_its_attributes_in_headers() -> None:
    headers = {f"ce-{name}": value for name, value in EVENT.items()} | {"ce-subject": "%E5%B7%9E"}
    assert binary(headers, b"{}") == Item(b"{}", "/a 7", "州")
    with pytest.raises(Rejected) as rejected:
        binary({"ce-id": "1"}, b"{}")
    assert rejected.value.path == "ce-specversion"


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"source": "a b"}, "$.source"),
        ({"id": "x" * 600}, "$.id"),
        ({"time": "2026-01-01T00:00:00"}, "$.time"),
        ({"time": "soon"}, "$.time"),
        ({"data_base64": "eA=="}, "$.data_base64"),
        ({"datacontenttype": "text/xml"}, "$.datacontenttype"),
        ({"type": "x.deleted"}, "$.subject"),
    ],
)
def test_an_event_that_cannot_be_is_refused_by_path(changed: dict[str, str], path: str) -> None:
    with pytest.raises(Rejected) as rejected:
        structured(json.dumps(EVENT | {"data": {}} | changed).encode())
    assert rejected.value.path == path


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_context_of_an_event_is_taken_and_nonsense_is_not() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {}}
    assert structured(msgspec.json.encode({**event, "traceparent": TRACE})).traceparent == TRACE
    assert (
        structured(msgspec.json.encode({**event, "traceparent": "00-nonsense"})).traceparent == ""
    )
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"}
    assert binary({**headers, "ce-traceparent": TRACE}, b"{}").traceparent == TRACE


def test_a_batch_is_its_events() -> None:
    assert list(batch(b'[{"a":1}, 2]')) == [b'{"a":1}', b"2"]


def test_a_budget_holds_one_second_and_may_be_in_debt() -> None:
    budget = Budget(100, 0.0)
    assert budget.take(100, 0.0) == 0
    assert budget.take(50, 0.0) == 0.5
    assert budget.take(0, 0.25) == 0.25
    assert budget.take(0, 100.0) == 0
    assert budget.take(101, 100.0) > 0
    assert Budget(0, 0.0).take(10**9, 0.0) == 0


def desk(**more: Any) -> Desk:
    sender = Sender(name="a", token=sealed_token("t" * 16), contracts=("x.v1",), **more)
    return Desk(IntakeTable(sender=(sender,)), ["x.v1", "y.v1"])


@pytest.mark.parametrize(
    ("authorization", "contract", "status"),
    [
        (None, "x.v1", 401),
        ("Basic " + "t" * 16, "x.v1", 401),
        ("Bearer wrong", "x.v1", 401),
        ("Bearer " + "t" * 16, "y.v1", 403),
        ("Bearer " + "t" * 16, "z.v1", 404),
        ("bearer " + "t" * 16, "x.v1", 0),
    ],
)
def test_who_may_send_what(authorization: str | None, contract: str, status: int) -> None:
    if not status:
        assert desk().admit(authorization, contract).sender.name == "a"
        return
    with pytest.raises(Problem) as problem:
        desk().admit(authorization, contract)
    assert problem.value.status == status
    assert problem.value.response().content_type == "application/problem+json"


def test_a_sender_keeps_its_debts_and_counts_over_a_new_node_file() -> None:
    one = desk()
    guest = one.admit("Bearer " + "t" * 16, "x.v1")
    guest.events["x.v1"] += 5
    changed = Sender(name="a", token=sealed_token("u" * 16), contracts=("x.v1",))
    one.use(IntakeTable(sender=(changed,)), ["x.v1"])
    with pytest.raises(Problem):
        one.admit("Bearer " + "t" * 16, "x.v1")
    assert one.admit("Bearer " + "u" * 16, "x.v1").events["x.v1"] == 5


async def test_a_ticket_ends_when_nothing_moves_any_more() -> None:
    ticket = Ticket()
    ticket.waits()
    ticket.waits()
    asyncio.get_running_loop().call_soon(ticket.settled)
    await ticket.finish(0.05)
    assert ticket.response().status == 503
    assert json.loads(ticket.response().body)["unknown"] == 1  # type: ignore[arg-type]


def test_a_ledger_finds_what_it_wrote_and_begins_anew_when_broken(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    entry = Entry(2, 17, digest_of("k", b"{}"))
    ledger = Ledger(path, "x.v1")
    ledger.add("one", entry, 5)
    assert ledger.find("one") == entry
    ledger.close()
    again = Ledger(path, "x.v1")
    assert again.find("one") == entry
    assert again.find("two") is None
    assert again.sequence == 5
    again.close()
    path.write_bytes(b"no database" * 100)
    for left in tmp_path.glob("*-wal"):
        left.unlink()
    anew = Ledger(path, "x.v1")
    assert anew.find("one") is None
    anew.close()


def test_digests_tell_records_and_deletions_apart() -> None:
    assert digest_of("k", None) != digest_of("j", None)
    assert digest_of("k", b"k") != digest_of("k", None)


NODE = """
[node]
id = "37"
name = "n"
level = "province"
[kafka]
bootstrap = "a:1"
"""
RIGHT = """
[intake]
[[intake.sender]]
name = "hall"
token = "0123456789abcdef"
contracts = ["division.v1"]
[[source]]
kind = "http"
contract = "division.v1"
"""


def test_a_node_file_keeps_no_token(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(NODE + RIGHT)
    config = load(file)
    assert config.intake
    assert config.intake.sender[0].token == sealed_token("0123456789abcdef")
    assert "0123456789abcdef" not in repr(config)
    assert "sha256" not in repr(config)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("[intake]", '[intake]\nlisten = "127.0.0.1:8600"', "intake.listen"),
        ("[intake]", '[intake]\ncertificate = "a.pem"', "intake.key"),
        ("[intake]", "[intake]\nrecord_bytes = 99999999", "intake.record_bytes"),
        ("0123456789abcdef", "short", "intake.sender[0].token"),
        ("0123456789abcdef", "sha256:short", "intake.sender[0].token"),
        ('name = "hall"', 'name = "a b"', "intake.sender[0].name"),
        ('contracts = ["division.v1"]', 'contracts = ["birth.v1"]', "intake.sender[0].contracts"),
        (RIGHT[: RIGHT.index("[[source]]")], "", "source[0]"),
    ],
)
def test_an_intake_that_cannot_be_is_named(tmp_path: Path, old: str, new: str, path: str) -> None:
    file = tmp_path / "node.toml"
    assert old in RIGHT
    file.write_text(NODE + RIGHT.replace(old, new))
    with pytest.raises(ConfigError) as wrong:
        load(file)
    assert f"at `{path}`" in str(wrong.value)
