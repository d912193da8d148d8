"""What a client sees of any window: the same tests for the stand-in and for a real agent."""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from agents.client import (
    Change,
    Event,
    FilePosition,
    Live,
    NotThere,
    PositionLost,
    Reset,
    Watermark,
    Window,
    blocking,
    lookup,
)
from contracts.identifiers import citizen_check
from contracts.subjects.resident import ResidentV2


class Place(Protocol):
    """A window of ``resident.v2`` that can be written to and broken; each returns when it is done."""

    @property
    def url(self) -> str: ...

    def put(self, record: dict[str, Any]) -> None: ...

    def delete(self, key: str) -> None: ...

    def cut(self) -> None:
        """Break the line."""

    def restart(self) -> None:
        """The window dies and comes back."""

    def lose(self) -> None:
        """What the feed had is gone."""


def key_of(number: int) -> str:
    """A citizen number of a person who does not exist."""
    front = f"37010220000117{number % 1000:03}"
    return front + citizen_check(front)


def resident(number: int, **fields: Any) -> dict[str, Any]:
    """A record that keeps the contract."""
    return {
        "id_number": key_of(number),
        "name": "王秀英",
        "sex": "1" if number % 2 else "2",
        "birth_date": "2000-01-17",
        "nationality": "01",
        "division_code": "370112009" if number % 2 else "370102001",
        "address_detail": "历山路1号",
        "household_no": None,
        "relation": None,
        "phone": None,
        "status": "active",
        "registered_at": "2026-04-04T03:03:30Z",
        **fields,
    }


Events = AsyncGenerator[Event[Any], None]


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Window]:
    async with Window(place.url, patience=20.0) as window:
        yield window


async def until(events: Events, kind: type, count: int = 1) -> list[Any]:
    """The next ``count`` events of ``kind``, the last of them and all before it but watermarks."""
    found: list[Any] = []
    async with asyncio.timeout(60):
        while count:
            event = await anext(events)
            count -= isinstance(event, kind)
            if not isinstance(event, Watermark) or kind is Watermark:
                found.append(event)
    return found


