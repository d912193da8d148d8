"""The window over HTTP: answers with their completeness, and errors that say what was expected."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from agents.base.status import Status
from agents.base.stream import Slice
from agents.kafka.cluster import Cluster
from agents.window.feed import Feed
from agents.window.files import FILES
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.office import Office
from agents.window.store import Store, StoreDamaged
from tests.agents.window.scripted import LOOSE, TOPIC, Script

MARKED = 1_700_000_000_000_000


class Scripted:
    """A :class:`agents.base.stream.Reader` that brings what it is given."""

    def __init__(self) -> None:
        self.slices: asyncio.Queue[Slice] = asyncio.Queue()

    async def read(self) -> list[Slice]:
        return [await self.slices.get()]

    def grown(self, counts: Mapping[str, int]) -> bool:
        return False


class Window:
    """A gateway over a scripted reader."""

    def __init__(self, path: Path) -> None:
        self.script = Script()
        self.reader = Scripted()
        self.status = status = Status("370102", "test")
        status.planned = True
        store = Store(path)
        feed = Feed(store)
        self.follow = Follow(
            status,
            contract=LOOSE,
            cluster=Cluster("127.0.0.1:1"),
            store=store,
            feed=feed,
            sources=lambda: frozenset({TOPIC}),
        )
        status.show(self.follow.hop)
        follows = {"resident.v2": self.follow}
        self.app = window_app(Office("历下区", "370102", store, feed, follows, status))
        self.stop = asyncio.Event()
        self.client: TestClient[Any, Any] = TestClient(TestServer(self.app))

    async def bring(self) -> None:
        before = self.follow.hop.moved_at
        await self.reader.slices.put(self.script.slice())
        async with asyncio.timeout(10.0):
            while self.follow.hop.moved_at == before:
                await asyncio.sleep(0.001)

    async def get(self, path: str, **headers: str) -> Any:
        return await self.client.get(
            path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    made = Window(tmp_path / "w.sqlite")
    reading = asyncio.create_task(
        made.follow.read(made.stop, made.reader, {TOPIC: 3}), name="follow"
    )
    async with made.client:
        made.script.put("a", value=b'{"name":"one"}')
        made.script.put("b", scope="370103001")
        made.script.mark(MARKED)
        await made.bring()
        yield made
        made.stop.set()
        await reading


async def test_a_record_is_answered_with_its_completeness(window: Window) -> None:
    answer = await window.get("/v1/resident.v2/records/a")
    body = await answer.json()
    assert body["record"] == {"name": "one"}
    assert body["scope"] == "370102001"
    assert answer.headers["Complete-As-Of"] == "2023-11-14T22:13:20.000000Z"
    again = await window.get("/v1/resident.v2/records/a", If_None_Match=answer.headers["ETag"])
    assert again.status == 304
    window.script.put("a", value=b'{"name":"two"}')
    await window.bring()
    changed = await window.get("/v1/resident.v2/records/a", If_None_Match=answer.headers["ETag"])
    assert (await changed.json())["record"] == {"name": "two"}


async def test_a_change_that_breaks_the_contract_is_not_shown_and_said(window: Window) -> None:
    before = await window.get("/v1/resident.v2/records/a")
    window.script.put("a", value=b'{"name":"one","sex":"7"}')
    window.script.put("c", value=b'{"sex":"7"}')
    window.script.mark(MARKED)
    await window.bring()
    answer = await window.get("/v1/resident.v2/records/a", If_None_Match=before.headers["ETag"])
    body = await answer.json()
    assert body["record"] == {"name": "one"}
    assert (body["refused"]["path"], body["refused"]["rule"]) == ("$.sex", "enum")
    missing = await window.get("/v1/resident.v2/records/c")
    assert missing.status == 404
    assert "refused" in (await missing.json())["detail"]
    (row,) = (await (await window.get("/v1/contracts")).json())["contracts"]
    assert (row["refused"], row["records"]) == (2, 2)
    window.script.put("a", value=b'{"name":"two"}')
    await window.bring()
    mended = await (await window.get("/v1/resident.v2/records/a")).json()
    assert (mended["record"], "refused" in mended) == ({"name": "two"}, False)


async def test_pages_follow_their_scope(window: Window) -> None:
    body = await (await window.get("/v1/resident.v2/records?limit=1")).json()
    assert [entry["key"] for entry in body["records"]] == ["a"]
    body = await (await window.get(f"/v1/resident.v2/records?limit=1&after={body['next']}")).json()
    assert [entry["key"] for entry in body["records"]] == ["b"]
    body = await (await window.get("/v1/resident.v2/records?scope=370102")).json()
    assert [entry["key"] for entry in body["records"]] == ["a"]
    assert body["next"] is None


async def test_the_list_of_contracts_says_how_fresh_and_how_much(window: Window) -> None:
    body = await (await window.get("/v1/contracts")).json()
    (found,) = body["contracts"]
    assert body["name"] == "历下区"
    assert found["records"] == 2
    assert found["complete_as_of"] == "2023-11-14T22:13:20.000000Z"
    titles = {field["name"]: field["title"]["en"] for field in found["fields"]}
    assert titles["id_number"] == "Citizen number"
    assert titles["phone"] == "Phone"
    (sex,) = [field for field in found["fields"] if field["name"] == "sex"]
    assert sex["labels"]["1"] == {"zh": "男", "en": "Male"}
    assert next(field for field in found["fields"] if field["name"] == "name")["personal"]
    assert found["searchable"] == ["household_no"]
    assert sex["shape"]["values"] == ["0", "1", "2", "9"]
    assert "labels" not in sex["shape"]
    (number,) = [field for field in found["fields"] if field["name"] == "id_number"]
    assert number["shape"]["pattern"] == "^[0-9]{17}[0-9X]$"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/resident.v9/records/a", 404, "Expected one of resident.v2"),
        ("/v1/resident.v2/records/nobody", 404, "has no `nobody`"),
        ("/v1/resident.v2/records?limit=0", 400, "limit=1 to 1000, got `0`"),
        ("/v1/resident.v2/records?limit=1e3", 400, "got `1e3`"),
        ("/v1/resident.v2/records?scope=x", 400, "division code"),
        (
            "/v1/resident.v2/records?were=1",
            400,
            "Expected scope, field, value, where, after, limit, got `were`",
        ),
        ("/v1/resident.v2/events?from=dawn", 400, "from=state or now"),
        ("/v1/resident.v2/events?last_event_id=x.1", 410, "begin again with from=state"),
        ("/v1/events", 400, "contracts=a,b"),
        ("/v1/events?contracts=resident.v2,x.v1", 404, "got `x.v1`"),
        ("/nowhere", 404, "/nowhere"),
    ],
)
async def test_an_error_says_what_was_expected(
    window: Window, path: str, status: int, says: str
) -> None:
    answer = await window.get(path)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    assert says in (await answer.json())["detail"]


async def test_another_method_is_refused(window: Window) -> None:
    answer = await window.client.post("/v1/contracts")
    assert (answer.status, answer.content_type) == (405, "application/problem+json")


async def messages(answer: Any, count: int, but: str = "watermark") -> list[dict[str, str]]:
    """The next ``count`` messages that are no heartbeat."""
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    async with asyncio.timeout(5):
        while len(found) < count:
            line = (await answer.content.readline()).decode().rstrip("\n")
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                current[name] = value
            else:
                if current and current.get("event") != but:
                    found.append(current)
                current = {}
    return found


async def test_the_feed_gives_state_then_live_and_resumes(window: Window) -> None:
    answer = await window.get("/v1/resident.v2/events?from=state")
    assert answer.content_type == "text/event-stream"
    first = await messages(answer, 3)
    assert [message["event"] for message in first] == ["change", "change", "live"]
    assert "id" not in first[0], "a cut in the middle of the state begins it again"
    window.script.put("c")
    window.script.delete("a")
    await window.bring()
    live = await messages(answer, 2)
    assert ['"op":"put"' in message["data"] for message in live] == [True, False]
    answer.close()
    resumed = await window.get("/v1/resident.v2/events?from=state", Last_Event_ID=live[0]["id"])
    assert await messages(resumed, 1) == live[1:]
    resumed.close()
    several = await window.get("/v1/events?contracts=resident.v2", Last_Event_ID=first[2]["id"])
    assert await messages(several, 2) == live
    several.close()


async def test_a_heartbeat_says_up_to_when_all_is_here(window: Window) -> None:
    answer = await window.get("/v1/resident.v2/events")
    (beat,) = await messages(answer, 1, but="change")
    assert beat["event"] == "watermark"
    assert '"complete_as_of":"2023-11-14T22:13:20.000000Z"' in beat["data"]
    answer.close()


async def test_the_page_asks_nobody_else(window: Window) -> None:
    assert {"/", "/window.css", "/window.js", "/words.js", "/window.svg"} <= FILES.keys()
    for path in FILES:
        answer = await window.get(path)
        text = await answer.text()
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "require-trusted-types-for 'script'" in answer.headers["Content-Security-Policy"]
        foreign = text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in foreign
        assert "https://" not in foreign
        assert "//cdn" not in foreign
    again = await window.get("/", If_None_Match=(await window.get("/")).headers["ETag"])
    assert again.status == 304


async def test_health_and_metrics_tell_of_the_hop(window: Window) -> None:
    assert (await window.get("/readyz")).status == 200
    metrics = await (await window.get("/metrics")).text()
    assert 'levelsync_events_total{contract="resident.v2"' in metrics
    window.follow.hop.state = "stopped"
    assert (await window.get("/healthz")).status == 503
    assert (await window.get("/readyz")).status == 503


async def test_a_window_that_is_answered_but_moves_no_further_is_not_healthy(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when every answer counts as progress: tried."""
    monkeypatch.setattr("agents.base.status.STUCK", 0.3)
    piece = window.script.slice()
    waiting = Slice(piece.topic, piece.partition, [], piece.next, piece.next + 7)
    async with asyncio.timeout(10):
        while (answer := await window.get("/healthz")).status == 200:
            await window.reader.slices.put(waiting)
            await asyncio.sleep(0.02)
    (said,) = (await answer.json())["trouble"].values()
    assert "nothing moved for" in said
    assert "7 records wait" in said
    window.script.put("a", value=b'{"name":"two"}')
    await window.bring()
    assert (await window.get("/healthz")).status == 200
    window.follow._status.troubles["grants"] = lambda: "`grants` has ended"
    answer = await window.get("/healthz")
    assert (answer.status, (await answer.json())["ok"]) == (503, False)


async def test_a_store_that_cannot_be_read_is_said_and_is_no_fault_of_the_asker(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise StoreDamaged(file="w.sqlite")

    monkeypatch.setattr(window.follow._store, "get", damaged)
    answer = await window.get("/v1/resident.v2/records/a")
    assert answer.status == 503
    assert "levelsync window rebuild" in (await answer.json())["detail"]


async def test_before_it_is_known_what_is_here_nothing_is_said_not_to_be(window: Window) -> None:
    window.status.planned = False
    for path in ("contracts", "resident.v2/records/a", "events?contracts=resident.v2"):
        answer = await window.get(f"/v1/{path}")
        body = await answer.json()
        assert (answer.status, body["title"]) == (503, "Not known yet")
        assert answer.headers["Retry-After"] == "1"
    window.status.planned = True
    assert (await window.get("/v1/resident.v2/records/a")).status == 200
