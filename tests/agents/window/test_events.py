"""The feed over HTTP in its two transports: one cut at random, slow, refused, limited, ended."""

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.base.status import Status
from agents.base.table import sealed_token
from agents.base.window import System, Window
from agents.kafka.cluster import Cluster
from agents.window import events as events_module
from agents.window import fanout as fanout_module
from agents.window.answers import VISITOR
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.office import Office
from agents.window.rights import MACHINE, Sight, Visitor
from agents.window.store import Store
from agents.window.where import Where
from tests.agents.window.scripted import LOOSE, TOPIC, Script, start

PATH = "/v1/resident.v2/events"
NAME = "resident.v2"


class Told:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, str]] = []

    def tell(self, visitor: Visitor, action: str, contract: str, what: str) -> None:
        self.told.append((visitor.name, action, contract, what))


class Desk:
    """A window over a scripted stream, which can be closed and opened again on the same store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.script, self.state = Script(), start()
        self.visitor = MACHINE
        self.allowed = True
        #: Is who reads, and who may stay, what the gate says?
        self.by_gate = False
        self.journal = Told()
        self.table = Window()
        self.server: TestServer | None = None

    async def open(self) -> None:
        self.store = Store(self._path)
        self.feed = Feed(self.store)
        self.status = Status("370102", "test")
        self.status.planned = True
        follow = Follow(
            self.status,
            contract=LOOSE,
            cluster=Cluster("127.0.0.1:1"),
            store=self.store,
            feed=self.feed,
            sources=lambda: frozenset({TOPIC}),
        )
        self.status.show(follow.hop)
        self.follow = follow
        office = Office(
            "历下区", "370102", self.store, self.feed, {NAME: follow}, self.status,
            table=self.table, journal=self.journal,
        )  # fmt: skip
        self.office = office
        app = window_app(office)
        if not self.by_gate:
            office.still = lambda _: self.allowed

        @web.middleware
        async def visited(request: web.Request, handler: Any) -> web.StreamResponse:
            if not self.by_gate:
                request[VISITOR] = self.visitor
            answer: web.StreamResponse = await handler(request)
            return answer

        app.middlewares.append(visited)
        self.server = TestServer(app)
        await self.server.start_server()

    async def close(self) -> None:
        if self.server:
            await self.server.close()
            self.server = None
            self.store.close()

    def apply(self) -> None:
        self.feed.publish(self.store.apply(NAME, self.script.slice(), self.state).changes)

    def url(self, path: str = PATH) -> str:
        assert self.server
        return str(self.server.make_url(path))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "w.sqlite")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(read_bufsize=2**22) as made:
        yield made


TOKEN = "kiosk-token-of-the-tests"
KIOSK = System(
    name="kiosk", token=sealed_token(TOKEN), purpose="test", contracts=(NAME,), subscribers=2
)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Message = tuple[str, str | None, Any]


async def sse(
    session: aiohttp.ClientSession, url: str, token: str | None
) -> AsyncIterator[Message]:
    """Messages as a browser would see them."""
    headers = {"Last-Event-ID": token} if token else {}
    async with session.get(url, headers=headers) as answer:
        if answer.status != 200:
            raise AssertionError(await answer.text())
        name, last, data = "", None, ""
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                last = value
            elif field == "data":
                data = value
            elif not line and name:
                yield name, last, json.loads(data)
                name, last, data = "", None, ""


async def ws(session: aiohttp.ClientSession, url: str, token: str | None) -> AsyncIterator[Message]:
    """The same over WebSocket."""
    if token:
        url += ("&" if "?" in url else "?") + f"last_event_id={token}"
    async with session.ws_connect(url) as answer:
        async for message in answer:
            found = json.loads(message.data)
            yield found["event"], found["id"], found["data"]


Transport = Callable[[aiohttp.ClientSession, str, str | None], AsyncIterator[Message]]
BOTH = pytest.mark.parametrize("transport", [sse, ws])


async def until(messages: AsyncIterator[Message], *names: str) -> list[Message]:
    """The messages up to the first of ``names``, watermarks left out."""
    found = []
    async with asyncio.timeout(10):
        async for message in messages:
            if message[0] != "watermark":
                found.append(message)
            if message[0] in names:
                return found
    return found


class Kept:
    """What a window system keeps of one filter, and every id it was told of."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}
        self.ids: list[str] = []
        self.token: str | None = None
        self.live = False

    def enter(self, message: Message) -> None:
        name, token, data = message
        if name == "change":
            if data["op"] == "delete":
                assert data["key"] in self.records, "a deletion of what was never in it"
                del self.records[data["key"]]
            else:
                self.records[data["key"]] = data["record"]
            self.ids.append(data["id"])
        self.live |= name == "live"
        self.token = token or self.token
        assert name != "cut"


