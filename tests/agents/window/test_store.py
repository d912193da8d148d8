"""State, feed and position are one: after any kill they agree."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agents.base.errors import GapFound
from agents.base.stream import Slice, take
from agents.base.watermark import Continuity
from agents.window.store import Store, StoreFull
from tests.agents.window.scripted import TOPIC, Script, start

CONTRACT = "resident.v2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "window.sqlite")


def test_a_record_is_kept_changed_and_deleted(store: Store) -> None:
    script, state = Script(), start()
    script.put("a", value=b'{"n":1}')
    script.put("b")
    script.put("a", value=b'{"n":2}')
    script.mark()
    applied = store.apply(CONTRACT, script.slice(), state)
    assert [change.key for change in applied.changes] == ["a", "b", "a"]
    entry = store.get(CONTRACT, "a")
    assert entry is not None
    assert (entry.value, entry.seq) == (b'{"n":2}', 3)
    assert store.total(CONTRACT) == 2
    script.delete("a")
    store.apply(CONTRACT, script.slice(), state)
    assert store.get(CONTRACT, "a") is None
    assert store.total(CONTRACT) == 1


def test_a_change_keeps_what_was_there_before_it(store: Store) -> None:
    script = Script()
    script.put("a", value=b'{"n":1}')
    script.put("a", value=b'{"n":2}')
    script.delete("a")
    script.put("a", value=b'{"n":3}')
    applied = store.apply(CONTRACT, script.slice(), start())
    old = [None, b'{"n":1}', b'{"n":2}', None]
    assert [change.old for change in applied.changes] == old
    assert [change.old for change in store.changes_after(0, 10)] == old
    store.tell_again(CONTRACT)
    (gone,) = store.told_again(CONTRACT, [TOPIC])
    assert gone.old == b'{"n":3}'


def test_position_and_verification_go_on_after_opening_again(tmp_path: Path) -> None:
    script, state = Script(), start()
    script.put("a")
    script.mark()
    script.put("b")
    store = Store(tmp_path / "w.sqlite")
    store.apply(CONTRACT, script.slice(), state)
    store.close()
    again = Store(tmp_path / "w.sqlite")
    ((part, (following, saved)),) = again.positions([TOPIC]).items()
    assert part == (TOPIC, 0)
    assert (following, saved) == (3, state)
    script.mark()
    again.apply(CONTRACT, script.slice(), saved)
    assert again.id == store.id


def test_a_repeat_and_an_older_change_are_counted_and_not_applied(store: Store) -> None:
    script, state = Script(), start()
    old, new = script.put("a", value=b"1"), script.put("a", value=b"2")
    script.again(new)
    script.again(old)
    applied = store.apply(CONTRACT, script.slice(), state)
    assert (len(applied.changes), applied.repeated, applied.out_of_order) == (2, 1, 1)
    entry = store.get(CONTRACT, "a")
    assert entry is not None
    assert entry.value == b"2"


def test_a_deletion_by_another_topic_does_not_count(store: Store) -> None:
    one, other = (
        Script("business_licence.v1.from.370102"),
        Script("business_licence.v1.from.370103"),
    )
    one.put("a")
    other.put("a")
    one.delete("a")
    for script in (one, other):
        store.apply(CONTRACT, script.slice(), start())
    late = Script("business_licence.v1.from.370102")
    late.sequence = 10
    late.delete("a")
    store.apply(CONTRACT, late.slice(), start())
    assert store.get(CONTRACT, "a") is not None


def test_a_gap_applies_what_stands_before_it_and_is_found_again(store: Store) -> None:
    script, state = Script(), start()
    script.put("a")
    script.mark(count=2)
    script.put("b")
    piece = script.slice()
    with pytest.raises(GapFound):
        store.apply(CONTRACT, piece, state)
    assert store.get(CONTRACT, "a") is not None
    assert store.get(CONTRACT, "b") is None
    ((_, (following, saved)),) = store.positions([TOPIC]).items()
    assert following == 1
    piece.records = piece.records[1:]
    with pytest.raises(GapFound):
        store.apply(CONTRACT, piece, saved)


def test_pages_follow_keys_within_a_scope(store: Store) -> None:
    script = Script()
    for number in range(20):
        script.put(f"k{number:02}", scope="370102001" if number % 2 else "370103001")
    store.apply(CONTRACT, script.slice(), start())
    pages = [[entry.key for entry in page] for page in store.entries(CONTRACT, ("370102",), 4)]
    assert pages == [["k01", "k03", "k05", "k07"], ["k09", "k11", "k13", "k15"], ["k17", "k19"]]
    assert len(store.page(CONTRACT, (), "", 100)) == 20
    assert store.page(CONTRACT, ("37010",), "", 100)
    assert not store.page(CONTRACT, ("370104",), "", 100)


def test_a_full_disk_applies_nothing_and_goes_on_when_there_is_room(store: Store) -> None:
    script, state = Script(), start()
    script.put("small")
    store.apply(CONTRACT, script.slice(), state)
    pages = store._base.execute("PRAGMA page_count").fetchone()[0]
    store._base.execute(f"PRAGMA max_page_count = {pages + 2}")
    for number in range(50):
        script.put(f"k{number}", value=b'"' + b"x" * 2000 + b'"')
    script.mark()
    piece = script.slice()
    with pytest.raises(StoreFull):
        store.apply(CONTRACT, piece, state)
    assert store.total(CONTRACT) == 1
    assert state.offset == 1
    store._base.execute("PRAGMA max_page_count = 1000000")
    store.apply(CONTRACT, piece, state)
    assert store.total(CONTRACT) == 51


_WRITER = """
import sys
from pathlib import Path
from agents.window.store import Store
from tests.agents.window.scripted import Script, start
store, script, state = Store(Path(sys.argv[1])), Script(), start()
while True:
    for _ in range(7):
        script.put(f"k{script.sequence % 40}", value=str(script.sequence + 1).encode())
    script.mark()
    store.apply("resident.v2", script.slice(), state)
    print(script.sequence, flush=True)
