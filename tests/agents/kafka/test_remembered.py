"""What another's cluster told last is known also while it is away."""

from pathlib import Path
from typing import Any

from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster
from agents.kafka.remembered import RememberedBulletin
from agents.kafka.wire import Connection

CLUSTER = Cluster("127.0.0.1:1")


def scripted(monkeypatch: Any, *stands: dict[str, bytes]) -> None:
    """Each read from the top finds the next of ``stands``; none where there is no topic."""
    told = list(stands)

    async def read(self: Bulletin, connection: Connection, following: int) -> int:
        found = told.pop(0)
        for key, value in found.items():
            self.enter(key, value)
        return len(found)

    monkeypatch.setattr(Bulletin, "read", read)


async def test_it_begins_from_what_was_read_last(tmp_path: Path, monkeypatch: Any) -> None:
    scripted(monkeypatch, {"a": b"1", "b": b"2"}, {"a": b"3"}, {}, {"c": b"4"})
    path = tmp_path / "above" / "grants"
    first = RememberedBulletin(CLUSTER, "levelsync.grants", path)
    assert not first.known
    connection: Any = None
    await first.read(connection, 0)
    again = RememberedBulletin(CLUSTER, "levelsync.grants", path)
    assert (again.known, again.told) == (True, {"a": b"1", "b": b"2"})
    await again.read(connection, 0)
    assert again.told == {"a": b"3"}, "what was taken down meanwhile is not remembered"
    await again.read(connection, 0)
    assert again.told == {"a": b"3"}, "a broker that only just started says nothing"
    await again.read(connection, 7)
    assert RememberedBulletin(CLUSTER, "levelsync.grants", path).told == {"a": b"3", "c": b"4"}


def test_a_file_that_is_broken_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "grants"
    path.write_bytes(b"\xc1 not ours")
    found = RememberedBulletin(CLUSTER, "levelsync.grants", path)
    assert (found.known, found.told) == (False, {})