async def test_a_subscriber_killed_a_hundred_times_ends_with_exactly_what_the_store_holds(
    desk: Desk,
) -> None:
    chance = random.Random(37)
    query = "?from=state&scope=370102&where=" + "sex%20%3D%3D%20'1'%20%7C%7C%20sex%20%3D%3D%20null"

    def write(most: int) -> None:
        for _ in range(chance.randrange(most)):
            key = f"k{chance.randrange(60):02}"
            if chance.random() < 0.15:
                desk.script.delete(key)
                continue
            record = {"name": str(chance.random()), "sex": chance.choice(("1", "2", None))}
            scope = chance.choice(("370102001", "370102002", "370103001"))
            desk.script.put(key, scope, msgspec.json.encode(record))
        desk.apply()

    def wanted() -> dict[str, Any]:
        found = {
            entry.key: msgspec.json.decode(entry.value)
            for entry in desk.store.page(NAME, ("370102",), "", 10**6)
        }
        return {key: record for key, record in found.items() if record["sex"] != "2"}

    kept, used = Kept(), set()
    write(400)
    for round_ in range(100):
        transport = chance.choice((sse, ws))
        used.add(transport)
        if not kept.live:
            kept = Kept()  # cut in the middle of the state: begin again
        left = chance.randrange(1, 60)
        async with aiohttp.ClientSession(read_bufsize=2**22) as session:
            messages = transport(session, desk.url(PATH + query), kept.token)
            writing = asyncio.create_task(write_meanwhile(write, chance.randrange(1, 5)))
            with contextlib.suppress(TimeoutError):
                while (left := left - 1) > 0:
                    async with asyncio.timeout(0.05):
                        kept.enter(await anext(messages))
            await messages.aclose()  # type: ignore[attr-defined]
            await writing
        write(20)
        if round_ % 20 == 10:
            await desk.close()
            await desk.open()
    async with aiohttp.ClientSession() as session:
        messages = sse(session, desk.url(PATH + query), kept.token)
        async with asyncio.timeout(10):
            async for message in messages:
                kept.enter(message)
                if message[0] == "watermark":
                    break  # it comes after all that it covers
        await messages.aclose()  # type: ignore[attr-defined]
    assert used == {sse, ws}
    assert kept.live
    assert kept.records == wanted()
    assert len(kept.ids) == len(set(kept.ids))


async def write_meanwhile(write: Callable[[int], None], times: int) -> None:
    for _ in range(times):
        write(12)
        await asyncio.sleep(0.002)


@BOTH
async def test_what_leaves_a_filter_is_a_deletion_and_what_never_was_in_it_is_not_told(
    desk: Desk, session: aiohttp.ClientSession, transport: Transport
) -> None:
    put = desk.script.put
    put("a", value=b'{"sex":"1"}')
    put("b", value=b'{"sex":"2"}')
    desk.apply()
    messages = transport(session, desk.url(PATH + "?from=state&where=sex%20%3D%3D%20'1'"), None)
    state = await until(messages, "live")
    assert [data["key"] for name, _, data in state if name == "change"] == ["a"]
    put("b", value=b'{"sex":"2","name":"x"}')  # never in it
    put("a", value=b'{"sex":"2"}')  # leaves
    put("a", value=b'{"sex":"2","name":"y"}')  # is out
    put("b", value=b'{"sex":"1"}')  # comes
    desk.script.delete("a")  # is out
    desk.script.delete("b")  # leaves
    desk.apply()
    told = [await anext(messages) for _ in range(3)]
    while len([each for each in told if each[0] == "change"]) < 3:
        told.append(await anext(messages))
    changes = [(data["key"], data["op"]) for name, _, data in told if name == "change"]
    assert changes == [("a", "delete"), ("b", "put"), ("b", "delete")]
    await messages.aclose()  # type: ignore[attr-defined]


