"""What waits to be sent: in order, on disk, bounded."""

import sqlite3
from pathlib import Path

import pytest

from agents.base.outgoing import Outgoing, OutgoingFull


def test_it_waits_in_order_over_a_restart_until_it_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    first = Outgoing(path)
    first.put("a.v1", [("k1", b"1"), ("k2", None)])
    first.put("b.v1", [("k", b"2")])
    first.put("a.v1", [("k1", b"3")])
    first.close()
    again = Outgoing(path)
    assert again.id == first.id
    told = again.after("a.v1", 0, 10)
    assert [(each.key, each.value) for each in told] == [("k1", b"1"), ("k2", None), ("k1", b"3")]
    assert again.waiting("a.v1") == 3
    again.drop("a.v1", told[1].seq)
    assert [each.value for each in again.after("a.v1", 0, 10)] == [b"3"]
    assert again.waiting("a.v1") == 1
    assert again.waiting("b.v1") == 1
    again.close()


def test_a_traceparent_waits_with_its_record_and_older_files_have_none(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    outgoing = Outgoing(path)
    outgoing.put("a.v1", [("k1", b"1"), ("k2", b"2")], None, ["00-a-b-01", ""])
    assert [each.traceparent for each in outgoing.after("a.v1", 0, 9)] == ["00-a-b-01", ""]
    outgoing.close()
    base = sqlite3.connect(path)
    base.execute("ALTER TABLE waiting DROP COLUMN trace")
    base.commit()
    base.close()
    older = Outgoing(path)
    older.put("a.v1", [("k3", b"3")], None, ["00-c-d-01"])
    told = older.after("a.v1", 0, 9)
    assert [(each.key, each.traceparent) for each in told] == [
        ("k1", ""), ("k2", ""), ("k3", "00-c-d-01"),
    ]  # fmt: skip
    older.close()


def test_it_is_bounded_and_says_so(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite", most=3)
    outgoing.put("a.v1", [("k1", b"1"), ("k2", b"2")])
    with pytest.raises(OutgoingFull, match=r"a\.v1"):
        outgoing.put("a.v1", [("k3", b"3"), ("k4", b"4")])
    assert outgoing.waiting("a.v1") == 2
    outgoing.put("a.v1", [("k3", b"3")])
    outgoing.close()


def test_what_is_done_beside_it_is_undone_with_it(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")

    def also(base: sqlite3.Connection) -> None:
        base.execute("INSERT INTO meta VALUES ('chain', 'x')")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        outgoing.put("a.v1", [("k", b"1")], also)
    assert outgoing.waiting("a.v1") == 0
    assert not outgoing.after("a.v1", 0, 10)
    outgoing.close()


async def test_whoever_waits_for_news_has_them(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")
    await outgoing.news("a.v1", 0.01)
    outgoing.put("a.v1", [("k", b"1")])
    assert outgoing.after("a.v1", 0, 1)
    outgoing.close()
