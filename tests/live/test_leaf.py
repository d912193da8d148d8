"""A node without Kafka: what it is given is in its window, what it collects goes up, whatever happens."""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from agents.demo.servers import NotInstalled
from agents.kafka.wire import Connection
from contracts.envelope import Event, header
from tests.live.brokers import Behind
from tests.live.leaf import COUNTY, LEAF, UPSTREAM, Hall, Office, division, write
from tests.live.streams import Writer, ids, read_all

pytestmark = [pytest.mark.live, pytest.mark.slow]

VIEW = "division.v1.to.370102001"


@pytest.fixture
def broker(servers: Path, request: pytest.FixtureRequest) -> Iterator[Behind]:
    """The county's, with nothing on it: topics are named by their contracts."""
    server = Behind(servers / request.node.name[:60], "county")
    try:
        asyncio.run(server.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def records(*events: Event) -> dict[str, Any]:
    """What is left of ``events``, by key."""
    found: dict[str, Any] = {}
    for event in events:
        if event.value is None:
            found.pop(event.key, None)
        else:
            found[event.key] = msgspec.json.decode(event.value)
    return found


async def test_a_leaf_holds_what_it_is_granted_and_no_more_while_grants_change(
    broker: Behind, tmp_path: Path
) -> None:
    mine = [division(n) for n in range(300)]
    others = [division(n, street=2) for n in range(300)]
    async with (
        Writer(broker.near, UPSTREAM) as city,
        Office(tmp_path / "office", broker) as office,
    ):
        await write(city, mine + others)
        await office.until(LEAF, "division.v1", records(*mine))
        async with Connection(broker.near) as connection:
            before = set(await connection.topics())
        # A change, a deletion and a record that moves arrive as they do at any window.
        changes = [division(0, version=1), division(1, name="gone", version=1)]
        await write(city, changes)
        await office.until(LEAF, "division.v1", records(*mine, *changes))
        # Wider: the whole topic is read in place of the view; nothing is deleted on the way.
        stood = names(office, "370102001001")
        office.grants('scope = "0"')
        await office.until(LEAF, "division.v1", records(*mine, *changes, *others))
        assert len(names(office, "370102001001")) == len(stood) + 300
        # Narrower, by a view of other terms: what left it is deleted, the rest not touched.
        office.grants("where = \"code < '370102001100'\"")
        narrow = [each for each in mine + changes if each.key < "370102001100"]
        await office.until(LEAF, "division.v1", records(*narrow))
        last = {key: name for key, name, _ in office.told("division.v1")}
        assert {last[each.key] for each in mine[2:100]} == {each.id for each in mine[2:100]}
        # Ended: nothing is kept, and the window says that nothing more comes.
        office.grants("none")
        await office.until(LEAF, "division.v1", {})
        async with asyncio.timeout(20):
            while (await office.contract(LEAF, "division.v1"))["state"] != "ended":
                await asyncio.sleep(0.1)
        # And given again it is all there.
        office.grants("")
        await office.until(LEAF, "division.v1", records(*mine, *changes))
        said = await office.command("grants", str(office.file(LEAF)))
        assert VIEW in said
        said = await office.command("resync", str(office.file(LEAF)), "division.v1")
        assert "running" in said
        # What it would send up is published by nobody yet.
        said = await office.command("doctor", str(office.file(LEAF)), code=1)
        assert f"granted, in {VIEW}" in said
        async with Connection(broker.near) as connection:
            made = set(await connection.topics()) - before - {VIEW, f"{VIEW}.dead"}
        assert not made, "a leaf makes no topic for what it is given"
        found = await office.contract(LEAF, "division.v1")
        assert (found["repeated"], found["out_of_order"]) == (0, 0)


async def test_nothing_is_missing_repeated_or_disordered_through_kills_cuts_and_a_lost_broker(
    broker: Behind, tmp_path: Path
) -> None:
    chance = random.Random(8)
    told: list[Event] = []

    def changes(count: int) -> list[Event]:
        events = [
            division(
                chance.randrange(200),
                name="gone" if chance.random() < 0.1 else "",
                version=len(told) + number,
            )
            for number in range(count)
        ]
        told.extend(events)
        return events

    async with (
        Writer(broker.near, UPSTREAM) as city,
        Office(tmp_path / "office", broker) as office,
    ):

        async def suffer() -> None:
            for what in ("kill", "cut", "kill", "hang", "kill"):
                await asyncio.sleep(chance.uniform(0.2, 1.5))
                if what == "kill":
                    await office.restart()
                    continue
                office.line.cut() if what == "cut" else office.line.hang()
                await asyncio.sleep(chance.uniform(0.5, 2.0))
                await office.line.mend()

        async def flow() -> None:
            for _ in range(40):
                await write(city, changes(200))
                await asyncio.sleep(0.15)

        async with asyncio.TaskGroup() as group:
            group.create_task(flow(), name="flow")
            group.create_task(suffer(), name="suffer")
        await office.until(LEAF, "division.v1", records(*told))
        await broker.kill()
        await broker.start()
    async with Writer(broker.near, UPSTREAM) as city, office:
        await write(city, changes(400))
        began = time.monotonic()
        await office.until(LEAF, "division.v1", records(*told))
        print(f"in line {time.monotonic() - began:.1f} s after the broker was back")
        view, _ = await read_all(broker.near, VIEW)
        stands = office.told("division.v1")
        # The store does not tell the deletion of what it never had.
        here = {name for _, name, _ in stands}
        missing = [
            record for record in view if record.value is not None and ids([record])[0] not in here
        ]
        assert not missing
        assert len(here) == len(stands), "nothing twice"
        order: dict[str, str] = {}
        for key, _, sequence in stands:
            assert order.get(key, "") < sequence
            order[key] = sequence
        found = await office.contract(LEAF, "division.v1")
        assert (found["repeated"], found["out_of_order"]) == (0, 0)


async def test_visits_sent_while_the_line_is_away_arrive_once_and_in_order(
    broker: Behind, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with (
        Writer(broker.near, UPSTREAM) as city,
        Office(tmp_path / "office", broker) as office,
    ):
        mine = [division(n) for n in range(50)]
        await write(city, mine)
        await office.until(LEAF, "division.v1", records(*mine))
        await office.publish()
        hall = Hall(office, session)
        first = await hall.insist(*range(10))
        assert (first["accepted"], first["kept"], first["rejected"]) == (10, 10, 0)
        await office.until(COUNTY, "visit.v1", visits(range(10)))
        await office.until(LEAF, "visit.v1", visits(range(10)))
        sent = list(range(10))
        await until_waiting(office, 0)

        office.line.cut()
        for turn in range(6):
            numbers = range(100 + turn * 20, 120 + turn * 20)
            if turn in (2, 4):
                await asyncio.gather(office.restart(), hall.insist(*numbers))
            else:
                await hall.insist(*numbers)
            sent += numbers
        # Known by their ids over the kills, and refused at once where they break the contract.
        again = await hall.send(*range(100, 120))
        assert (again["status"], again["accepted"], again["repeated"]) == (202, 0, 20)
        changed = await hall.send(
            *range(100, 120), matter="other", batch=str(tuple(range(100, 120)))
        )
        assert changed["status"] == 422
        assert {each["rule"] for each in changed["refused"]} == {"id-reused"}
        wrong = await hall.send(1, matter="")
        assert (wrong["status"], wrong["refused"][0]["path"]) == (422, "$.matter")
        # The window of a leaf started without a line answers, and says how old it is.
        await office.until(LEAF, "division.v1", records(*mine))
        found = await office.contract(LEAF, "division.v1")
        assert found["state"] == "retrying"
        assert found["complete_as_of"]
        await until_waiting(office, 120)
        said = await office.command("status", str(office.file(LEAF)), code=1)
        assert "120 records wait to be sent up" in said

        await office.line.mend()
        await asyncio.sleep(1.0)
        await office.restart()
        await office.until(COUNTY, "visit.v1", visits(sent))
        await until_waiting(office, 0)
        events, _ = await read_all(broker.near, "visit.v1.from.370102001")
        keys = [(each.key or b"").decode() for each in by_sequence(events)]
        assert keys == [f"n{number}" for number in sent]
        assert len(set(ids(events))) == len(sent)
        assert (await hall.send(*range(100, 120)))["repeated"] == 20


async def test_letters_of_a_leaf_stand_beside_its_topic_above_and_are_its_own_to_replay(
    broker: Behind, tmp_path: Path
) -> None:
    async with Office(tmp_path / "office", broker) as office:
        await until_published(office)
        rows = "number,division,matter\nn1,370102001,card\nn2,3701020,card\nn3,370102001,card\n"
        (office.folder / "notices" / "one.csv").write_text(rows, encoding="utf-8")
        await office.until(COUNTY, "notice.v1", visits((1, 3)))
        listed = await office.command("dead-letters", "list", "--json", str(office.file(LEAF)))
        (letter,) = [json.loads(line) for line in listed.splitlines()]
        assert (letter["key"], letter["path"]) == ("n2", "$.division")
        # The county sees it, and leaves it to its leaf.
        listed = await office.command("dead-letters", "list", "--json", str(office.file(COUNTY)))
        assert json.loads(listed)["id"] == letter["id"]
        said = await office.command(
            "dead-letters", "drop", "--json", str(office.file(COUNTY)), "n2", code=1
        )
        assert json.loads(said)["not_here"] == 1
        said = await office.command(
            "dead-letters", "replay", "--json", str(office.file(LEAF)), "n2", code=1
        )
        assert json.loads(said)["refused"] == 1
        said = await office.command("dead-letters", "drop", "--json", str(office.file(LEAF)), "n2")
        assert json.loads(said)["dropped"] == 1
        assert not await office.command("dead-letters", "list", str(office.file(LEAF)))


async def test_a_leaf_with_a_hundred_thousand_records_is_small(
    broker: Behind, tmp_path: Path
) -> None:
    """By command: deploy/test -m slow -k hundred_thousand -s"""
    async with (
        Writer(broker.near, UPSTREAM) as city,
        Office(tmp_path / "office", broker, 'scope = "0"') as office,
    ):
        leaf = office.agents[LEAF]
        await office.until(LEAF, "division.v1", {})
        await asyncio.sleep(5.0)
        empty = leaf.rss_mb()
        began = time.monotonic()
        for street in range(1, 101):
            await city.write([division(n, street) for n in range(1, 1_000)])
        async with asyncio.timeout(120):
            while (await office.contract(LEAF, "division.v1")).get("records") != 99_900:
                await asyncio.sleep(0.2)
        filled = time.monotonic() - began
        await asyncio.sleep(10.0)
        before, began = cpu_s(leaf.pid), time.monotonic()
        await asyncio.sleep(30.0)
        idle = (cpu_s(leaf.pid) - before) / (time.monotonic() - began)
        print(
            f"\nleaf: {empty:.0f} MB empty, {leaf.rss_mb():.0f} MB with 99,900 records told in"
            f" {filled:.1f} s, {idle:.1%} of a core idle"
        )
        assert leaf.rss_mb() < 220, "176 MB when it was first measured"


def cpu_s(pid: int) -> float:
    """Seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def names(office: Office, without: str) -> list[str]:
    """The ids of all changes the leaf's store has told, but of one key."""
    return [name for key, name, _ in office.told("division.v1") if key != without]


def visits(numbers: Any) -> dict[str, Any]:
    return {f"n{n}": {"number": f"n{n}", "division": LEAF, "matter": "card"} for n in numbers}


def by_sequence(events: list[Any]) -> list[Any]:
    return sorted(events, key=lambda each: header(each.headers, "ce_sequence") or b"")


async def until_published(office: Office) -> None:
    async with asyncio.timeout(30):
        while not await office.contract(LEAF, "notice.v1"):
            await office.publish()
            await asyncio.sleep(1.0)


async def until_waiting(office: Office, count: int) -> None:
    """Wait until the leaf says that so many visits wait."""
    found: list[Any] = []

    async def look() -> bool:
        nonlocal found
        found = [
            hop["figures"].get("outgoing_waiting_events")
            for hop in await office.status()
            if (hop["hop"], hop["contract"]) == ("capture", "visit.v1")
        ]
        return found == [count]

    async with asyncio.timeout(20):
        while not await look():
            await asyncio.sleep(0.1)