class Suite:
    """Tests of a fixture ``place``."""

    async def test_a_record_is_found_as_its_class_and_as_a_dict(self, place: Place) -> None:
        place.put(resident(1, name="李丽"))
        typed = await lookup(ResidentV2, key_of(1), url=place.url)
        assert typed.record
        assert (typed.record.name, typed.record.birth_date.year) == ("李丽", 2000)
        assert typed.complete_as_of
        assert typed.time
        plain = await lookup("resident.v2", key_of(1), url=place.url)
        assert plain.record
        assert plain.record["birth_date"] == "2000-01-17"

    async def test_a_missing_record_is_none_and_says_as_of_when(self, place: Place) -> None:
        place.put(resident(1))
        found = await lookup("resident.v2", "370102190001010000", url=place.url)
        assert found.record is None
        assert found.complete_as_of

    async def test_a_contract_that_is_not_there_is_an_error(self, place: Place) -> None:
        async with opened(place) as window:
            with pytest.raises(NotThere, match=r"Expected one of resident\.v2"):
                await window.lookup("resident.v9", "x")
            with pytest.raises(NotThere, match=r"got `resident\.v9`"):
                await anext(window.subscribe("resident.v9"))

    async def test_records_come_page_by_page(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(7):
            place.put(resident(number))
        monkeypatch.setattr("agents.client.window.PAGE", 3)
        async with opened(place) as window:
            found = [each async for each in window.records(ResidentV2)]
            keys = [each.key for each in found]
            assert keys == sorted({key_of(number) for number in range(7)})
            here = [each.key async for each in window.records("resident.v2", scope="370112")]
            assert here == [each.key for each in found if each.scope.startswith("370112")]
            (row,) = await window.contracts()
            assert (row["name"], row["records"]) == ("resident.v2", 7)

    async def test_the_feed_is_the_state_and_then_every_change(self, place: Place) -> None:
        place.put(resident(1))
        place.put(resident(2))
        async with (
            opened(place) as window,
            contextlib.aclosing(window.subscribe(ResidentV2)) as events,
        ):
            begin, one, two, live = await until(events, Live)
            assert begin == Reset("asked")
            assert {one.record.id_number, two.record.id_number} == {key_of(1), key_of(2)}
            assert (one.op, one.state, one.token) == ("put", True, None)
            place.put(resident(1, name="李丽"))
            place.delete(key_of(2))
            put, gone = await until(events, Change, 2)
            assert (put.op, put.key, put.record.name, put.state) == (
                "put",
                key_of(1),
                "李丽",
                False,
            )
            assert (gone.op, gone.key, gone.record) == ("delete", key_of(2), None)
            assert gone.token != put.token != live.token
            mark = (await until(events, Watermark))[-1]
            assert mark.complete_as_of
            assert (mark.contract, mark.state) == ("resident.v2", "running")

    async def test_from_now_on_nothing_is_lost_to_a_cut_before_the_first_change(
        self, place: Place
    ) -> None:
        place.put(resident(1))
        async with (
            opened(place) as window,
            contextlib.aclosing(window.subscribe("resident.v2", from_="now")) as events,
        ):
            assert [type(each) for each in await until(events, Live)] == [Live]
            await until(events, Watermark)
            place.cut()
            place.put(resident(2))
            (change,) = await until(events, Change)
            assert (change.key, change.state) == (key_of(2), False)

    async def test_killed_at_random_the_feed_is_equal_to_the_records_and_nothing_comes_twice(
        self, place: Place, tmp_path: Path
    ) -> None:
        chance, done = random.Random(7), threading.Event()
        truth: dict[str, dict[str, Any]] = {}

        def write() -> None:
            for number in range(60):
                record = resident(chance.randrange(20), name="王" * chance.randrange(1, 9))
                if number % 5 == 4 and truth:
                    gone = chance.choice(sorted(truth))
                    place.delete(gone)
                    del truth[gone]
                else:
                    place.put(record)
                    truth[record["id_number"]] = record
                time.sleep(0.05)
                if number % 15 == 14:
                    place.restart()
                elif number % 7 == 6:
                    place.cut()
            done.set()

        mine: dict[str, dict[str, Any]] = {}
        told: list[str] = []
        position = FilePosition(tmp_path / "position")
        begun = 0
        writing = asyncio.create_task(asyncio.to_thread(write), name="write")
        try:
            async with asyncio.timeout(100):
                while not (done.is_set() and mine == truth):
                    # The subscriber dies as well, every now and then, and has only what it saved.
                    begun += 1
                    await self._follow(place, position, mine, told, chance.randrange(5, 20))
        finally:
            await writing
        assert mine == truth
        assert len(told) == len(set(told)), "a change was told twice"
        assert begun > 3

    @staticmethod
    async def _follow(
        place: Place, position: FilePosition, mine: dict[str, Any], told: list[str], count: int
    ) -> None:
        async with (
            opened(place) as window,
            contextlib.aclosing(window.subscribe("resident.v2", position=position)) as events,
        ):
            async for event in events:
                match event:
                    case Reset():
                        mine.clear()
                    case Change(op="put", record=record):
                        assert record
                        mine[event.key] = record
                    case Change():
                        mine.pop(event.key, None)
                if isinstance(event, Change) and not event.state:
                    told.append(event.id)
                # Never in the middle of a change: it counts as handled when we come back.
                count -= 1
                if count <= 0 and isinstance(event, Watermark):
                    return

    async def test_a_position_that_was_lost_is_raised_or_begins_with_the_state(
        self, place: Place
    ) -> None:
        place.put(resident(1))
        async with opened(place) as window:
            events = window.subscribe("resident.v2")
            *_, live = await until(events, Live)
            await events.aclose()
            place.lose()
            with pytest.raises(PositionLost, match="on_gap") as caught:
                await until(window.subscribe("resident.v2", after=live.token), Live)
            assert caught.value.token == live.token
            events = window.subscribe("resident.v2", after=live.token, on_gap="state")
            reset, change, again = await until(events, Live)
            assert (reset, change.key) == (Reset("gap"), key_of(1))
            assert again.token != live.token
            await events.aclose()

    def test_scripts_without_an_event_loop_see_the_same(self, place: Place) -> None:
        place.put(resident(1))
        with blocking.Window(place.url, patience=20.0) as window:
            found = window.lookup(ResidentV2, key_of(1))
            assert found.record
            assert found.record.name == "王秀英"
            assert [each.key for each in window.records("resident.v2")] == [key_of(1)]
            events = window.subscribe("resident.v2")
            assert [type(next(events)) for _ in range(3)] == [Reset, Change, Live]
            place.restart()
            place.put(resident(2))
            assert _next_change(events).key == key_of(2)
            events.close()
        assert _next_change(blocking.subscribe("resident.v2", url=place.url)).state


def _next_change(events: Iterator[Event[Any]]) -> Change[Any]:
    return next(each for each in events if isinstance(each, Change))