@BOTH
async def test_a_filter_sees_no_more_than_its_visitor(
    desk: Desk, session: aiohttp.ClientSession, transport: Transport
) -> None:
    sight = Sight((), ("id_number", "street", "sex", "phone"), {"phone": "last4"})
    desk.visitor = Visitor("system", "kiosk", purpose="test", sights={NAME: sight})
    hidden = await session.get(desk.url(PATH + "?where=name%20%3D%3D%20'x'"))
    assert hidden.status == 400
    said = (await hidden.json())["detail"]
    assert "got `name` for `resident.v2`" in said
    assert "sex" in said
    desk.script.put("a", value=b'{"phone":"13012345678","sex":"1"}')
    desk.apply()
    for where, count in (("'13012345678'", 0), ("'*******5678'", 1)):
        query = f"?from=state&where=phone%20%3D%3D%20{where}"
        messages = transport(session, desk.url(PATH + query), None)
        state = await until(messages, "live")
        assert len(state) == count + 1
        await messages.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("sex ==", "Expected a CEL expression"),
        ("nobody == '1'", "got `nobody` for `resident.v2`"),
        ("shout(sex)", "functions of CEL"),
        ("x" * 5000, "at most 1000 characters"),
    ],
)
async def test_a_wrong_filter_is_named(
    desk: Desk, session: aiohttp.ClientSession, where: str, says: str
) -> None:
    answer = await session.get(desk.url(), params={"where": where})
    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert says in (await answer.json())["detail"]