"""


def test_after_a_kill_state_feed_and_position_agree(tmp_path: Path) -> None:
    for turn in range(3):
        path = tmp_path / f"{turn}.sqlite"
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE
        )
        assert writer.stdout
        for _ in range(30 + turn * 17):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        store = Store(path)
        ((_, (following, state)),) = store.positions([TOPIC]).items()
        events = following - state.number
        assert store.last == events
        newest = max(int(entry.value) for entry in store.page(CONTRACT, (), "", 100))
        assert newest == events
        assert [change.seq for change in store.changes_after(0, 10**6)] == list(
            range(1, events + 1)
        )


def test_what_is_told_again_changes_nothing_and_what_is_not_told_goes(store: Store) -> None:
    script, state = Script(), start()
    events = [script.put(key) for key in "abc"]
    script.mark()
    store.apply(CONTRACT, script.slice(), state)
    seen = store.last

    again, state = Script(), start()
    store.tell_again(CONTRACT)
    for each in events[:2]:
        again.again(each)
    again.mark()
    applied = store.apply(CONTRACT, again.slice(), state)
    assert (applied.changes, applied.repeated, applied.out_of_order) == ([], 0, 0)
    (gone,) = store.told_again(CONTRACT, [TOPIC])
    assert (gone.key, gone.value, gone.was) == ("c", None, "370102001")
    assert gone.sequence > events[2].sequence
    assert gone.id != events[2].id
    assert (store.total(CONTRACT), store.last) == (2, seen + 1)
    again.again(events[0])
    assert store.apply(CONTRACT, again.slice(), state).repeated == 1, "repeats count once more"


def test_the_same_event_by_another_topic_is_no_change(store: Store) -> None:
    script, state = Script(), start()
    event = script.put("a")
    store.apply(CONTRACT, script.slice(), state)
    other = Script("resident.v2.to.370102")
    other.again(event)
    store.tell_again(CONTRACT)
    assert store.apply(CONTRACT, other.slice(), start()).changes == []
    assert store.told_again(CONTRACT, [other.topic]) == []
    assert store.origins(CONTRACT) == {other.topic}, "the former topic's position is forgotten"
    script.delete("a")
    assert store.apply(CONTRACT, script.slice(), state).changes == [], "it is the other's by now"


def test_sequences_of_two_sources_are_not_compared(store: Store) -> None:
    script, state = Script(), start()
    script.sequence = 50
    script.put("a")
    script.sequence = 3
    script.source = "/370102/resident.v2"
    script.put("a", value=b'{"n":2}')
    applied = store.apply(CONTRACT, script.slice(), state)
    assert (len(applied.changes), applied.out_of_order) == (2, 0)


def test_changes_beyond_what_the_feed_keeps_are_counted_and_not_told(tmp_path: Path) -> None:
    store, script, state = Store(tmp_path / "w.sqlite", feed=10), Script(), start()
    script.put("a")
    store.apply(CONTRACT, script.slice(), state)
    for number in range(30):
        script.put(f"k{number}")
    applied = store.apply(CONTRACT, script.slice(), state, ahead=11)
    assert (applied.changes, applied.skipped) == ([], 30)
    assert (store.last, store.first, store.total(CONTRACT)) == (31, 32, 31)
    assert (store.changes_after(0, 99), store.changes_after(30, 99)) == ([], [])
    script.put("k3")  # known to be there, though nothing was looked up while all were new
    script.delete("k4")
    script.put("new")
    assert store.apply(CONTRACT, script.slice(), state, ahead=11).skipped == 3
    assert store.total(CONTRACT) == 31
    script.put("a")
    store.apply(CONTRACT, script.slice(), state)
    assert [change.seq for change in store.changes_after(store.last - 1, 99)] == [35]


def test_a_key_told_twice_while_all_are_new_is_as_it_was_told_last(tmp_path: Path) -> None:
    store, script, state = Store(tmp_path / "w.sqlite", feed=1), Script(), start()
    for turn in range(3):
        for number in range(40):
            script.put(f"k{number % 25 + turn * 5}", f"3701{turn:02}", b"%d" % (number + turn * 40))
        store.apply(CONTRACT, script.slice(), state, ahead=99)
    held = {each.key: each for each in store.page(CONTRACT, (), "", 999)}
    assert store.total(CONTRACT) == len(held) == 35
    assert held["k14"].value == b"109"
    assert len(store.page(CONTRACT, ("370100",), "", 999)) == 5


def test_several_slices_in_one_transaction_are_seen_together(tmp_path: Path) -> None:
    store, script, state = Store(tmp_path / "w.sqlite"), Script(), start()
    for key in "ab":
        script.put(key)
        store.apply(CONTRACT, script.slice(), state, more=True)
    assert (store.get(CONTRACT, "a"), store.total(CONTRACT), store.last) == (None, 0, 0)
    store.save()
    assert store.get(CONTRACT, "b") is not None
    assert (store.total(CONTRACT), store.last) == (2, 2)
    script.put("c")
    store.apply(CONTRACT, script.slice(), state, more=True)
    store.undo()
    assert (store.get(CONTRACT, "c"), store.total(CONTRACT), store.last) == (None, 2, 2)
    assert store.positions([TOPIC])[TOPIC, 0][0] == 2


_LOADER = """
import random, sys
from pathlib import Path
from agents.window.store import Store
from tests.agents.window.test_store import slices
store = Store(Path(sys.argv[1]), feed=50)
chance = random.Random()
found = store.positions(["resident.v2.from.3701"])
for number, (piece, state) in enumerate(slices()):
    if found and piece.next <= found["resident.v2.from.3701", 0][0]:
        continue
    store.apply("resident.v2", piece, state, ahead=900 - number * 2, more=chance.random() < 0.7)
    print(number, flush=True)
