"""The owner's side: received once with a deadline, answered once, and said when it is late."""

import asyncio
import datetime
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.base.config import CHINA
from agents.base.outgoing import Outgoing
from agents.base.requests import Requests
from agents.base.status import Hop
from agents.base.window import Corrections
from agents.base.workdays import Workdays
from agents.window.book import Book
from agents.window.owner import NotAnswered, Owner
from agents.window.store import Store
from contracts.subjects.correction import ANSWER, CORRECTION
from tests.agents.window.scripted import Script, start
from tests.contracts.examples import example


class Told:
    """An :class:`agents.base.freshness.Audit` that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []

    def tell(self, kind: str, contract: str, facts: Any) -> None:
        self.events.append((kind, contract, dict(facts)))


class Office:
    """An owner of ``resident.v2`` in a folder of its own; made again it is the office after a restart."""

    def __init__(self, folder: Path, *, topmost: bool = True, **table: Any) -> None:
        self.outgoing = Outgoing(folder / "outgoing.sqlite")
        self.store = Store(folder / "corrections.sqlite")
        self.book = Book(self.store, self.outgoing)
        self.audit, self.ready = Told(), True
        self.requests = Requests(folder / "requests")
        self.owner = Owner(
            Hop("answers", CORRECTION.name, "", ""),
            node="37",
            book=self.book,
            table=Corrections(**table),
            owned=frozenset({"resident.v2"}),
            topmost=topmost,
            ready=lambda: self.ready,
            requests=self.requests,
            audit=self.audit,
        )

    def arrives(self, script: Script, seed: int, state: Any, **change: Any) -> str:
        """A correction comes from below; its id."""
        record = {**example("correction.v1", seed), **change}
        script.put(record["id"], "370102", msgspec.json.encode(record))
        self.store.apply(CORRECTION.name, script.slice(), state)
        return str(record["id"])

    def told(self) -> list[Any]:
        """The answers on their way."""
        waiting = self.outgoing.after(ANSWER.name, 0, 1_000)
        return [msgspec.json.decode(each.value or b"") for each in waiting]


FROM = "correction.v1.from.3701"


def test_each_is_received_once_with_a_deadline_also_over_a_restart(tmp_path: Path) -> None:
    office = Office(tmp_path, days=3)
    name = office.arrives(Script(FROM), 1, start())
    for _ in range(2):
        office.owner._look()
    today = datetime.datetime.now(CHINA).date()
    [told] = office.told()
    assert (told["id"], told["state"], told["division"]) == (name, "received", "370102")
    assert told["due"] == Workdays().after(today, 3).isoformat()
    office.outgoing.close()
    again = Office(tmp_path)
    again.owner._look()
    assert again.told() == [told]
    assert again.owner.hop.gauges["corrections_open"] == 1


def test_what_was_received_is_known_from_the_topic_when_the_state_is_lost(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.arrives(Script(FROM), 1, start())
    office.owner._look()
    [waiting] = office.outgoing.after(ANSWER.name, 0, 10)
    script = Script(ANSWER.name)
    script.put(waiting.key, "370102", waiting.value)
    office.store.apply(ANSWER.name, script.slice(), start())
    office.outgoing.close()
    (tmp_path / "outgoing.sqlite").unlink()
    again = Office(tmp_path)
    again.owner._look()
    assert again.told() == []
    again.owner.answer(waiting.key, "accepted", "", "王芳")
    assert [each["state"] for each in again.told()] == ["accepted"]


def test_a_correction_is_answered_once_and_a_rejection_says_why(tmp_path: Path) -> None:
    office = Office(tmp_path)
    name = office.arrives(Script(FROM), 1, start())
    office.owner._look()
    for state, note, said in (
        ("rejected", " ", "why it is rejected"),
        ("perhaps", "", "`accepted` or `rejected`"),
        ("accepted", "长" * 2_001, "at most 2000"),
    ):
        with pytest.raises(NotAnswered, match=said):
            office.owner.answer(name, state, note, "王芳")
    office.owner.answer(name, "accepted", "已改", "王芳")
    with pytest.raises(NotAnswered, match="answered before"):
        office.owner.answer(name, "rejected", "不", "王芳")
    with pytest.raises(NotAnswered, match="no correction"):
        office.owner.answer("another", "accepted", "", "王芳")
    assert [each["state"] for each in office.told()] == ["received", "accepted"]


def test_what_has_no_owner_above_is_rejected_by_the_topmost_node_alone(tmp_path: Path) -> None:
    for topmost in (False, True):
        office = Office(tmp_path / str(topmost), topmost=topmost)
        name = office.arrives(Script(FROM), 1, start(), contract="business_licence.v1")
        office.owner._look()
        office.owner._look()
        assert [(each["state"], "upwards only" in each["note"]) for each in office.told()] == (
            [("rejected", True)] if topmost else []
        )
        with pytest.raises(NotAnswered, match="not this node's"):
            office.owner.answer(name, "accepted", "", "王芳")


def test_what_is_late_is_said_once_to_the_audit_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(tmp_path)
    name = office.arrives(Script(FROM), 1, start())
    office.owner._look()
    assert office.owner.hop.warnings == {}
    later = time.time() + 60 * 24 * 3600
    monkeypatch.setattr("time.time", lambda: later)
    for _ in range(2):
        office.owner._look()
    [(kind, contract, facts)] = office.audit.events
    assert (kind, contract, facts["correction"]) == (
        "levelsync.correction.overdue", "resident.v2", name,
    )  # fmt: skip
    assert office.owner.hop.gauges["corrections_overdue"] == 1
    assert "1 corrections were not answered" in office.owner.hop.warnings["overdue"]
    office.owner.answer(name, "accepted", "", "王芳")
    office.owner._look()
    assert office.owner.hop.gauges["corrections_overdue"] == 0
    assert "overdue" not in office.owner.hop.warnings


def test_a_year_whose_holidays_are_not_known_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.base.workdays.LAST_YEAR", 2020)
    office = Office(tmp_path)
    office.arrives(Script(FROM), 1, start())
    office.owner._look()
    assert "chinesecalendar" in office.owner.hop.warnings["calendar"]


async def test_nothing_is_received_before_what_was_answered_is_known(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.ready = False
    office.arrives(Script(FROM), 1, start())
    stop = asyncio.Event()
    task = asyncio.create_task(office.owner.run(stop), name="owner")
    await asyncio.sleep(0.6)
    assert office.told() == []
    office.ready = True
    async with asyncio.timeout(10):
        while not office.told():
            await asyncio.sleep(0.05)
    request = office.requests.ask("corrections", CORRECTION.name, id="", all=False)
    async with asyncio.timeout(10):
        while (answer := office.requests.answer_to(request)) is None:
            await asyncio.sleep(0.05)
    assert [each["state"] for each in answer.facts["corrections"]] == ["received"]
    stop.set()
    await task


def test_metrics_tell_corrections_by_the_contract_they_are_about(tmp_path: Path) -> None:
    office, script, state = Office(tmp_path), Script(FROM), start()
    filed = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=30)
    about = {"contract": "resident.v2", "filed_at": filed.isoformat().replace("+00:00", "Z")}
    first = office.arrives(script, 1, state, **about)
    office.arrives(script, 2, state, **about)
    office.owner._look()
    office.owner.answer(first, "accepted", "", "a clerk")
    office.owner._look()
    told = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for metric in office.owner.metrics()
        for sample in metric.samples
    }
    assert told["levelsync_corrections_open", "resident.v2"] == 1
    assert told["levelsync_corrections_overdue", "resident.v2"] == 0
    assert told["levelsync_corrections_answered_total", "accepted", "resident.v2"] == 1
    assert told["levelsync_corrections_answered_total", "rejected", "resident.v2"] == 0
    answered = "levelsync_correction_answer_seconds_bucket"
    assert told[answered, "86400", "resident.v2"] == 0, "more than a day"
    assert told[answered, "172800", "resident.v2"] == 1
    assert first not in str(told)
