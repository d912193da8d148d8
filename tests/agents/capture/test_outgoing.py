"""What a node itself has to tell, as a source: each record once, whatever was lost on either side."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.base.errors import SourceMismatch
from agents.base.outgoing import Outgoing
from agents.base.requests import Requests
from agents.base.status import Hop
from agents.capture import outgoing as module
from agents.capture.outgoing import OutgoingRecords, OutgoingSource, tell_waiting
from agents.capture.published import Published
from agents.capture.source import Change, Place, Unreadable
from agents.kafka.cluster import Cluster
from contracts.subjects.correction import CORRECTION
from tests.contracts.examples import example

NAME = CORRECTION.name


def source(outgoing: Outgoing | None, folder: Path) -> OutgoingSource:
    place = Place(
        contract=CORRECTION,
        node="370102",
        state=folder,
        requests=Requests(folder / "requests"),
        published=Published(Cluster("127.0.0.1:1"), CORRECTION),
        hop=Hop("capture", NAME, "", NAME),
        outgoing=outgoing,
    )
    return OutgoingRecords(contract=NAME).source(place)


def record(seed: int) -> tuple[str, bytes]:
    found = example(NAME, seed)
    return found["id"], msgspec.json.encode(found)


async def told(made: OutgoingSource, position: Any = None, held: set[str] | None = None) -> Any:
    await made.open(position, frozenset(held or ()))
    return await made.read()


async def test_what_waits_is_told_in_order_and_forgotten_once_it_is_confirmed(
    tmp_path: Path,
) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")
    outgoing.put(NAME, [record(1), record(2), (record(1)[0], None)], None, ["00-a-b-01", "", ""])
    made = source(outgoing, tmp_path)
    found = await told(made)
    assert [(each.key, each.fields is None) for each in found.changes] == [
        (record(1)[0], False), (record(2)[0], False), (record(1)[0], True),
    ]  # fmt: skip
    assert [each.id for each in found.changes] == [f"{outgoing.id}.{n}" for n in (1, 2, 3)]
    assert [each.traceparent for each in found.changes] == ["00-a-b-01", "", ""]
    orders = [each.sequence for each in found.changes]
    assert orders == sorted(set(orders))
    assert found.complete >= found.changes[-1].time
    assert outgoing.waiting(NAME) == 3
    await made.confirm(found.position)
    assert outgoing.waiting(NAME) == 0


async def test_what_the_topic_holds_already_is_told_again_by_the_same_name(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")
    outgoing.put(NAME, [record(seed) for seed in range(3)])
    first = await told(source(outgoing, tmp_path))
    at = {"store": outgoing.id, "seq": 1}
    again = await told(source(outgoing, tmp_path), at, {f"{outgoing.id}.2"})
    assert [each.id for each in again.changes] == [each.id for each in first.changes[1:]]
    assert [each.sequence for each in again.changes] == [
        each.sequence for each in first.changes[1:]
    ]
    assert again.passed
    assert outgoing.waiting(NAME) == 2


async def test_it_has_not_passed_what_is_held_before_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENOUGH", 1)
    outgoing = Outgoing(tmp_path / "o.sqlite")
    outgoing.put(NAME, [record(seed) for seed in range(2)])
    made = source(outgoing, tmp_path)
    found = await told(made, None, {f"{outgoing.id}.2"})
    assert (found.passed, found.complete) == (False, found.changes[0].time)
    assert (await made.read()).passed


async def test_a_file_that_was_lost_is_begun_anew_with_later_sequences(tmp_path: Path) -> None:
    lost = Outgoing(tmp_path / "lost.sqlite")
    lost.put(NAME, [record(1)])
    before = await told(source(lost, tmp_path))
    outgoing = Outgoing(tmp_path / "o.sqlite")
    outgoing.put(NAME, [record(1)])
    found = await told(source(outgoing, tmp_path), before.position, {before.changes[0].id})
    assert found.passed
    assert found.changes[0].id != before.changes[0].id
    assert found.changes[0].sequence > before.changes[0].sequence


async def test_the_order_of_a_key_survives_a_clock_that_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")
    outgoing.put(NAME, [record(1)])
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000)
    outgoing.put(NAME, [record(1)])
    outgoing.close()
    again = Outgoing(tmp_path / "o.sqlite")
    again.put(NAME, [record(1)])
    found = await told(source(again, tmp_path))
    orders = [each.sequence for each in found.changes]
    assert orders == sorted(set(orders))


async def test_what_breaks_the_contract_becomes_a_dead_letter_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")
    outgoing.put(NAME, [("k", b'{"id":"k"}'), ("l", b"not json"), record(1)])
    found = await told(source(outgoing, tmp_path))
    assert [type(each) for each in found.changes] == [Unreadable, Unreadable, Change]
    assert found.changes[0].refused.rule == "required"


def test_without_a_file_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SourceMismatch):
        source(None, tmp_path)


def test_how_much_waits_is_said_and_too_long_is_an_alarm(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path / "o.sqlite")
    hop = Hop("capture", NAME, "HTTP intake", "up")
    tell_waiting(outgoing, NAME, hop)
    assert (hop.gauges["outgoing_waiting_events"], hop.trouble()) == (0, None)
    outgoing.put(NAME, [("k", None)])
    for ago, warned, alarmed in ((1, False, False), (120, True, False), (2 * 86_400, False, True)):
        moment = time.time_ns() // 1000 - ago * 1_000_000
        outgoing._base.execute("UPDATE waiting SET time = ?", (moment,))
        tell_waiting(outgoing, NAME, hop)
        assert ("outgoing" in hop.warnings, "outgoing" in hop.alarms) == (warned, alarmed)
        assert hop.gauges["outgoing_waiting_seconds"] >= ago
    assert "1 records wait to be sent up since" in (hop.trouble() or "")
    outgoing.drop(NAME, 1)
    tell_waiting(outgoing, NAME, hop)
    assert not hop.alarms
