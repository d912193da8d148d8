"""Accesses are written down in a chain of which nothing can be changed, removed or swapped unseen."""

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.base.outgoing import Outgoing, OutgoingFull
from agents.kafka.accesses import Access, Chains, looks_at, verified
from agents.window.answers import Problem
from agents.window.journal import ChainedJournal
from agents.window.rights import MACHINE, Visitor
from contracts.check import Checker
from contracts.subjects import CONTRACTS
from contracts.subjects.access import ACCESS, hash_of

CLERK = Visitor("clerk", "李芳", purpose="窗口办事核验")


def journal_in(folder: Path, most: int = 10_000) -> ChainedJournal:
    return ChainedJournal(Outgoing(folder / "outgoing.sqlite"), "370102", CONTRACTS, most)


def written(journal: ChainedJournal) -> list[dict[str, Any]]:
    """What was put on its way, as the capture passes it on."""
    checker = Checker(ACCESS)
    waiting = journal._outgoing.after(ACCESS.name, 0, 10_000)
    return [msgspec.json.decode(checker.accept(each.value or b"").value) for each in waiting]


def standing(records: list[dict[str, Any]], *, old: bool = False) -> list[Access]:
    return [Access("access.v1", offset, each, old) for offset, each in enumerate(records)]


def chain(folder: Path, length: int = 6) -> list[dict[str, Any]]:
    journal = journal_in(folder)
    for number in range(length):
        journal.tell(CLERK, "look-up", "resident.v2", f"key-{number}")
        journal.flush()
    return written(journal)


def test_looks_of_one_reader_at_one_contract_are_one_record_and_all_hang_together(
    tmp_path: Path,
) -> None:
    journal = journal_in(tmp_path)
    for number in range(1_200):
        journal.tell(CLERK, "look-up", "resident.v2", f"key-{number}")
    journal.tell(CLERK, "page", "resident.v2", "scope=370102001")
    journal.tell(MACHINE, "look-up", "division.v1", "37")
    journal.flush()
    records = written(journal)
    assert [(each["who"], each["action"], len(each["what"])) for each in records] == [
        ("李芳", "look-up", 500), ("李芳", "look-up", 500), ("李芳", "look-up", 200),
        ("李芳", "page", 1), ("this machine", "look-up", 1),
    ]  # fmt: skip
    assert [each["what"][0]["what"] for each in records[:3]] == ["key-0", "key-500", "key-1000"]
    assert verified(standing(records)) == []
    journal.flush()
    assert len(written(journal)) == 5


def test_a_chain_goes_on_after_a_restart_and_a_new_one_is_told_where_the_state_is_lost(
    tmp_path: Path,
) -> None:
    first = chain(tmp_path, 2)
    journal = journal_in(tmp_path)
    journal.tell(CLERK, "look-up", "resident.v2", "later")
    journal.flush()
    records = written(journal)
    assert records[:2] == first
    assert verified(standing(records)) == []
    (tmp_path / "other").mkdir()
    records += chain(tmp_path / "other", 2)
    [found] = verified(standing(records))
    assert (found.note, found.offset) == (True, 3)


@pytest.mark.parametrize(
    ("tamper", "offset", "said"),
    [
        (lambda records: records[2].update(who="nobody"), 2, "was changed"),
        (lambda records: records[2]["what"].clear(), 2, "was changed"),
        (lambda records: records.pop(2), 2, "records 3 to 3 are missing"),
        (lambda records: records.pop(0), 0, "records 1 to 1 are missing"),
        (lambda records: records.insert(2, records.pop(3)), 2, "records 3 to 3 are missing"),
    ],
)
def test_what_was_changed_removed_or_swapped_is_found(
    tmp_path: Path, tamper: Any, offset: int, said: str
) -> None:
    records = chain(tmp_path)
    tamper(records)
    found = verified(standing(records))
    assert (found[0].offset, said in found[0].why) == (offset, True), found
    assert all(not each.note for each in found)


def test_a_record_changed_together_with_its_hash_is_found_at_the_next(tmp_path: Path) -> None:
    records = chain(tmp_path)
    records[2]["who"] = "nobody"
    records[2]["hash"] = hash_of(records[2])
    [found] = verified(standing(records))
    assert (found.offset, "another record" in found.why) == (3, True)


def test_a_tail_that_was_cut_off_is_found_where_the_nodes_state_is_at_hand(tmp_path: Path) -> None:
    records = chain(tmp_path)
    chains = Chains()
    for access in standing(records[:4]):
        assert chains.next(access) == []
    name = records[0]["chain"]
    assert chains.ended("access.v1", "370102", name, 4) == []
    [found] = chains.ended("access.v1", "370102", name, 6)
    assert found.why == "records 5 to 6 are missing"


def test_what_is_older_than_its_days_is_not_missed(tmp_path: Path) -> None:
    assert verified(standing(chain(tmp_path)[3:], old=True)) == []


def test_it_is_told_who_looked_at_one_record(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    for key in ("a", "b", "a"):
        journal.tell(CLERK, "look-up", "resident.v2", key)
    journal.tell(CLERK, "page", "resident.v2", "a")
    journal.flush()
    ever = [datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2000, 2900)]
    found = [
        look
        for access in standing(written(journal))
        for look in looks_at(access, "resident.v2", "a", *ever)
    ]
    assert [(look.who, look.what, look.purpose) for look in found] == [
        ("李芳", "a", "窗口办事核验")
    ] * 2


def test_where_nothing_can_be_written_down_peoples_data_is_not_shown_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_in(tmp_path)
    put = journal._outgoing.put

    def full(*_: Any) -> list[int]:
        raise OutgoingFull(contract=ACCESS.name, said="database or disk is full")

    journal.tell(CLERK, "look-up", "resident.v2", "before")
    monkeypatch.setattr(journal._outgoing, "put", full)
    journal.flush()
    with pytest.raises(Problem) as caught:
        journal.tell(CLERK, "look-up", "resident.v2", "refused")
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"]
    with pytest.raises(Problem):
        journal.tell(CLERK, "look-up", "of_nobody_knows_what.v1", "refused")
    journal.tell(CLERK, "look-up", "division.v1", "37")
    assert journal.refused == 2
    monkeypatch.setattr(journal._outgoing, "put", put)
    journal.flush()
    journal.tell(CLERK, "look-up", "resident.v2", "after")
    journal.flush()
    told = [each["what"] for record in written(journal) for each in record["what"]]
    assert told == ["before", "37", "after"]
    assert verified(standing(written(journal))) == []


def test_memory_is_bounded(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, most=3)
    for _ in range(3):
        journal.tell(CLERK, "look-up", "resident.v2", "k")
    with pytest.raises(Problem):
        journal.tell(CLERK, "look-up", "resident.v2", "k")
    journal.tell(CLERK, "look-up", "division.v1", "37")
    assert journal.left_out == 1
    figures = {metric.name: metric.samples[0].value for metric in journal.metrics()}
    assert figures["levelsync_accesses_waiting"] == 3
