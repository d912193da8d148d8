"""State, then every change after it; no gap, no repeat, and nobody holds up another."""

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from agents.window import feed as feed_module
from agents.window.feed import Feed, TokenRefused
from agents.window.rights import ALL, Wanted
from agents.window.store import Store
from tests.agents.window.scripted import Script, start

CONTRACT = "resident.v2"
ONE = {CONTRACT: ALL}


class Window:
    """A store and its feed, written by a script."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.feed = Feed(self.store)
        self.script = Script()
        self.state = start()

    def apply(self) -> None:
        self.feed.publish(self.store.apply(CONTRACT, self.script.slice(), self.state).changes)


@pytest.fixture
def window(tmp_path: Path) -> Window:
    return Window(tmp_path / "w.sqlite")


class Client:
    """Keeps the state a window system would, and every id it was told of."""

    def __init__(self) -> None:
        self.state: dict[str, object] = {}
        self.ids: list[str] = []
        self.token: str | None = None
        self.live = False
        self.cut = False

    async def read(self, window: Window, since: int | None, quiet: int, scope: str = "") -> None:
        """Until ``quiet`` heartbeats brought nothing."""
        pieces = window.feed.subscribe(Wanted(ONE, scope), since, beat=0.02)
        async for piece in pieces:
            if not piece:
                quiet -= 1
                if quiet <= 0:
                    break
            for token, name, data in piece:
                self.token = token or self.token
                if name == "change":
                    self.take(msgspec.json.decode(data))
                self.live |= name == "live"
                self.cut |= name == "cut"
        await pieces.aclose()

    def take(self, change: dict[str, object]) -> None:
        self.ids.append(str(change["id"]))
        if change["op"] == "delete":
            self.state.pop(str(change["key"]), None)
        else:
            self.state[str(change["key"])] = change["record"]


def records(window: Window, scope: str = "0") -> dict[str, object]:
    return {
        entry.key: msgspec.json.decode(entry.value)
        for entry in window.store.page(CONTRACT, (scope,), "", 10**6)
    }


async def test_state_then_live_under_writes_has_no_gap_and_no_repeat(window: Window) -> None:
    chance = random.Random(1)
    for number in range(3000):
        window.script.put(f"k{number:05}")
    window.apply()
    client = Client()

    async def write() -> None:
        for number in range(400):
            key = f"k{chance.randrange(4000):05}"
            if chance.random() < 0.2:
                window.script.delete(key)
            else:
                window.script.put(key, value=b'{"n":%d}' % number)
            window.apply()
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(client.read(window, None, 3))
    assert client.live
    assert client.state == records(window)
    assert len(client.ids) == len(set(client.ids))


async def test_what_comes_and_goes_while_the_state_is_told_is_told_once_or_not_at_all(
    window: Window,
) -> None:
    for number in range(1200):
        window.script.put(f"k{number:05}")
    window.apply()
    pieces = window.feed.subscribe(Wanted(ONE), None, beat=0.02)
    told = await anext(pieces)
    window.script.put("k00001", value=b'{"n":2}')  # told already
    window.script.delete("k01100")  # not told yet
    window.script.put("k01101", value=b'{"n":2}')
    window.script.put("k09999")
    window.script.delete("k09999")
    window.apply()
    async for piece in pieces:
        told += piece
        if any(name == "live" for _, name, _ in piece):
            break
    *state, live = told
    seen = [msgspec.json.decode(data) for _, name, data in state if name == "change"]
    assert [token for token, _, _ in state if token] == [], "none before it is whole"
    assert len({change["id"] for change in seen}) == len(seen) == 1200
    assert [change["key"] for change in seen if change["op"] == "delete"] == []
    assert seen[-1]["key"] == "k00001"
    window.script.put("k00002", value=b'{"n":3}')
    window.apply()
    resumed = window.feed.subscribe(Wanted(ONE), window.feed.position(live[0] or ""), beat=0.02)
    ((_, _, data),) = await anext(resumed)
    assert msgspec.json.decode(data)["key"] == "k00002"
    await pieces.aclose()
    await resumed.aclose()


async def test_a_reader_cut_at_random_ends_with_what_the_store_holds(window: Window) -> None:
    chance = random.Random(2)
    client = Client()
    await client.read(window, None, 1)
    for _ in range(100):
        for _ in range(chance.randrange(12)):
            key = f"k{chance.randrange(30)}"
            window.script.put(key, value=b'{"n":%d}' % chance.randrange(9))
        window.apply()
        assert client.token is not None
        await client.read(window, window.feed.position(client.token), chance.randrange(2))
    await client.read(window, window.feed.position(client.token or ""), 2)
    assert client.state == records(window)
    assert len(client.ids) == len(set(client.ids)) == window.store.last


async def test_what_leaves_a_scope_is_a_deletion_there(window: Window) -> None:
    client = Client()
    window.script.put("a", scope="370102001")
    window.script.put("b", scope="370103001")
    window.apply()
    reading = asyncio.create_task(client.read(window, None, 8, "370102"))
    await asyncio.sleep(0.01)
    window.script.put("a", scope="370103001")
    window.script.put("a", scope="370103002")
    window.script.put("b", scope="370102001")
    window.script.delete("b")
    window.apply()
    await reading
    assert client.state == {}
    assert len(client.ids) == 4, "a came and went, b came and went"


async def test_an_isolated_change_goes_out_at_once(window: Window) -> None:
    pieces = window.feed.subscribe(Wanted(ONE), 0, beat=5.0)
    waiting = asyncio.create_task(anext(pieces))
    await asyncio.sleep(0.05)
    window.script.put("a")
    window.apply()
    async with asyncio.timeout(0.5):
        piece = await waiting
    assert len(piece) == 1
    await pieces.aclose()


async def test_a_reader_far_behind_is_cut_with_a_word_and_others_go_on(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.window.store.FEED", 100)
    monkeypatch.setattr("agents.window.store._TRIM_EVERY", 10)
    monkeypatch.setattr(feed_module, "RING", 16)
    slow, quick = Client(), Client()
    pieces = window.feed.subscribe(Wanted(ONE), 0, beat=0.02)
    window.script.put("a")
    window.apply()
    await anext(pieces)
    reading = asyncio.create_task(quick.read(window, window.store.last, 20))
    for _ in range(60):
        for number in range(100):
            window.script.put(f"k{number}")
        window.apply()
        await asyncio.sleep(0)
    ((_, name, _),) = await anext(pieces)
    assert name == "cut"
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    await reading
    assert not quick.cut
    assert len(quick.state) == 100
    assert slow.ids == []


def test_a_token_of_another_window_or_too_old_is_refused(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.window.store.FEED", 5)
    monkeypatch.setattr("agents.window.store._TRIM_EVERY", 1)
    first = window.feed.token
    for number in range(30):
        window.script.put(f"k{number}")
    window.apply()
    assert window.feed.position(window.feed.token) == 30
    with pytest.raises(TokenRefused, match="no longer reaches"):
        window.feed.position(first)
    for wrong in ("", "x", Feed(Store(tmp_path / "other.sqlite")).token, f"{window.store.id}.31"):
        with pytest.raises(TokenRefused, match="token of this window"):
            window.feed.position(wrong)