store.save()
print("end", flush=True)
"""


def slices() -> Iterator[tuple[Slice, Continuity]]:
    """The same changes each time, and what is known before each slice."""
    script, state, chance = Script(), start(), random.Random(7)
    for _ in range(450):
        for _ in range(chance.randrange(1, 9)):
            key = f"k{chance.randrange(120)}"
            if chance.random() < 0.2:
                script.delete(key)
            else:
                script.put(key, f"37010{chance.randrange(4)}001", b"%d" % chance.randrange(10**9))
        script.mark()
        piece, before = script.slice(), msgspec.structs.replace(state)
        for record in piece.records:
            take(record, state)
        yield piece, before


def test_killed_twenty_times_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    path, chance, ended, kills = tmp_path / "w.sqlite", random.Random(20), False, 0
    while not ended:
        loader = subprocess.Popen(
            [sys.executable, "-c", _LOADER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert loader.stdout
        lines = chance.randrange(3, 20) if kills < 20 else 10**9
        for _ in range(lines):
            line = loader.stdout.readline()
            if line in ("end\n", ""):
                ended = line == "end\n"
                break
        else:
            time.sleep(chance.random() * 0.003)
        if not ended:
            os.kill(loader.pid, signal.SIGKILL)
            kills += 1
        loader.communicate()
    killed, fresh = Store(path, feed=50), Store(tmp_path / "fresh.sqlite", feed=50)
    for number, (piece, state) in enumerate(slices()):
        fresh.apply(CONTRACT, piece, state, ahead=900 - number * 2)
    assert kills >= 20
    for one in (lambda each: each.page(CONTRACT, (), "", 10**6),
                lambda each: each.page(CONTRACT, ("370101",), "", 10**6),
                lambda each: each.changes_after(each.first - 1, 10**6),
                lambda each: each.positions([TOPIC]),
                lambda each: (each.last, each.total(CONTRACT))):  # fmt: skip
        assert one(killed) == one(fresh)
    assert fresh.total(CONTRACT) == len(fresh.page(CONTRACT, (), "", 10**6)) > 50


async def test_the_log_stays_small_however_small_the_transactions_are(
    store: Store, tmp_path: Path
) -> None:
    script, state, log = Script(), start(), tmp_path / "window.sqlite-wal"
    for number in range(2_000):
        script.put(f"k{number * 7919 % 2_000}", value=b'{"name":"%s"}' % (b"x" * 700))
        async with store.lock:
            store.apply(CONTRACT, script.slice(), state)
            store.tidy(1)
        await asyncio.sleep(0)
    assert log.stat().st_size < 32 * 1024 * 1024
