"""Stores of other releases, damaged ones, and one read anew beside what is shown."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from agents.window.feed import Feed, TokenRefused
from agents.window.store import Store, StoreDamaged, StoreNewer
from tests.agents.window.scripted import TOPIC, Script, start

CONTRACT = "resident.v2"
#: As the first release made them.
FIRST = """
PRAGMA journal_mode = WAL;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE record (
    contract TEXT, key TEXT, origin TEXT, scope TEXT, value BLOB, id TEXT, time INTEGER,
    sequence TEXT, source TEXT, dataschema TEXT, seq INTEGER,
    PRIMARY KEY (contract, key)
) WITHOUT ROWID;
CREATE INDEX record_scope ON record (contract, scope, key);
CREATE TABLE change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, contract TEXT, key TEXT, scope TEXT, was TEXT,
    value BLOB, id TEXT, time INTEGER, sequence TEXT, source TEXT
);
CREATE TABLE position (
    topic TEXT, partition INTEGER, next INTEGER, state BLOB, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE refused (
    contract TEXT, key TEXT, id TEXT, time INTEGER, judge TEXT, path TEXT, rule TEXT, message TEXT,
    PRIMARY KEY (contract, key)
) WITHOUT ROWID;
CREATE TABLE total (contract TEXT PRIMARY KEY, records INTEGER) WITHOUT ROWID;
INSERT INTO meta VALUES ('id', 'abcdef0123');
"""


def test_a_store_of_the_first_release_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    base, script, state = sqlite3.connect(path), Script(), start()
    base.executescript(FIRST)
    for number, key in enumerate("ab", 8):
        event = script.put(key)
        base.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (CONTRACT, key, TOPIC, event.scope, event.value, event.id, event.time,
             event.sequence, event.source, event.dataschema, number),
        )  # fmt: skip
        base.execute(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, CONTRACT, key, event.scope, "", event.value, event.id, event.time,
             event.sequence, event.source),
        )  # fmt: skip
        state.passed(number - 8, event=True)
    script.slice()
    base.execute("INSERT INTO total VALUES (?, 2)", (CONTRACT,))
    base.execute("INSERT INTO position VALUES (?, 0, 2, ?)", (TOPIC, msgspec.json.encode(state)))
    base.execute("INSERT INTO refused VALUES (?, 'a', 'i', 1, 'j', '$', 'r', 'm')", (CONTRACT,))
    base.commit()
    base.close()
    for turn in range(2):
        store = Store(path)
        assert (store.id, store.last, store.first, store.total(CONTRACT)) == ("abcdef0123", 9, 8, 2)
        assert [each.key for each in store.page(CONTRACT, ("3701",), "", 9)] == ["a", "b"]
        assert [each.seq for each in store.changes_after(7, 9)] == [8, 9]
        assert store.positions([TOPIC]) == {(TOPIC, 0): (2, state)}
        assert store.refusal(CONTRACT, "a") is not None
        feed = Feed(store)
        assert feed.position(feed.token) == feed.last
        with pytest.raises(TokenRefused):
            feed.position("abcdef0123.7")  # it does not say in which run of the window it was told
        if turn:
            script.put("a", value=b"{}")
            (change,) = store.apply(CONTRACT, script.slice(), state).changes
            assert (change.seq, change.old) == (10, b'{"n":1}')
        store.close()


def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    Store(path).close()
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(StoreNewer, match=r"found=99.*window rebuild"):
        Store(path)


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path, script = tmp_path / "w.sqlite", Script()
    store = Store(path)
    for number in range(2000):
        script.put(f"k{number:04}")
    store.apply(CONTRACT, script.slice(), start())
    store.close()
    data = bytearray(path.read_bytes())
    for at in range(4096 * 20, len(data), 4096):
        data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    damaged = Store(path)
    with pytest.raises(StoreDamaged, match="levelsync window rebuild"):
        [damaged.get(CONTRACT, f"k{number:04}") for number in range(2000)]
    for at in range(0, 2000, 7):
        script.put(f"k{at:04}")
    piece = script.slice()
    with pytest.raises(StoreDamaged):
        damaged.apply(CONTRACT, piece, start())
    damaged.close()
    path.write_bytes(b"no database at all" * 999)
    with pytest.raises(StoreDamaged, match="levelsync window rebuild"):
        Store(path)


def test_what_is_read_anew_is_shown_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    store, script = Store(path), Script()
    events = [script.put(key) for key in "abc"]
    store.apply(CONTRACT, script.slice(), start())
    feed = Feed(store)
    token = feed.token
    assert not store.rebuild(CONTRACT, [TOPIC])
    again, state = Script(), start()
    again.again(events[0])
    assert store.apply(CONTRACT, again.slice(), state).changes == []
    assert (store.total(CONTRACT), store.building(CONTRACT)) == (3, 1)
    store.close()

    store = Store(path)  # killed in the middle
    assert store.rebuild(CONTRACT, [TOPIC]), "it goes on"
    assert store.positions([TOPIC])[TOPIC, 0][0] == 1
    again.again(events[1])
    store.apply(CONTRACT, again.slice(), state)
    assert store.get(CONTRACT, "c") is not None, "what is shown is older"
    assert Feed(store).position(token) == 3
    store.rebuilt(CONTRACT)
    assert [each.key for each in store.page(CONTRACT, (), "", 9)] == ["a", "b"]
    assert (store.total(CONTRACT), store.building(CONTRACT)) == (2, None)
    with pytest.raises(TokenRefused, match="no longer reaches"):
        Feed(store).position(token)
    store.sweep()
    tables = [name for (name,) in store._base.execute("SELECT name FROM sqlite_master")]
    assert len([name for name in tables if name.startswith("record_")]) == 3
    assert not store.rebuild(CONTRACT, ["resident.v2.from.99"])
    store.abandon(CONTRACT)
    assert store.building(CONTRACT) is None
    store.forget(CONTRACT)
    assert (store.get(CONTRACT, "a"), store.positions([TOPIC])) == (None, {})
