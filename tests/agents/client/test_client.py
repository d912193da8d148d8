"""What the client makes of a window that is cut, silent, slow, wrong or says no."""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, assert_type

import msgspec
import pytest
from aiohttp import web

from agents.client import (
    Change,
    Event,
    FilePosition,
    Found,
    Live,
    NotAllowed,
    NotThere,
    NotTrusted,
    PositionLost,
    RecordMisfit,
    Refused,
    Reset,
    Unavailable,
    Watermark,
    Window,
    WindowError,
    blocking,
    subscribe,
)
from agents.client.door import Pauses
from agents.client.reading import contract_name
from agents.client.testing import FakeWindow
from contracts.check import Rejected
from contracts.subjects.business_licence import BusinessLicenceV1
from contracts.subjects.resident import ResidentV2
from tests.agents.client.suite import Events, key_of, resident, until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Script:
    """A window that answers one after the other what it was told to, the last for ever."""

    def __init__(self, *answers: Handler) -> None:
        self._answers = list(answers)
        self.asked: list[web.Request] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        handler = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return await handler(request)


@contextlib.asynccontextmanager
async def scripted(*answers: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    script = Script(*answers)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", script.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    script.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    yield script
    await runner.cleanup()


def no(status: int, title: str = "No", **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        body = json.dumps({"title": title, "detail": "what was expected", "status": status})
        return web.Response(
            status=status,
            body=body.encode(),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            content_type="application/problem+json",
        )

    return answer


def told(*messages: str, then: float = 0.0) -> Handler:
    """A feed of ``messages`` that is cut after ``then`` seconds."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write("".join(messages).encode())
        await asyncio.sleep(then)
        assert request.transport
        if not then:
            await asyncio.sleep(0.05)
        request.transport.abort()
        return response

    return answer


def change(number: int, *, state: bool = False, **fields: Any) -> str:
    body = {
        "op": "put", "contract": "resident.v2", "key": key_of(number), "scope": "370102001",
        "record": resident(number, **fields), "id": f"e{number}", "sequence": f"{number:09}",
        "time": "2026-11-26T08:00:00.000000Z", "source": "/37/resident.v2",
    }  # fmt: skip
    head = "" if state else f"id: s.{number}\n"
    return f"{head}event: change\ndata: {json.dumps(body | {'state': state})}\n\n"


LIVE = "id: s.0\nevent: live\ndata: {}\n\n"
MARK = (
    'event: watermark\ndata: {"contract":"resident.v2",'
    '"complete_as_of":"2026-11-26T08:00:00.000000Z","state":"running"}\n\n'
)


def feed(script: Script, **how: Any) -> Events:
    return subscribe("resident.v2", url=script.url, **how)


async def test_a_state_that_was_cut_begins_again_and_says_so() -> None:
    async with scripted(
        told(change(1, state=True), MARK),
        told(change(2, state=True), MARK, LIVE, change(3)),
        told(then=30),
    ) as script:
        events = feed(script)
        found = await until(events, Change, 3)
        assert [each if isinstance(each, Reset) else type(each) for each in found] == [
            Reset("asked"), Change, Reset("cut"), Change, Live, Change
        ]  # fmt: skip
        mark = (await until(events, Watermark))[-1]
        assert (mark.state, mark.complete_as_of.hour) == ("unreachable", 8)
        await asyncio.sleep(0.3)
        assert script.asked[0].query["from"] == script.asked[1].query["from"] == "state"
        await events.aclose()


async def test_no_watermark_is_told_before_the_state_is() -> None:
    async with scripted(told(change(1, state=True), MARK, LIVE, then=30)) as script:
        events = feed(script)
        kinds = [type(await anext(events)) for _ in range(4)]
        assert kinds == [Reset, Change, Live, Watermark]
        await events.aclose()


async def test_it_goes_on_after_the_last_change_and_asks_for_nothing_else() -> None:
    async with scripted(told(change(1), change(2)), told(change(3), then=30)) as script:
        events = feed(script, after="s.0", scope="370102", where="sex == '1'")
        found = await until(events, Change, 3)
        assert [each.token for each in found] == ["s.1", "s.2", "s.3"]
        assert [each.headers["Last-Event-ID"] for each in script.asked] == ["s.0", "s.2"]
        assert dict(script.asked[1].query) == {"scope": "370102", "where": "sex == '1'"}
        await events.aclose()


async def test_a_line_on_which_nothing_comes_is_dead() -> None:
    async with scripted(told(change(1), then=30), told(change(2), then=30)) as script:
        events = feed(script, after="s.0", silence=0.2)
        await until(events, Change, 2)
        await events.aclose()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 302])
async def test_a_no_that_stays_no_is_raised_at_once(status: int) -> None:
    async with scripted(no(status)) as script:
        with pytest.raises(Refused) as caught:
            await anext(feed(script))
        assert caught.value.status == status
        assert "what was expected" in str(caught.value)
        assert isinstance(caught.value, NotAllowed) == (status in (401, 403))
        assert len(script.asked) == 1


async def test_what_mends_is_asked_again_when_the_window_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float | None] = []
    again = Pauses.again

    def noted(self: Pauses, seconds: float | None = None) -> float:
        asked.append(seconds)
        again(self, seconds)
        return 0.01

    monkeypatch.setattr(Pauses, "again", noted)
    async with scripted(
        no(429, Retry_After="7"), no(503), no(502), no(500), told(change(1), then=30)
    ) as script:
        events = feed(script, after="s.0")
        await until(events, Change)
        assert asked == [7.0, None, None, None]
        await events.aclose()


async def test_a_contract_that_was_there_may_be_missing_while_its_agent_starts() -> None:
    async with scripted(told(change(1)), no(404), told(change(2), then=30)) as script:
        events = feed(script, after="s.0")
        await until(events, Change, 2)
        await events.aclose()


async def test_what_is_not_a_window_is_said() -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="hello")

    async with scripted(page) as script:
        with pytest.raises(WindowError, match=r"text/event-stream from .*, got text/plain"):
            await anext(feed(script))


async def test_a_cut_message_leads_back_to_the_position() -> None:
    cut = 'event: cut\ndata: {"reason":"too far behind the feed"}\n\n'
    async with scripted(told(change(1), cut, then=30), no(410)) as script:
        events = feed(script, after="s.0")
        with pytest.raises(PositionLost):
            await until(events, Change, 2)


async def test_what_was_not_handled_is_told_again(tmp_path: Path) -> None:
    class Died(Exception):
        pass

    async def handle(fail: str) -> list[str]:
        handled: list[str] = []
        events = feed(script, position=FilePosition(tmp_path / "at"))
        with contextlib.suppress(Died):
            async with contextlib.aclosing(events), asyncio.timeout(20):
                async for event in events:
                    if isinstance(event, Change):
                        if event.id == fail:
                            raise Died
                        handled.append(event.id)
                    if isinstance(event, Watermark):
                        break
        return handled

    FilePosition(tmp_path / "at").save("s.0")
    async with scripted(
        told(change(1), change(2), change(3), MARK, then=30),
        told(change(2), change(3), MARK, then=30),
    ) as script:
        assert await handle("e2") == ["e1"]
        assert FilePosition(tmp_path / "at").load() == "s.1"
        assert await handle("") == ["e2", "e3"]
        assert script.asked[1].headers["Last-Event-ID"] == "s.1"
        assert FilePosition(tmp_path / "at").load() == "s.3"


def test_a_position_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    position = FilePosition(tmp_path / "at")
    assert position.load() is None
    position.save("s.1")
    (tmp_path / "at.new").write_text("half")
    assert position.load() == "s.1"
    position.save("s.2")
    assert [each.name for each in tmp_path.iterdir()] == ["at"]
    assert FilePosition(tmp_path / "at").load() == "s.2"


async def test_a_record_that_does_not_fill_its_class_says_which_field_and_what_to_do() -> None:
    partial = {name: value for name, value in resident(1).items() if name != "name"}
    for record, said in (
        (partial, "missing required field `name`"),
        (resident(1, birth_date="2000"), r"\$\.birth_date"),
    ):
        one = json.loads(change(1).split("data: ")[1])
        message = f"id: s.1\nevent: change\ndata: {json.dumps({**one, 'record': record})}\n\n"
        async with scripted(told(message, then=30)) as script, Window(script.url) as window:
            with pytest.raises(RecordMisfit, match=f'{said}.*Ask by the name, "resident.v2"'):
                await anext(window.subscribe(ResidentV2, after="s.0"))
            events = window.subscribe("resident.v2", after="s.0")
            (found,) = await until(events, Change)
            assert found.record == record
            await events.aclose()


async def test_a_later_revision_with_more_fields_still_fills_the_class() -> None:
    async with scripted(told(change(1, email="a@b.cn"), then=30)) as script:
        events = subscribe(ResidentV2, url=script.url, after="s.0")
        (found,) = await until(events, Change)
        assert found.record.name == "王秀英"
        await events.aclose()


async def test_a_lookup_is_patient_but_not_for_ever() -> None:
    one = json.loads(change(1).split("data: ")[1])

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(one, headers={"Complete-As-Of": "unknown"})

    async with scripted(no(503), answer) as script, Window(script.url) as window:
        found = await window.lookup("resident.v2", "a/b?c")
        assert found.complete_as_of is None
        assert script.asked[1].raw_path == "/v1/resident.v2/records/a%2Fb%3Fc"
    async with Window("http://127.0.0.1:1", patience=0.3) as window:
        with pytest.raises(Unavailable, match="does not answer"):
            await window.lookup("resident.v2", "a")


async def test_the_token_goes_along_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(no(401)) as script:
        monkeypatch.setenv("LEVELSYNC_WINDOW", script.url + "/")
        monkeypatch.setenv("LEVELSYNC_TOKEN", "a-long-and-secret-token")
        async with Window() as window:
            with pytest.raises(NotAllowed, match="LEVELSYNC_TOKEN") as caught:
                await window.lookup("resident.v2", "a")
            for shown in (repr(window), str(caught.value), repr(window._door)):
                assert "secret" not in shown
        assert script.asked[0].headers["Authorization"] == "Bearer a-long-and-secret-token"


async def test_a_correction_is_filed_once_and_read_back() -> None:
    filed = {
        "id": "c1", "contract": "resident.v2", "key": "k", "field": "name", "seen": "王", "proposed": "李",
        "evidence": "ID card", "filed_at": "2026-11-26T08:00:00Z", "filed_by": "hall", "state": "sent",
        "due": "2026-12-03", "overdue": False, "note": None, "answered_at": None,
    }  # fmt: skip

    async def created(request: web.Request) -> web.StreamResponse:
        assert await request.json() == {
            "field": "name", "seen": "王", "proposed": "李", "evidence": "ID card",
        }  # fmt: skip
        return web.json_response(filed, status=201)

    async def listed(request: web.Request) -> web.StreamResponse:
        body = {"corrections": [filed], "next": None if "after" in request.query else "c1"}
        return web.json_response(body)

    async with (
        scripted(no(503), created, listed, listed, no(503)) as script,
        Window(script.url, patience=1.0) as window,
    ):
        made = await window.correct("resident.v2", "k", "name", "王", "李", "ID card")
        assert (made.id, made.state) == ("c1", "sent")
        found = [each async for each in window.corrections(ResidentV2, state="sent")]
        assert found == [made, made]
        keys = {each.headers["Idempotency-Key"] for each in script.asked[:2]}
        assert len(keys) == 1
        assert dict(script.asked[3].query) == {
            "contract": "resident.v2", "state": "sent", "after": "c1",
        }  # fmt: skip
        with pytest.raises(Unavailable):
            await window.correct("resident.v2", "k", "name", "王", "李", "ID card")
        assert keys.isdisjoint(each.headers["Idempotency-Key"] for each in script.asked[4:])


async def test_a_search_is_by_one_field() -> None:
    one = json.loads(change(1).split("data: ")[1])

    async def page(request: web.Request) -> web.StreamResponse:
        return web.json_response({"records": [one], "next": None})

    async def history(request: web.Request) -> web.StreamResponse:
        rows = [{name: one[name] for name in one if name not in ("contract", "key", "state")}]
        return web.json_response({"changes": rows, "since": "2026-11-26T08:00:00Z"})

    async with scripted(page, history) as script, Window(script.url) as window:
        found = [each async for each in window.search(ResidentV2, name="王秀英", scope="370102")]
        assert found[0].record
        assert dict(script.asked[0].query) == {
            "field": "name", "value": "王秀英", "scope": "370102", "limit": "500",
        }  # fmt: skip
        with pytest.raises(TypeError, match="one field=value, got 2"):
            window.search("resident.v2", name="a", sex="1")
        (change_,) = await window.history(ResidentV2, key_of(1), limit=3)
        assert (change_.contract, change_.key, change_.op) == ("resident.v2", key_of(1), "put")
        assert script.asked[1].path == f"/v1/resident.v2/records/{key_of(1)}/history"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Window("window.lixia.gov.cn"), "https://host:port"),
        (lambda: Window(token="两"), "visible ASCII"),
        (lambda: Window().subscribe(), "one contract's class, or one or more names"),
        (lambda: Window().subscribe(ResidentV2, BusinessLicenceV1), "one contract's class"),  # type: ignore[call-overload]
        (lambda: Window().subscribe(dict), "its class such as ResidentV2, got"),
        (lambda: Window().subscribe("a.v1", from_="dawn"), "from_=state or now, got 'dawn'"),  # type: ignore[call-overload]
        (lambda: Window().subscribe("a.v1", on_gap="jump"), "on_gap=raise or state"),  # type: ignore[call-overload]
    ],
)
def test_a_wrong_call_says_what_was_expected(call: Callable[[], object], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_a_contract_is_known_by_its_class() -> None:
    class PublicPermitV3(msgspec.Struct):
        number: str

    assert contract_name(BusinessLicenceV1) == "business_licence.v1"
    assert contract_name(PublicPermitV3) == "public_permit.v3"


async def test_what_would_hold_an_event_loop_up_refuses() -> None:
    with blocking.Window("http://127.0.0.1:1") as window:
        with pytest.raises(RuntimeError, match=r"use agents\.client with async for"):
            window.lookup("resident.v2", "a")
        with pytest.raises(RuntimeError, match="no running event loop"):
            next(window.subscribe("resident.v2"))
    with pytest.raises(RuntimeError, match="was closed"):
        window.lookup("resident.v2", "a")


def test_any_number_of_threads_share_a_window() -> None:
    with FakeWindow("resident.v2") as fake:
        key = fake.put("resident.v2", resident(1))
        found: list[Found[ResidentV2]] = []
        with blocking.Window(fake.url) as window:
            threads = [
                threading.Thread(target=lambda: found.append(window.lookup(ResidentV2, key)))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len({each.id for each in found}) == 1 < len(found) == 8


def test_a_window_nobody_holds_ends_its_thread() -> None:
    window = blocking.Window("http://127.0.0.1:1")
    before = threading.active_count()
    del window
    until_ = time.monotonic() + 10
    while threading.active_count() >= before:
        assert time.monotonic() < until_
        time.sleep(0.01)


async def test_the_stand_in_checks_records_and_falls_behind_when_told() -> None:
    with FakeWindow("resident.v2", BusinessLicenceV1) as fake:
        with pytest.raises(Rejected, match="sex"):
            fake.put("resident.v2", resident(1, sex="7"))
        with pytest.raises(KeyError, match=r"business_licence\.v1, got death\.v1"):
            fake.put("death.v1", {})
        fake.hold(ResidentV2)
        async with Window(fake.url) as window:
            await asyncio.sleep(0.5)
            before = await window.lookup(ResidentV2, "x")
            other = await window.lookup(BusinessLicenceV1, "x")
            assert before.complete_as_of
            assert other.complete_as_of
            assert before.complete_as_of < other.complete_as_of
            fake.release(ResidentV2)
            key = fake.put(ResidentV2, resident(2))
            after = await window.lookup(ResidentV2, key)
            assert after.complete_as_of
            assert after.complete_as_of > other.complete_as_of
            events = window.subscribe("resident.v2", "business_licence.v1")
            await until(events, Live)
            assert {(await anext(events)).contract for _ in range(2)} == {  # type: ignore[union-attr]
                "resident.v2", "business_licence.v1",
            }  # fmt: skip
            await events.aclose()


async def test_a_certificate_nobody_vouches_for_is_raised(tmp_path: Path) -> None:
    from tests.agents.client.certificate import self_signed

    certificate, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with scripted(told(change(1), then=30), tls=tls) as script:
        with pytest.raises(NotTrusted, match="Give ca="):
            await anext(feed(script, after="s.0"))
        async with Window(script.url, ca=certificate) as window:
            events = window.subscribe("resident.v2", after="s.0")
            await until(events, Change)
            await events.aclose()


async def types(window: Window, sync: blocking.Window) -> None:
    """Never run: what a checker is to make of it."""
    assert_type(await window.lookup(ResidentV2, "k"), Found[ResidentV2])
    assert_type((await window.lookup("resident.v2", "k")).record, dict[str, Any] | None)
    assert_type(sync.lookup(ResidentV2, "k").record, ResidentV2 | None)
    async for event in window.subscribe(ResidentV2, from_="now"):
        assert_type(event, Event[ResidentV2])
        match event:
            case Change(op="put", record=record):
                assert_type(record, ResidentV2 | None)
            case Watermark():
                assert_type(event, Watermark)
    async for found in window.search("resident.v2", name="王"):
        assert_type(found, Found[dict[str, Any]])


async def test_what_is_said_of_404_is_not_taken_for_a_record_that_is_not_there() -> None:
    async with scripted(no(404)) as script, Window(script.url) as window:
        with pytest.raises(NotThere):
            await window.lookup("resident.v2", "a")
