"""Pages, searches and histories: what they hold, in which order, and that no table is gone through."""

import random
from pathlib import Path

import msgspec
import pytest

from agents.window.store import Entry, Store
from agents.window.store_pages import queries
from tests.agents.window.scripted import Script, start

CONTRACT = "resident.v2"


def filled(path: Path, fields: tuple[str, ...] = ("household_no",)) -> tuple[Store, Script]:
    store, script, chance = Store(path), Script(), random.Random(3)
    store.index(CONTRACT, fields)
    for number in range(600):
        scope = f"37010{chance.randrange(1, 5)}{chance.randrange(1, 9):03}"
        value = {"household_no": f"h{number % 7}", "n": number}
        script.put(f"k{number * 7919 % 600:04}", scope, msgspec.json.encode(value))
    store.apply(CONTRACT, script.slice(), start())
    return store, script


def all_of(store: Store) -> list[Entry]:
    return store.page(CONTRACT, (), "", 10**6)


@pytest.mark.parametrize(
    "scopes", [(), ("0",), ("370101",), ("370101", "370103002"), ("37",), ("99",)]
)
@pytest.mark.parametrize("match", [None, ("household_no", "h3")])
def test_pages_are_what_filtering_everything_gives(
    tmp_path: Path, scopes: tuple[str, ...], match: tuple[str, str] | None
) -> None:
    store, _ = filled(tmp_path / "w.sqlite")
    expected = [
        entry.key
        for entry in all_of(store)
        if (not scopes or "0" in scopes or entry.scope.startswith(scopes))
        and (not match or msgspec.json.decode(entry.value)["household_no"] == match[1])
    ]
    assert len(all_of(store)) == 600
    found: list[str] = []
    while page := store.page(CONTRACT, scopes, found[-1] if found else "", 17, match):
        found += [entry.key for entry in page]
    assert found == expected


def test_a_record_that_moves_or_goes_is_found_where_it_is(tmp_path: Path) -> None:
    store, script = filled(tmp_path / "w.sqlite")
    before = store.page(CONTRACT, ("370101",), "", 1000)
    moved, gone = before[0].key, before[1].key
    script.put(moved, "370199001", b'{"household_no":"new"}')
    script.delete(gone)
    store.apply(CONTRACT, script.slice(), start())
    assert [each.key for each in store.page(CONTRACT, ("370101",), "", 1000)] == [
        each.key for each in before[2:]
    ]
    assert [each.key for each in store.page(CONTRACT, ("370199",), "", 5)] == [moved]
    (found,) = store.page(CONTRACT, (), "", 5, ("household_no", "new"))
    assert found.key == moved
    assert store.total(CONTRACT) == 599


def test_fields_to_search_by_can_change_and_others_are_refused(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "w.sqlite", ())
    with pytest.raises(KeyError):
        store.page(CONTRACT, (), "", 5, ("household_no", "h3"))
    store.index(CONTRACT, ("household_no", "n"))
    assert len(store.page(CONTRACT, (), "", 1000, ("household_no", "h3"))) == 86
    assert len(store.page(CONTRACT, (), "", 1000, ("n", "77"))) == 1
    store.close()
    again = Store(tmp_path / "w.sqlite")
    again.index(CONTRACT, ("n",))
    assert len(again.page(CONTRACT, (), "", 1000, ("n", "78"))) == 1
    with pytest.raises(KeyError):
        again.page(CONTRACT, (), "", 5, ("household_no", "h3"))


def test_no_page_goes_through_a_table(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "w.sqlite")
    content = store._contents[CONTRACT]
    asked: list[str] = []
    store._reads.set_trace_callback(asked.append)
    for scopes in ((), ("370101",), ("370101002",), ("370101", "370103", "370104002")):
        for match in (None, ("household_no", "h3")):
            store.page(CONTRACT, scopes, "k0100", 20, match)
    store.get(CONTRACT, "k0001")
    store.history(CONTRACT, "k0001", 10)
    store.changes_after(3, 10)
    store._reads.set_trace_callback(None)
    assert len(asked) > 30
    for query in asked:
        if query not in ("BEGIN", "COMMIT"):
            steps = [row[3] for row in store._reads.execute(f"EXPLAIN QUERY PLAN {query}")]
            bad = [each for each in steps if "SCAN" in each and "division VIRTUAL" not in each]
            assert not bad, (query, steps)
    for query in queries(content, ("household_no", "h")):
        plan = str(store._reads.execute(
            f"EXPLAIN QUERY PLAN {query}", ("h", "", "[]", 5)[: query.count("?")]
        ).fetchall())  # fmt: skip
        assert f"{content.table}_by_household_no" in plan


def test_a_key_has_its_history_as_far_as_the_feed_reaches(tmp_path: Path) -> None:
    store, script = Store(tmp_path / "w.sqlite", feed=5), Script()
    for number in range(4):
        script.put("a", value=b'{"n":%d}' % number)
        script.put("b")
    script.delete("a")
    store.apply(CONTRACT, script.slice(), start())
    found = store.history(CONTRACT, "a", 10)
    assert [(each.seq, each.value, each.old) for each in found] == [
        (9, None, b'{"n":3}'),
        (7, b'{"n":3}', b'{"n":2}'),
        (5, b'{"n":2}', b'{"n":1}'),
    ]
    assert [each.seq for each in store.history(CONTRACT, "a", 1)] == [9]
    assert (store.first, store.since) == (5, found[-1].time)
    assert store.changes_after(3, 10) == [], "the feed does not reach back to it"
    assert len(store.changes_after(4, 10)) == 5
