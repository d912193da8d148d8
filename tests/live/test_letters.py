"""Dead letters that come back: replayed in the order of their key, dropped, waited behind."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.base.requests import Asked, Requests
from agents.base.status import Hop, Status
from agents.base.tracing import HEADER
from agents.capture.source import Change, Changes, Outcome, Sweep, Unreadable
from agents.cli.letters import asked
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.letters import read_letters
from agents.kafka.standing_letters import StandingLetters
from agents.kafka.wire import Connection
from contracts.envelope import event_of, header
from contracts.model import Contract
from contracts.rejected import Rejected
from tests.live.capture import DIVISION
from tests.live.scripted import Scripted, begin
from tests.live.streams import ids, read_all, until_true

pytestmark = pytest.mark.live

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Office:
    """A capture over a scripted source, and what its topics hold."""

    def __init__(
        self, cluster: Cluster, contract: Contract, requests: Requests, source: Scripted, hop: Hop
    ) -> None:
        self.cluster, self.contract, self.hop = cluster, contract, hop
        self._requests, self._source = requests, source
        self._count = 0

    async def tell(self, *changes: Change | Unreadable | Sweep, outcome: Any = None) -> None:
        self._count += 1
        await self._source.told.put(
            Changes(changes, f"at-{self._count}", self._count, passed=True, outcome=outcome)
        )

    async def ask(self, what: Asked, **selection: str) -> dict[str, Any]:
        """What the command line asks, while the source goes on telling nothing new."""
        work = asyncio.create_task(
            asyncio.to_thread(
                asked, self._requests, what, self.contract.name, 20.0, dict(selection)
            )
        )
        while not work.done():
            await self.tell()
            await asyncio.sleep(0.05)
        return await work

    async def letters(self) -> list[tuple[str, str]]:
        """Rule and id of every letter there is."""
        found = await read_letters(self.cluster, [self.contract.name])
        return sorted((letter["rule"], letter["id"]) for letter in found)

    async def state(self) -> dict[str, str]:
        """Key → name, as the topic's events leave it."""
        records, _ = await read_all(self.cluster, self.contract.name)
        assert len(ids(records)) == len(set(ids(records))), "repeated"
        names: dict[str, str] = {}
        for record in records:
            event = event_of(record.value, record.headers)
            names.pop(event.key, None)
            if event.value is not None:
                names[event.key] = msgspec.json.decode(event.value)["name"]
        return names


@contextlib.asynccontextmanager
async def office(
    kafka: KafkaServer, folder: Path, subject: str, **promises: Any
) -> AsyncIterator[Office]:
    contract = msgspec.structs.replace(DIVISION, subject=subject, **promises)
    cluster, requests = Cluster(kafka.bootstrap), Requests(folder)
    source, hop, stop, running = begin(contract, cluster, requests)
    try:
        yield Office(cluster, contract, requests, source, hop)
    finally:
        stop.set()
        await running


def county(number: int, key: str, name: str, **other: Any) -> Change:
    """Change ``number`` of division ``key``; refused where its parent does not begin it."""
    fields = {"code": key, "name": name, "level": "county", "parent": key[:4]} | other
    return Change(f"id-{number}", f"{number:04}", 1_000_000 * number, key, fields)


def wrong(number: int, key: str, name: str) -> Change:
    return county(number, key, name, parent="9999")


