"""Another system ends with what the store holds, wherever it or we were stopped; a fake at the port."""

import asyncio
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.base.status import Hop
from agents.window import delivery
from agents.window.delivery import Delivery, Position, Work
from agents.window.rights import Sight
from tests.live.out import NAME, PERMIT, Desk, permit


class Cut(Exception):
    """The line was cut."""


class Memory:
    """A system that keeps what it is told with its position, as long as it is let."""

    def __init__(self) -> None:
        self.state: dict[str, int] = {}
        self.position: Position | None = None
        self.complete = 0
        self.ids: list[str] = []
        self.written = 0
        self.fails = -1
        self.wanted: list[tuple[str, str]] = []

    async def where(self) -> Position | None:
        return self.position

    async def enter(self, work: Work) -> Collection[tuple[str, str]]:
        self.fails -= 1
        if self.fails == 0:
            raise Cut
        for item in work.items:
            self.written += 1
            if item.entry is None:
                self.state.pop(item.key, None)
            else:
                assert item.entry.seq >= self.state.get(item.key, 0)
                self.state[item.key] = item.entry.seq
        self.ids += [change.id for change in work.changes]
        self.position = work.position
        self.complete = work.complete.get(NAME, 0)
        await asyncio.sleep(0)
        wanted, self.wanted = self.wanted, []
        return wanted

    async def held(self, contract: str, after: str, limit: int) -> Sequence[str]:
        return sorted(key for key in self.state if key > after)[:limit]


class Run:
    """A desk, a system, and the delivery between them."""

    def __init__(self, folder: Path, sight: Sight | None = None) -> None:
        self.desk, self.memory = Desk(folder), Memory()
        self.hop = Hop("out", NAME, NAME, "memory")
        self.sight = sight or Sight()

    async def until(self, enough: Any, seconds: float = 5.0) -> None:
        """Deliver until ``enough()``. Raises Cut."""
        stop, desk = asyncio.Event(), self.desk
        told = Delivery(
            desk.store, desk.feed, {NAME: desk.reading}, {NAME: self.sight}, self.hop,
            lambda _: PERMIT, 0.001,
        )  # fmt: skip
        task = asyncio.create_task(told.run(self.memory, stop), name="delivery")
        async with asyncio.timeout(seconds):
            while not enough() and not task.done():
                await asyncio.sleep(0.001)
        stop.set()
        await task

    def whole(self) -> bool:
        return self.memory.complete == self.desk.reading.hop.complete

    def right(self) -> bool:
        store = self.desk.store.page(NAME, self.sight.scopes, "", 10**6)
        return self.memory.state == {entry.key: entry.seq for entry in store}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PIECE", 7)
    monkeypatch.setattr(delivery, "BEAT", 0.01)


async def test_after_cuts_anywhere_the_system_holds_what_the_store_holds(tmp_path: Path) -> None:
    run, chance = Run(tmp_path, Sight(("370102",))), random.Random(2)
    run.desk.change(100)
    for _ in range(40):
        run.memory.fails = chance.randrange(1, 12)
        with pytest.raises(Cut):
            await run.until(lambda: False)
        run.desk.change(chance.randrange(15))
    run.memory.fails = -1
    await run.until(run.whole)
    assert run.right()
    assert run.hop.lag == 0


async def test_while_the_state_is_told_changes_are_too_and_the_feed_is_not_overrun(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    run.desk.change(150)
    first = run.desk.store.last
    for _ in range(30):
        run.memory.fails = 2
        with pytest.raises(Cut):
            await run.until(lambda: False)
        run.desk.change(3)
        run.desk.store._base.execute(
            "DELETE FROM change WHERE seq <= ?", (run.desk.store.last - 20,)
        )
    run.memory.fails = -1
    await run.until(run.whole)
    assert run.right()
    told = [int(each[1:]) for each in run.memory.ids]
    assert told == list(range(first + 1, run.desk.store.last + 1))


async def test_nothing_is_told_again_without_need(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.desk.change(100)
    await run.until(run.whole)
    written = run.memory.written
    run.desk.change(5)
    await run.until(run.whole)
    assert run.memory.written - written <= 5
    assert run.memory.ids == [f"e{number}" for number in range(101, 106)]


@pytest.mark.parametrize("what", ["store", "seq", "id", "trimmed", "sight"])
async def test_a_position_that_means_nothing_here_has_all_told_and_the_rest_taken_away(
    tmp_path: Path, what: str
) -> None:
    run = Run(tmp_path)
    run.desk.change(100)
    await run.until(run.whole)
    position = run.memory.position
    assert position
    run.memory.state |= {"gone": 1, "gone too": 2}
    if what == "trimmed":
        run.desk.change(50)
        run.desk.store._base.execute("DELETE FROM change WHERE seq <= 120")
    elif what == "sight":
        run.sight = Sight(("370102001",))
    else:
        other = {"store": "another", "seq": 10_000, "id": "after a power cut"}[what]
        run.memory.position = msgspec.structs.replace(position, **{what: other})
    run.memory.complete = 0
    await run.until(run.whole)
    assert run.right()


async def test_what_is_gone_is_taken_away_only_once_the_store_holds_everything(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    run.memory.state = {"k1": 0, "k2": 0}
    run.desk.reading.hop.lag = 5
    run.desk.put("k1", permit("k1", 1, "370102001"))
    await run.until(lambda: run.memory.state["k1"] and NAME in run.hop.warnings)
    assert run.memory.state.keys() == {"k1", "k2"}
    assert "once the window itself has everything" in run.hop.warnings[NAME]
    assert run.memory.complete == 0
    run.desk.reading.hop.lag = 0
    await run.until(run.whole)
    assert run.memory.state.keys() == {"k1"}


async def test_what_the_system_wants_again_it_is_told_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.desk.put("k1", permit("k1", 1, "370102001"))
    await run.until(run.whole)
    run.memory.state.clear()
    run.memory.wanted = [(NAME, "k1")]
    await run.until(lambda: run.memory.state)
    assert run.right()


async def test_a_system_is_told_how_complete_it_is_also_when_nothing_changes(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    await run.until(run.whole)
    run.desk.reading.hop.complete += 1_000_000
    await run.until(run.whole)
    assert run.hop.complete == run.desk.reading.hop.complete
