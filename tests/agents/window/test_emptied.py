"""A contract whose grant has ended: nothing of it is kept, and whoever follows is told."""

import asyncio
from pathlib import Path

from agents.base.status import Status
from agents.base.watermark import Continuity
from agents.kafka.cluster import Cluster
from agents.window.emptied import Emptied
from agents.window.feed import Feed
from agents.window.follow import AWAY, Follow, _away_too_long
from agents.window.store import Store
from tests.agents.window.scripted import LOOSE, TOPIC, Script


def followed(store: Store, feed: Feed) -> Follow:
    return Follow(
        Status("370102001", "test"),
        contract=LOOSE,
        cluster=Cluster("127.0.0.1:1"),
        store=store,
        feed=feed,
        sources=lambda: frozenset({TOPIC}),
    )


async def test_nothing_is_kept_of_what_is_not_granted_any_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "w.sqlite")
    feed, script = Feed(store), Script()
    for key in ("a", "b"):
        script.put(key)
    script.mark()
    store.apply("resident.v2", script.slice(), Continuity(offset=0, thinned=False))
    follow = followed(store, feed)
    seen = store.last
    stop = asyncio.Event()
    task = asyncio.create_task(Emptied(follow, store, feed).run(stop), name="emptied")
    async with asyncio.timeout(5):
        while follow.hop.state != "ended":
            await asyncio.sleep(0.01)
    assert store.total("resident.v2") == 0
    assert [change.value for change in store.changes_after(seen, 10)] == [None, None]
    assert store.positions([TOPIC]) == {}, "granted again, it comes from the top"
    assert follow.shown
    stop.set()
    await task
    store.close()


def test_a_store_that_was_away_for_long_is_told_everything_again() -> None:
    """But not where upstream has stood still as long."""
    now = 1_800_000_000.0
    state = Continuity(stream="s", number=3, offset=10, thinned=False, time=int(now * 1e6))
    part = (TOPIC, 0)
    for later, ends_at, again in ((60, 20, False), (AWAY + 60, 20, True), (AWAY + 60, 10, False)):
        found = _away_too_long({part: (10, state)}, {part: (0, ends_at)}, now + later)
        assert found is again


async def test_how_complete_it_is_is_known_before_kafka_answers(tmp_path: Path) -> None:
    store = Store(tmp_path / "w.sqlite")
    script = Script()
    script.put("a")
    script.mark()
    store.apply("resident.v2", script.slice(), Continuity(offset=0, thinned=False))
    follow = followed(store, Feed(store))
    try:
        async with asyncio.timeout(0.2):
            await follow.run(asyncio.Event())
    except Exception:
        pass
    assert follow.hop.complete == store.positions([TOPIC])[TOPIC, 0][1].time > 0
    store.close()