async def test_one_verdict_serves_all_who_are_told_the_same(
    desk: Desk, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    holds = Where.holds

    def counted(self: Where, contract: str, record: Mapping[str, Any]) -> bool:
        asked.append(record)
        return holds(self, contract, record)

    monkeypatch.setattr(Where, "holds", counted)
    query = PATH + "?where=sex%20%3D%3D%20'1'"
    several = [sse(session, desk.url(query), None) for _ in range(5)]
    several += [ws(session, desk.url(query), None) for _ in range(5)]
    for each in several:
        await anext(each)
    desk.script.put("a", value=b'{"sex":"1"}')
    desk.apply()
    for each in several:
        await until(each, "change")
        await each.aclose()  # type: ignore[attr-defined]
    assert len(asked) == 1


@BOTH
async def test_who_comes_between_a_change_and_its_writing_is_told_only_what_follows(
    desk: Desk,
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    transport: Transport,
) -> None:
    monkeypatch.setattr(fanout_module, "TICK", 0.5)
    monkeypatch.setattr(fanout_module, "LONGEST_TICK", 0.5)
    await desk.close()
    await desk.open()
    first = transport(session, desk.url(), None)
    await anext(first)
    desk.script.put("a")
    desk.apply()
    await until(first, "change")
    desk.script.put("b")
    desk.apply()  # waits for the tick
    second = transport(session, desk.url(), None)
    await anext(second)
    desk.script.put("c")
    desk.apply()
    told = [*await until(first, "change"), *await until(first, "change")]
    assert [data["key"] for _, _, data in told] == ["b", "c"]
    assert [data["key"] for _, _, data in await until(second, "change")] == ["c"]
    for each in (first, second):
        await each.aclose()  # type: ignore[attr-defined]


async def test_a_token_too_old_or_of_another_store_is_told_plainly(
    desk: Desk,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.window.store.FEED", 5)
    monkeypatch.setattr("agents.window.store._TRIM_EVERY", 1)
    first = desk.feed.token
    for number in range(30):
        desk.script.put(f"k{number}")
    desk.apply()
    other = Feed(Store(tmp_path / "other.sqlite")).token
    for token, says in ((first, "no longer reaches"), (other, "token of this window")):
        answer = await session.get(desk.url(), headers={"Last-Event-ID": token})
        assert (answer.status, answer.content_type) == (410, "application/problem+json")
        assert says in (await answer.json())["detail"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(desk.url(f"{PATH}?last_event_id={token}"))
        assert refused.value.status == 410
        # A page cannot see that status: it is told by the close.
        page = await session.ws_connect(
            desk.url(f"{PATH}?last_event_id={token}"), origin=desk.url("/").rstrip("/")
        )
        closed = await page.receive()
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 4410)
        assert says in str(closed.extra)


async def test_a_token_of_what_a_power_cut_took_is_refused(
    desk: Desk, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    desk.script.put("a")
    desk.apply()
    kept = desk.feed.token
    files = [file for file in tmp_path.iterdir() if file.name.startswith("w.sqlite")]
    before = {file: file.read_bytes() for file in files if not file.name.endswith("-shm")}
    desk.script.put("b")
    desk.apply()
    lost = desk.feed.token
    await desk.close()
    for file in tmp_path.glob("w.sqlite*"):
        file.unlink()
    for file, content in before.items():
        file.write_bytes(content)
    await desk.open()
    desk.script.put("c")
    desk.script.put("d")
    desk.apply()
    assert (await session.get(desk.url(), headers={"Last-Event-ID": lost})).status == 410
    messages = sse(session, desk.url(), kept)
    told = await until(messages, "change")
    assert told[0][2]["key"] == "c"
    await messages.aclose()  # type: ignore[attr-defined]


async def test_a_socket_that_never_reads_is_cut_and_nobody_else_is_touched(
    desk: Desk, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout_module, "SLOW", 0.5)
    monkeypatch.setattr(events_module, "SOCKET", 16 * 1024)
    monkeypatch.setattr(events_module, "PARTING", 0.1)
    assert desk.server
    loop, deaf = asyncio.get_running_loop(), []
    for request in (PATH, PATH + " HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade"):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        await loop.sock_connect(made, ("127.0.0.1", desk.server.port))
        version = "" if "Upgrade" in request else " HTTP/1.1"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        await loop.sock_sendall(
            made, f"GET {request}{version}\r\nHost: 127.0.0.1\r\n{key}\r\n".encode()
        )
        deaf.append(made)
    quick = sse(session, desk.url(), None)
    await anext(quick)
    await asyncio.sleep(0.1)
    assert value(desk.status, "levelsync_window_subscribers", "websocket") == 1
    text = b'{"name":"%s"}' % (b"x" * 2000)
    seen = 0
    async with asyncio.timeout(20):
        while value(desk.status, "levelsync_window_cuts", "slow") < 2:
            for number in range(50):
                desk.script.put(f"k{number}", value=text)
            desk.apply()
            sent, began = desk.feed.last, loop.time()
            while seen < sent:
                name, token, _ = await anext(quick)
                seen = int(token.rpartition(".")[2]) if token and name == "change" else seen
            assert loop.time() - began < 5, "it waited for the one who does not read"
            await asyncio.sleep(0.02)
    for made in deaf:
        made.close()
    await quick.aclose()  # type: ignore[attr-defined]
    assert value(desk.status, "levelsync_window_subscribers", "websocket") == 0


def value(status: Status, metric: str, label: str) -> float:
    """Of one sample of /metrics."""
    for found in status.collect():
        for sample in found.samples:
            if found.name == metric and label in sample.labels.values():
                return sample.value
    raise AssertionError(f"no {metric} of {label}")


@BOTH
async def test_places_are_limited_for_a_visitor_and_for_the_window(
    desk: Desk,
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    transport: Transport,
) -> None:
    desk.visitor = Visitor("system", "kiosk", purpose="test", subscribers=1)
    first = transport(session, desk.url(), None)
    await anext(first)
    answer = await session.get(desk.url())
    assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
    assert "at most 1 of `kiosk`" in (await answer.json())["detail"]
    desk.visitor = MACHINE
    second = transport(session, desk.url(), None)
    await anext(second)
    monkeypatch.setattr(fanout_module, "MOST", 2)
    full = await session.get(desk.url())
    assert (full.status, full.headers["Retry-After"]) == (503, "10")
    for each in (first, second):
        await each.aclose()  # type: ignore[attr-defined]
    desk.visitor = Visitor("system", "kiosk", purpose="test", subscribers=1)
    async with asyncio.timeout(5):
        while (await session.get(desk.url("/healthz"))).status:
            again = await session.get(desk.url())
            if again.status == 200:
                break
            await asyncio.sleep(0.1)
    again.close()


async def test_rights_that_end_end_the_feed_with_a_word(
    desk: Desk, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout_module, "BEAT", 0.05)
    one = sse(session, desk.url(), None)
    other = await session.ws_connect(desk.url())
    await anext(one)
    desk.allowed = False
    assert (await until(one, "cut"))[-1] == ("cut", None, {"reason": "rights ended"})
    async with asyncio.timeout(5):
        assert [each async for each in one] == []
        while (message := await other.receive()).type == aiohttp.WSMsgType.TEXT:
            last = json.loads(message.data)
    assert last["event"] == "cut"
    assert other.close_code == 4403
    assert str(message.extra) == "rights ended"


@BOTH
async def test_a_token_taken_out_of_the_node_file_ends_its_feeds(
    desk: Desk,
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    transport: Transport,
) -> None:
    monkeypatch.setattr(fanout_module, "BEAT", 0.05)
    desk.by_gate, desk.table = True, Window(system=(KIOSK,))
    await desk.close()
    await desk.open()
    session.headers.update(BEARER)
    messages = transport(session, desk.url(), None)
    await anext(messages)
    desk.office.table = Window()
    assert (await until(messages, "cut"))[-1] == ("cut", None, {"reason": "rights ended"})


@BOTH
async def test_a_heartbeat_comes_also_when_nothing_moves(
    desk: Desk,
    session: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    transport: Transport,
) -> None:
    monkeypatch.setattr(fanout_module, "BEAT", 0.05)
    desk.follow.hop.complete = 1_700_000_000_000_000
    messages = transport(session, desk.url(), None)
    async with asyncio.timeout(5):
        name, token, data = await anext(messages)
        assert (name, token) == ("watermark", desk.feed.token)
        assert data["complete_as_of"] == "2023-11-14T22:13:20.000000Z"
        if transport is ws:
            assert await anext(messages) == (name, token, data)
            return
        answer = await session.get(desk.url())
        comment = b""
        while not comment.startswith(b": watermark"):
            comment = await answer.content.readline()
        assert json.loads(comment.split(b" ", 2)[2]) == data
        answer.close()
        desk.follow.hop.complete += 1_000_000
        while (await anext(messages))[2]["complete_as_of"] != "2023-11-14T22:13:21.000000Z":
            pass


@BOTH
async def test_who_is_told_of_nothing_has_a_token_that_does_not_grow_old(
    desk: Desk, session: aiohttp.ClientSession, transport: Transport
) -> None:
    messages = transport(session, desk.url(PATH + "?scope=370103"), None)
    async with asyncio.timeout(5):
        first = await anext(messages)
        desk.script.put("k1")
        desk.apply()
        desk.follow.hop.complete = 1_700_000_000_000_000
        while (message := await anext(messages))[1] == first[1]:
            pass
    assert message[:2] == ("watermark", desk.feed.token)


async def test_a_subscription_is_told_to_the_journal_once(
    desk: Desk, session: aiohttp.ClientSession
) -> None:
    for transport in (sse, ws):
        messages = transport(
            session, desk.url("/v1/events?contracts=resident.v2,resident.v2"), None
        )
        await anext(messages)
        await messages.aclose()  # type: ignore[attr-defined]
    refused = await session.get(desk.url(PATH + "?from=dawn"))
    assert refused.status == 400
    what = "contracts=resident.v2,resident.v2"
    assert desk.journal.told == [("this machine", "follow", NAME, what)] * 2


async def test_an_http_1_0_client_is_told_without_chunks(desk: Desk) -> None:
    assert desk.server
    desk.script.put("a")
    desk.apply()
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.server.port)
    writer.write(f"GET {PATH}?from=state HTTP/1.0\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert (await reader.readline()) == b"event: change\n"
    writer.close()


async def test_what_a_subscriber_says_over_websocket_is_passed_over_and_bounded(
    desk: Desk, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(desk.url()) as answer:
        await answer.send_str("hello?")
        await answer.ping(b"still there?")
        desk.script.put("a")
        desk.apply()
        async with asyncio.timeout(5):
            while json.loads((await answer.receive()).data)["event"] != "change":
                pass
            await answer.send_str("x" * 10_000)
            while (await answer.receive()).type == aiohttp.WSMsgType.TEXT:
                pass
        assert answer.close_code == 1009


async def test_a_window_that_closes_ends_every_feed(
    desk: Desk, session: aiohttp.ClientSession
) -> None:
    one = sse(session, desk.url(), None)
    await anext(one)
    other = await session.ws_connect(desk.url())
    hearing = asyncio.create_task(last_of(other))
    async with asyncio.timeout(5):
        await asyncio.sleep(0.05)
        await desk.close()
        assert [each async for each in one] == []
        await hearing
    assert other.close_code == 1001


async def last_of(answer: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in answer:
        pass
