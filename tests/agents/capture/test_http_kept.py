"""Records over HTTP at a leaf: on disk when they are answered, once by their ids, and bounded."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from agents.base.outgoing import Outgoing
from agents.base.status import Hop
from agents.capture import http_kept
from agents.capture.http_answer import Problem, Ticket
from agents.capture.http_kept import Kept
from agents.capture.http_parse import Item
from contracts.subjects import CONTRACTS

DIVISION = CONTRACTS["division.v1"]
NAME = DIVISION.name


def item(number: int, named: str = "", **more: str) -> Item:
    code = f"{370_102_000 + number}"
    record = {"code": code, "name": "x", "level": "township", "parent": "370102"} | more
    return Item(msgspec.json.encode(record), f"/k {named} 1" if named else "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "o.sqlite"


@pytest.fixture
def outgoing(path: Path) -> Iterator[Outgoing]:
    with closing(Outgoing(path, most=5)) as opened:
        yield opened


async def test_it_is_on_disk_when_it_is_answered_and_known_again_after_a_restart(
    outgoing: Outgoing, path: Path
) -> None:
    with closing(Kept(outgoing, path, DIVISION)) as kept:
        ticket = Ticket()
        assert kept.take(ticket, "hall", 1, item(1, "a"))
        assert kept.take(ticket, "hall", 2, item(2))
        assert kept.take(ticket, "hall", 3, item(1, "a")), "the same in one breath"
        assert not outgoing.waiting(NAME)
        await ticket.finish(1.0)
        assert outgoing.waiting(NAME) == 2
        answer = ticket.response()
        said = json.loads(answer.body or b"")  # type: ignore[arg-type]
        assert (answer.status, said["accepted"], said["repeated"], said["kept"]) == (202, 2, 1, 3)
    with closing(Kept(outgoing, path, DIVISION)) as kept:
        again = Ticket()
        kept.take(again, "hall", 1, item(1, "a"))
        assert not kept.take(again, "hall", 2, item(1, "a", name="y")), "another under the same id"
        kept.take(again, "other", 3, item(1, "a"))
        await again.finish(1.0)
        assert (again.accepted, again.repeated, again.rejected) == (1, 1, 1)
        assert json.loads(again.response().body or b"")["refused"][0]["rule"] == "id-reused"  # type: ignore[arg-type]
    assert outgoing.waiting(NAME) == 3


async def test_a_traceparent_is_put_with_its_record(outgoing: Outgoing, path: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with closing(Kept(outgoing, path, DIVISION)) as kept:
        ticket = Ticket()
        assert kept.take(ticket, "hall", 1, item(1)._replace(traceparent=trace))
        assert kept.take(ticket, "hall", 2, item(2))
        await ticket.finish(1.0)
    assert [each.traceparent for each in outgoing.after(NAME, 0, 9)] == [trace, ""]


async def test_what_breaks_the_contract_is_refused_at_once(outgoing: Outgoing, path: Path) -> None:
    with closing(Kept(outgoing, path, DIVISION)) as kept:
        kept.hop = Hop("capture", NAME, "HTTP intake", "up")
        ticket = Ticket()
        assert not kept.take(ticket, "hall", 1, item(1, "a", level="hamlet"))
        assert ticket.response().status == 422
        assert kept.hop.rejected == 1
        assert not outgoing.waiting(NAME)


async def test_an_outbox_that_is_full_says_when_to_come_again(
    outgoing: Outgoing, path: Path
) -> None:
    with closing(Kept(outgoing, path, DIVISION)) as kept:
        first, second = Ticket(), Ticket()
        for number in range(4):
            kept.take(first, "hall", number, item(number, f"a{number}"))
        await first.finish(1.0)
        for number in range(4, 8):
            kept.take(second, "hall", number, item(number, f"a{number}"))
        await second.finish(1.0)
        answer = second.response()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
        assert outgoing.waiting(NAME) == 4, "all of it or nothing"
        with pytest.raises(Problem) as caught:
            await kept.room(1.0)
        assert (caught.value.status, caught.value.retry) == (503, 30)
        outgoing.drop(NAME, 4)
        await asyncio.sleep(1.1)
        third = Ticket()
        kept.take(third, "hall", 4, item(4, "a4"))
        await third.finish(1.0)
        assert third.accepted == 1, "what was not put was not remembered either"


async def test_ids_are_forgotten_a_day_after_what_they_name_went_up(
    outgoing: Outgoing, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_kept, "KEEP", -10)
    monkeypatch.setattr(http_kept, "_SWEEP", 0.0)
    with closing(Kept(outgoing, path, DIVISION)) as kept:

        async def repeated(number: int) -> int:
            ticket = Ticket()
            kept.take(ticket, "hall", 1, item(number, f"a{number}"))
            await ticket.finish(1.0)
            return ticket.repeated

        outgoing._base.execute(
            "INSERT INTO waiting (contract, key, value, time) VALUES (?, 'k', NULL, ?)",
            (NAME, (time.time_ns() // 1000) - 60_000_000),
        )
        await repeated(1)
        await repeated(2)
        assert await repeated(1) == 1, "it may still wait"
        outgoing.drop(NAME, 10)
        outgoing._base.execute("UPDATE taken SET seconds = seconds - 5")
        await repeated(3)
        assert await repeated(1) == 0
