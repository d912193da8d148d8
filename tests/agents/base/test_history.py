"""What each hop did is kept minute by minute, survives kills, and costs nothing else when it cannot be."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.base.figures import Figures, bucket_of, edge
from agents.base.history import (
    KEPT,
    MINUTES_KEPT,
    History,
    Looks,
    Series,
    keep_history,
    read_history,
)
from agents.base.status import Status
from contracts.subjects import CONTRACTS

SERIES = Series("window", "resident.v2", "resident.v2.from.3701", "window")
#: 2026-11-02 00:00 in China.
DAY = 1_793_548_800


def figures(age: float, seconds: int = 60, events: int = 1) -> Figures:
    made = Figures(events=events)
    made.look(True, age, 5.0, seconds)
    return made


def kept(path: Path, since: float = 0, until: float = 1e11) -> list[tuple[int, int, Figures]]:
    return [(row.at, row.seconds, row.figures) for row in read_history(path, since, until)]


def test_an_age_lies_below_the_edge_of_its_bucket_and_not_far() -> None:
    for age in (0.0, 0.05, 0.1, 0.8, 4.99, 60.0, 86_400.0, 1e7):
        found = edge(bucket_of(age))
        assert age < found
        assert found <= max(0.1, age * 1.2)


def test_sums_say_how_much_was_kept_known_and_how_old_it_was() -> None:
    made = Figures()
    for age in (1.0, 1.0, 1.0, 9.0):
        made.look(True, age, 5.0)
    made.look(False, None, 5.0)
    assert made.availability == 4 / 5
    assert made.promise_kept == 3 / 4
    assert made.mean_age == 3.0
    assert made.age_max == made.age(0.99) == 9.0
    assert 1.0 <= (made.age(0.5) or 0) <= 1.2
    assert Figures().availability is Figures().promise_kept is Figures().age(0.5) is None


def test_what_was_not_looked_at_is_counted_neither_good_nor_bad() -> None:
    status = Status("370102", "test")
    hop = status.hop("window", "resident.v2", "", "window")
    hop.state, hop.complete = "running", int(1000 * 1e6)
    looks = Looks(status, CONTRACTS)
    for now in (1001, 1002, 1004, 1100, 1101):  # a loop that was late, then a machine that slept
        looks.look(now)
    (gathered,) = looks.taken()
    assert gathered[1].seen == 1 + 1 + 2 + 1 + 1


def test_a_part_that_began_anew_counts_from_nothing_and_an_ended_one_not_at_all() -> None:
    status = Status("3701", "test")
    hop = status.hop("link", "resident.v2", "a", "b")
    hop.events = 7
    looks = Looks(status, CONTRACTS)
    looks.look(1.0)
    assert looks.taken()[0][1].events == 7
    hop.events = 9
    looks.look(1.5)
    status.hide(hop)
    assert looks.taken()[0][1].events == 2, "what it did before it went"
    again = status.hop("link", "resident.v2", "a", "b")
    again.events, again.gaps = 3, 1
    looks.look(2.0)
    assert [(each.events, each.gaps) for _, each in looks.taken()] == [(3, 1)]
    again.state = "ended"
    looks.look(3.0)
    assert looks.taken() == []


def test_two_runs_in_one_minute_add_up(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    for age in (1.0, 9.0):
        history = History(path)
        history.write(DAY, [(SERIES, figures(age, 20, 3))])
        history.close()
    ((at, seconds, found),) = kept(path)
    assert (at, seconds) == (DAY, 60)
    assert (found.seen, found.known, found.kept, found.events) == (40, 40, 20, 6)
    assert found.age_max == 9.0


def test_minutes_become_hours_with_the_same_sums_and_old_hours_are_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.sqlite"
    history = History(path)
    for minute in range(0, 7200, 60):
        history.write(DAY + minute, [(SERIES, figures(1.0 if minute else 9.0))])
    before = Figures()
    for _, _, each in kept(path):
        before.add(each)
    history.tidy(DAY + 7200 + MINUTES_KEPT)
    rows = kept(path)
    assert [(at, seconds) for at, seconds, _ in rows] == [(DAY, 3600), (DAY + 3600, 3600)]
    after = Figures()
    for _, _, each in rows:
        after.add(each)
    assert after == before
    history.tidy(DAY + 3600 + KEPT)
    assert [at for at, *_ in kept(path)] == [DAY + 3600]


def test_of_very_many_hops_minutes_become_hours_sooner(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    history = History(path, most=90)
    for minute in range(0, 7200, 60):
        history.write(DAY + minute, [(SERIES, figures(1.0))])
    history.tidy(DAY + 7200)
    assert sorted(seconds for _, seconds, _ in kept(path)) == [60] * 60 + [3600]
    assert sum(found.seen for *_, found in kept(path)) == 7200


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    History(path).write(DAY, [(SERIES, figures(1.0))])
    assert len(kept(path)) == 1
    assert path.with_suffix(".damaged").exists()


async def test_a_history_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    status = Status("370102", "test")
    status.hop("window", "resident.v2", "", "window").state = "running"
    path = tmp_path / "state" / "history.sqlite"
    path.mkdir(parents=True)  # a folder in its place: no more can be written than on a full disk
    task = asyncio.create_task(keep_history(status, CONTRACTS, path, minute=0.05))
    async with asyncio.timeout(20):
        while "history" not in status.warnings:
            await asyncio.sleep(0.02)
        assert "cannot be written" in str(status.as_dict()["warnings"])
        path.rmdir()
        while "history" in status.warnings:
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert kept(path)


_WRITER = """
import sys, time
from pathlib import Path
from agents.base.figures import Figures
from agents.base.history import History, Series
history, minute = History(Path(sys.argv[1])), 0
while True:
    one = Figures(events=1)
    one.look(True, 1.0, 5.0, 60)
    history.write(minute, [(Series("window", "resident.v2", "", "window"), one)])
    minute += 60
    print(minute, flush=True)
"""


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout
    said = 0
    while said < 60 * 200:
        said = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    rows = kept(path)
    assert len(rows) * 60 >= said
    assert [at for at, *_ in rows] == list(range(0, len(rows) * 60, 60))
    History(path).write(10**9, [(SERIES, figures(1.0))])


def test_reading_changes_nothing_and_says_when_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with pytest.raises(FileNotFoundError):
        kept(path)
    history = History(path)
    history.write(DAY, [(SERIES, figures(1.0))])
    assert kept(path, DAY + 60) == []
    assert kept(path, DAY, DAY) == []
    assert len(kept(path, DAY, DAY + 1)) == 1
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True).execute("DELETE FROM minute")
    history.close()


def test_a_look_and_a_minute_cost_the_loop_less_than_a_heartbeat() -> None:
    """No speed is asserted on a loaded machine, only that a minute of looks at twenty hops is small."""
    status = Status("3701", "test")
    for number in range(20):
        status.hop("link", "resident.v2", "a", f"b{number}").complete = int(time.time() * 1e6)
    looks, began = Looks(status, CONTRACTS), time.process_time()
    for second in range(60):
        looks.look(time.time() + second)
    looks.taken()
    assert time.process_time() - began < 0.5