async def test_a_letter_is_replayed_once_what_refused_it_is_mended(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Refused by one revision, accepted by the next: the capture is made anew in between."""
    async with office(kafka, tmp_path, "mended") as one:
        traced = msgspec.structs.replace(wrong(1, "370101", "kept"), traceparent=TRACE)
        await one.tell(traced, county(2, "370102", "other"))
        assert await one.ask("replay") == counts(refused=1)
        assert await one.letters() == [("within-parent", "id-1")]
    async with office(kafka, tmp_path, "mended", rules=()) as one:
        assert await one.ask("replay", rule="within-parent") == counts(replayed=1)
        assert await one.letters() == []
        assert await one.state() == {"370101": "kept", "370102": "other"}
        records, _ = await read_all(one.cluster, one.contract.name)
        traces = {each.key: header(each.headers, HEADER) for each in records}
        assert traces == {b"370101": TRACE.encode(), b"370102": None}, "a letter keeps its trace"
        # A second time there is nothing left of it.
        assert await one.ask("replay") == counts()


async def test_a_replay_never_puts_an_older_change_over_a_newer(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Red when ``Replay._try`` does not look at the newest sequence: tried."""
    async with office(kafka, tmp_path, "older") as one:
        await one.tell(wrong(1, "370101", "old"), county(2, "370101", "new"))
        await until_true(lambda: one.hop.events == 1)
    async with office(kafka, tmp_path, "older", rules=()) as one:
        assert await one.ask("replay") == counts(superseded=1)
        assert await one.letters() == []
        assert await one.state() == {"370101": "new"}


async def test_later_changes_wait_behind_a_refused_one_and_follow_it_in_order(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Red when ``Entry.enter`` does not look at the waiting keys: tried."""
    async with office(kafka, tmp_path, "waits", on_refusal="wait") as one:
        await one.tell(
            wrong(1, "370101", "first"),
            county(2, "370101", "second"),
            county(3, "370102", "other"),
        )
        await until_true(lambda: one.hop.rejected == 2)
    # They wait over a restart as well.
    async with office(kafka, tmp_path, "waits", on_refusal="wait") as one:
        gone = Change("id-4", "0004", 4_000_000, "370101", None)
        await one.tell(gone, county(5, "370101", "last"))
        await until_true(lambda: one.hop.rejected == 2)
        waiting = [("waits", "id-2"), ("waits", "id-4"), ("waits", "id-5")]
        assert await one.ask("replay") == counts(refused=1)
        assert await one.letters() == [*waiting, ("within-parent", "id-1")]
        assert await one.state() == {"370102": "other"}
        # None of them passes the one they wait for.
        assert await one.ask("replay", rule="waits") == counts()
        assert await one.ask("drop", key="370101", id="id-1") == counts(dropped=1, replayed=3)
        assert await one.letters() == []
        await one.tell(county(6, "370101", "after"))
        await until_true(lambda: one.hop.events == 4)
        records, _ = await read_all(one.cluster, one.contract.name)
        told = [event_of(record.value, record.headers) for record in records]
        assert [event.id for event in told if event.key == "370101"] == [
            "id-2", "id-4", "id-5", "id-6",
        ]  # fmt: skip


async def test_what_a_source_could_not_read_is_kept_as_it_came(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    async with office(kafka, tmp_path, "unread") as one:
        refused = Rejected("$", "json", "Expected JSON, got other bytes")
        await one.tell(
            Unreadable("id-1", "0001", 1, "", refused, origin="gate/7", raw=b"\xff\x00{"),
            county(2, "370101", "n"),
        )
        await until_true(lambda: one.hop.events == 1)
        (letter,) = await read_letters(one.cluster, [one.contract.name])
        assert (letter["rule"], letter["origin"]) == ("json", "gate/7")
        assert base64.b64decode(letter["raw"]) == b"\xff\x00{"
        assert await one.ask("replay") == counts(unreadable=1)
        assert await one.ask("drop", rule="json") == counts(dropped=1)
        assert await one.letters() == []


async def test_a_source_hears_where_each_change_stands(kafka: KafkaServer, tmp_path: Path) -> None:
    heard: dict[int, Outcome] = {}
    async with office(kafka, tmp_path, "heard") as one:
        changes = [county(n, f"37010{n}", "n") for n in range(1, 6)]
        await one.tell(*changes, wrong(6, "370106", "w"), outcome=heard.__setitem__)
        await until_true(lambda: len(heard) == 6)
        events, _ = await read_all(one.cluster, one.contract.name)
    by_id = {name: record.offset for name, record in zip(ids(events), events, strict=True)}
    assert {n: heard[n - 1].offset for n in range(1, 6)} == {
        n: by_id[f"id-{n}"] for n in range(1, 6)
    }
    assert [heard[n].refused for n in range(5)] == [None] * 5
    refused = heard[5].refused
    assert refused
    assert refused.rule == "within-parent"


async def test_a_sweep_deletes_what_stood_before_it_and_nothing_else(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Red when ``Intake._sweep`` takes every key: tried."""
    async with office(kafka, tmp_path, "swept") as one:
        await one.tell(*(county(n, f"37010{n}", "old") for n in range(1, 5)))
        await one.tell(Change("id-6", "0006", 6, "370101", None), county(7, "370102", "young"))
        await one.tell(Sweep("sweep", "0008", 8_000_000, before="0007"))
        await one.tell(county(9, "370109", "after"))
        await until_true(lambda: one.hop.events == 9)
        assert await one.state() == {"370102": "young", "370109": "after"}
        records, _ = await read_all(one.cluster, one.contract.name)
        assert sorted(name for name in ids(records) if name.startswith("sweep")) == [
            "sweep.370103", "sweep.370104",
        ]  # fmt: skip


def counts(**some: int) -> dict[str, int]:
    """What a request is answered with."""
    names: Sequence[str] = ("replayed", "superseded", "refused", "unreadable", "dropped")
    return dict.fromkeys(names, 0) | some


async def test_the_letters_that_wait_are_counted_as_they_come_and_go(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Red when ``StandingLetters._read`` leaves out tombstones: tried."""
    async with office(kafka, tmp_path, "standing") as one:
        status = Status("37", "test")
        status.show(one.hop)
        counted = StandingLetters(one.cluster, status)
        async with Connection(one.cluster) as connection:
            await one.tell(wrong(1, "370101", "one"), wrong(2, "370102", "two"))
            await until_true(lambda: one.hop.rejected == 2)
            await counted.look(connection)
            # The copy hands over with the next watermark at the latest.
            async with asyncio.timeout(10):
                while one.hop.gauges["dead_letters_waiting"] != 2:
                    await one.tell()
                    await counted.look(connection)
                    await asyncio.sleep(0.05)
            await one.ask("drop", key="370101")
            await counted.look(connection)
            assert one.hop.gauges["dead_letters_waiting"] == 1
            # Whoever counts from the beginning finds the same.
            await StandingLetters(one.cluster, status).look(connection)
            assert one.hop.gauges["dead_letters_waiting"] == 1
