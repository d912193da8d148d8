"""Corrections at the window: what may be filed, by whom, and what is seen of them."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agents.base.outgoing import Outgoing
from agents.base.status import Status
from agents.kafka.cluster import Cluster
from agents.window import corrections
from agents.window.answers import VISITOR, Problem, problem
from agents.window.book import Book
from agents.window.corrections import Desk, add_corrections
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.office import Office
from agents.window.rights import MACHINE, Sight, Visitor
from agents.window.store import Store
from contracts.subjects import CONTRACTS
from contracts.subjects.correction import ANSWER, CORRECTION, CorrectionAnswerV1
from tests.agents.window.scripted import Script, start
from tests.contracts.examples import example

RECORD = example("resident.v2")
KEY = RECORD["id_number"]


class Window:
    """A window with one resident, and a desk for corrections of it."""

    def __init__(self, folder: Path, most: int = 1_000) -> None:
        self.visitor = MACHINE
        self.goes_nowhere = ""
        status = Status("370102", "test")
        status.planned = True
        self.store, own = Store(folder / "w.sqlite"), Store(folder / "c.sqlite")
        self.own = own
        self.outgoing = Outgoing(folder / "outgoing.sqlite", most)
        self.book = Book(own, self.outgoing)
        follow = Follow(
            status,
            contract=CONTRACTS["resident.v2"],
            cluster=Cluster("127.0.0.1:1"),
            store=self.store,
            feed=Feed(self.store),
            sources=frozenset,
        )
        status.show(follow.hop)
        self.script = Script()
        self.script.put(KEY, RECORD["division_code"], msgspec.json.encode(RECORD))
        self.store.apply("resident.v2", self.script.slice(), start())
        office = Office(
            "历下区", "370102", self.store, Feed(self.store), {"resident.v2": follow}, status,
            corrections=Desk(
                self.book, "370102", lambda _: self.goes_nowhere, lambda _: {"sex": "null"}
            ),
        )  # fmt: skip

        @web.middleware
        async def as_somebody(request: web.Request, handler: Any) -> web.StreamResponse:
            request[VISITOR] = self.visitor
            try:
                answer: web.StreamResponse = await handler(request)
            except Problem as no:
                return problem(no.status, no.title, no.detail, no.headers)
            return answer

        app = web.Application(middlewares=[as_somebody])
        add_corrections(app, office)
        self.client: TestClient[Any, Any] = TestClient(TestServer(app))

    async def post(
        self, field: str = "phone", key: str = KEY, idempotency: str = "", **change: Any
    ) -> tuple[int, Any]:
        body = {"field": field, "seen": RECORD.get(field), "proposed": "13900000000", **change}
        answer = await self.client.post(
            f"/v1/resident.v2/records/{key}/corrections",
            json=body,
            headers={"Idempotency-Key": idempotency} if idempotency else {},
        )
        return answer.status, await answer.json(content_type=None)

    async def listed(self, query: str = "") -> list[dict[str, Any]]:
        answer = await self.client.get(f"/v1/corrections{query}")
        found: list[dict[str, Any]] = (await answer.json())["corrections"]
        return found


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    made = Window(tmp_path)
    async with made.client:
        yield made


async def test_a_correction_is_on_its_way_and_seen_from_the_moment_it_is_filed(
    window: Window,
) -> None:
    status, filed = await window.post(evidence="本人出示新号码")
    assert status == 201
    assert (filed["state"], filed["seen"], filed["proposed"]) == (
        "sent", RECORD["phone"], "13900000000",
    )  # fmt: skip
    [waiting] = window.outgoing.after(CORRECTION.name, 0, 10)
    told = msgspec.json.decode(waiting.value or b"")
    assert waiting.key == filed["id"]
    assert told["seen_id"] == "resident.v2.from.3701/1"
    assert (told["division"], told["record_division"]) == ("370102", RECORD["division_code"])
    [listed] = await window.listed(f"?contract=resident.v2&key={KEY}&state=sent")
    assert listed == filed
    assert await window.listed("?state=accepted") == []
    assert await window.listed("?key=another") == []


async def test_it_is_seen_once_when_the_topic_tells_it_too_and_with_its_answer(
    window: Window,
) -> None:
    _, filed = await window.post()
    [waiting] = window.outgoing.after(CORRECTION.name, 0, 10)
    script = Script("correction.v1")
    script.put(filed["id"], "370102", waiting.value)
    window.own.apply(CORRECTION.name, script.slice(), start())
    assert [each["state"] for each in await window.listed()] == ["sent"]
    answers, state = Script("correction_answer.v1.from.3701"), start()
    words: list[dict[str, Any]] = [
        {"state": "received", "due": datetime.date(2020, 1, 3)},
        {"state": "rejected", "note": "与档案不符", "answered_by": "王芳",
         "answered_at": datetime.datetime.now(datetime.UTC)},
    ]  # fmt: skip
    for said in words:
        answer = CorrectionAnswerV1(
            id=filed["id"], contract="resident.v2", node="37", division="370102", **said
        )
        answers.put(filed["id"], "370102", msgspec.json.encode(answer))
        window.own.apply(ANSWER.name, answers.slice(), state)
        [listed] = await window.listed()
        assert listed["state"] == said["state"]
        assert listed["overdue"] == (said["state"] == "received")
    assert (listed["note"], listed["answered_by"]) == ("与档案不符", "王芳")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"seen": "13800000000"}, 409, "record has changed"),
        ({"proposed": RECORD["phone"]}, 422, "Nothing to correct"),
        ({"proposed": "12345"}, 422, "by rule `pattern` of `resident.v2/2.0`"),
        ({"field": "birth_date", "seen": RECORD["birth_date"], "proposed": "2026-02-30"}, 422, "`format`"),
        ({"field": "nickname", "seen": None}, 422, "shown whole"),
        ({"field": "sex", "seen": RECORD["sex"], "proposed": "9"}, 422, "shown whole"),
        ({"evidence": "证" * 2_001}, 422, "at most 2000"),
        ({"proposed": "长" * 9_000}, 422, "at most 8000"),
        ({"more": 1}, 422, "more"),
        ({"key": "nobody"}, 404, "has no `nobody`"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_answered_with_what_was_expected(
    window: Window, change: dict[str, Any], status: int, said: str
) -> None:
    found, body = await window.post(**change)
    assert found == status
    assert said in f"{body['title']} {body['detail']}".replace("The record", "record")
    assert window.outgoing.waiting(CORRECTION.name) == 0
    if status == 409:
        assert body["current"] == RECORD["phone"]


async def test_a_rule_across_fields_does_not_keep_a_first_correction_back(window: Window) -> None:
    status, _ = await window.post(
        field="birth_date", seen=RECORD["birth_date"], proposed="1990-01-01"
    )
    assert status == 201


async def test_the_same_request_again_is_the_same_correction_and_another_is_refused(
    window: Window,
) -> None:
    _, first = await window.post(idempotency="k1")
    status, again = await window.post(idempotency="k1")
    assert (status, again) == (201, first)
    status, _ = await window.post(idempotency="k1", proposed="13911111111")
    assert status == 422
    assert window.outgoing.waiting(CORRECTION.name) == 1


async def test_each_visitor_has_a_bound_of_open_ones(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections, "MOST_OPEN", 2)
    for _ in range(2):
        assert (await window.post())[0] == 201
    assert (await window.post())[0] == 429


async def test_where_it_would_reach_nobody_or_there_is_no_room_the_clerk_is_told(
    tmp_path: Path,
) -> None:
    window = Window(tmp_path, most=0)
    async with window.client:
        window.goes_nowhere = "Expected `push`, got none"
        assert await window.post() == (
            409,
            {"type": "about:blank", "title": "Corrections go nowhere from here", "status": 409,
             "detail": "Expected `push`, got none"},
        )  # fmt: skip
        window.goes_nowhere = ""
        status, body = await window.post()
        assert (status, body["title"]) == (503, "There is no room for it")
        assert await window.listed() == []


async def test_a_visitor_sees_and_files_only_what_their_rights_show(window: Window) -> None:
    await window.post(evidence="出示旧号 13812345678")

    def visitor(sight: Sight | None, *, may: bool = True) -> Visitor:
        sights = {"resident.v2": sight} if sight else {}
        return Visitor("clerk", "li", purpose="办事", sights=sights, corrections=may)

    window.visitor = visitor(Sight(), may=False)
    assert (await window.post())[0] == 403
    assert len(await window.listed()) == 1
    window.visitor = visitor(Sight(mask={"phone": "last4"}))
    assert (await window.post())[0] == 422
    [listed] = await window.listed()
    assert {listed[name] for name in ("seen", "proposed", "evidence", "note")} == {None}
    window.visitor = visitor(Sight(scopes=["370199"]))
    assert (await window.post())[0] == 404
    assert await window.listed() == []
    window.visitor = visitor(None)
    assert (await window.post())[0] == 404
    assert await window.listed() == []


async def test_pages_are_the_newest_first_and_leave_none_out(window: Window) -> None:
    names = [(await window.post())[1]["id"] for _ in range(5)]
    await asyncio.sleep(0)
    seen: list[str] = []
    after = ""
    while True:
        answer = await window.client.get(f"/v1/corrections?limit=2&after={after}")
        page = await answer.json()
        seen += [each["id"] for each in page["corrections"]]
        after = page["next"]
        if after is None:
            break
    assert seen == names[::-1]


async def test_what_was_filed_is_known_after_a_restart(window: Window, tmp_path: Path) -> None:
    _, filed = await window.post(idempotency="k")
    again = Book(window.own, Outgoing(tmp_path / "outgoing.sqlite"))
    assert [line.id for line in again.lines()] == [filed["id"]]
    found = again.filed("machine this machine", "k")
    assert found is not None
    assert found[0] == filed["id"]
