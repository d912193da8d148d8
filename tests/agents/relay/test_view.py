"""What goes into a view, and what a view remembers."""

from pathlib import Path

import pytest

from agents.base.stream import Record
from agents.base.watermark import Watermark
from agents.kafka.ends import End
from agents.relay.terms import Rule, Terms
from agents.relay.view import Members, View
from contracts.envelope import Event, header, headers_of
from contracts.subjects import CONTRACTS

ORIGIN = "/37/resident.v2"


def record(key: str, scope: str | None, source: str = ORIGIN, offset: int = 0) -> Record:
    """A change of ``key`` to a record in ``scope``, or its deletion."""
    value = None if scope is None else b"{}"
    kind = "resident.v2.deleted" if scope is None else "resident.v2.changed"
    event = Event(key, value, f"id-{offset}", source, kind, 0, "resident.v2/2.0", "1", scope or "")
    return Record(offset, 0, key.encode(), value, tuple(headers_of(event)))


@pytest.fixture
async def view(tmp_path: Path) -> View:
    rule = Rule(Terms(scope="370102"), CONTRACTS["resident.v2"], to="370102")
    made = View("resident.v2", rule, tmp_path / "v.sqlite")
    made._members.start(0, "s", -1)
    return made


def passed(view: View, *records: Record) -> list[str]:
    """``+`` for what goes on, ``-`` for a deletion, ``.`` for nothing."""
    verdicts = []
    for entry in records:
        out = view.take(0, entry)
        verdicts.append("." if out is None else "-" if out.value is None else "+")
    return verdicts


async def test_only_records_of_the_scope_go_in(view: View) -> None:
    verdicts = passed(view, record("a", "370102001"), record("b", "370103001"))
    assert verdicts == ["+", "."]


async def test_a_record_that_moves_away_is_deleted_once(view: View) -> None:
    moved = [record("a", "370102001"), record("a", "370103001"), record("a", "370103002")]
    assert passed(view, *moved) == ["+", "-", "."]


async def test_a_record_that_moves_in_and_out_and_in_follows(view: View) -> None:
    ways = [record("a", scope) for scope in ("370103001", "370102001", "370103001", "370102002")]
    assert passed(view, *ways) == [".", "+", "-", "+"]


async def test_a_key_that_never_was_in_it_never_appears_even_as_a_deletion(
    view: View,
) -> None:
    assert passed(view, record("b", "370103001"), record("b", None)) == [".", "."]


async def test_a_deletion_does_not_say_where_the_record_went(view: View) -> None:
    passed(view, record("a", "370102001"))
    gone = view.take(0, record("a", "370103001"))
    assert gone is not None
    headers = list(gone.headers)
    assert b"370103" not in b"".join(value for _, value in headers)
    assert header(headers, "ce_type") == b"resident.v2.deleted"
    assert header(headers, "ce_id") == b"id-0"


async def test_the_deletion_by_a_former_owner_does_not_delete_the_new_owners_record(
    view: View,
) -> None:
    old, new = "/370101/resident.v2", "/370102/resident.v2"
    verdicts = passed(
        view,
        record("a", "370102001", old),
        record("a", "370102001", new),
        record("a", None, old),
        record("a", None, new),
    )
    assert verdicts == ["+", "+", ".", "-"]


def test_members_are_on_disk_as_of_the_watermark_and_not_later(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    members = Members(path)
    members.start(0, "s", -1)
    members.put(0, b"a", b"x")
    stands = members.marking(0)
    members.put(0, b"b", b"x")
    stands(10)
    assert (members.source(0, b"a"), members.source(0, b"b")) == (b"x", b"x")
    members.close()

    again = Members(path)
    assert again.start(0, "s", 15) == 10
    assert (again.source(0, b"a"), again.source(0, b"b")) == (b"x", b"")


def test_members_of_a_frozen_watermark_are_seen_before_it_stands(tmp_path: Path) -> None:
    members = Members(tmp_path / "m.sqlite")
    members.start(0, "s", -1)
    members.put(0, b"a", b"x")
    members.marking(0)
    members.put(0, b"b", b"x")
    members.marking(0)
    assert (members.source(0, b"a"), members.source(0, b"b")) == (b"x", b"x")


@pytest.mark.parametrize(("stream", "offset"), [("other", 20), ("s", 5)])
def test_members_of_another_life_or_of_later_are_forgotten(
    tmp_path: Path, stream: str, offset: int
) -> None:
    path = tmp_path / "m.sqlite"
    members = Members(path)
    members.start(0, "s", -1)
    members.put(0, b"a", b"x")
    members.marking(0)(10)
    members.close()
    again = Members(path)
    assert again.start(0, stream, offset) == 0
    assert again.source(0, b"a") == b""


def test_an_empty_view_needs_no_reading(tmp_path: Path) -> None:
    members = Members(tmp_path / "n.sqlite")
    mark = Watermark("s", 1, 0, 0, {})
    assert members.start(0, mark.stream, End(mark, 0, set(), 0).offset) == 0


def test_what_spares_asking_the_disk_forgets_no_key_however_many(tmp_path: Path) -> None:
    members = Members(tmp_path / "m.sqlite")
    members.start(0, "s", -1)
    keys = [b"key-%d" % number for number in range(70_000)]
    for key in keys:
        members.put(0, key, b"x")
    members.marking(0)(10)
    assert all(members.source(0, key) == b"x" for key in keys)
    members.close()
    again = Members(tmp_path / "m.sqlite")
    again.start(0, "s", 10)
    assert all(again.source(0, key) == b"x" for key in keys)
    assert not any(again.source(0, b"other-%d" % number) for number in range(1_000))
