"""Who may come in by each way there is, and with what."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
from aiohttp import DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from agents.base.window import Clerks, Login, Window
from agents.window.answers import VISITOR
from agents.window.files import FILES
from agents.window.gateway import window_app
from agents.window.openapi import addresses
from agents.window.rates import Failures, Rates, network
from agents.window.rights import MACHINE, visitor_of
from tests.agents.window.house import ENOUGH, LITTLE, SYSTEMS, House, bearer

WRONG = "wrong-token-wrong-token"
#: By way in: the status without a token, with a wrong one, with one that may not, with one that may.
#: ``{one}`` is a contract that the smaller token does not see, ``{key}`` a key in it.
WAYS: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("GET", "/v1/contracts"): (401, 401, 200, 200),
    ("GET", "/v1/{contract}/records/{key}"): (401, 401, 404, 200),
    ("GET", "/v1/{contract}/records"): (401, 401, 404, 200),
    ("GET", "/v1/{contract}/records/{key}/history"): (401, 401, 404, 200),
    ("GET", "/v1/{contract}/events"): (401, 401, 404, 200),
    ("GET", "/v1/events"): (401, 401, 404, 200),
    # This window takes in none.
    ("POST", "/v1/{contract}/records/{key}/corrections"): (401, 401, 404, 404),
    ("GET", "/v1/corrections"): (401, 401, 404, 404),
    ("GET", "/v1/freshness"): (401, 401, 200, 200),
    ("GET", "/v1/session"): (200, 401, 200, 200),
    ("POST", "/v1/session"): (415, 401, 415, 415),
    ("DELETE", "/v1/session"): (204, 401, 204, 204),
    ("GET", "/login"): (404, 404, 404, 404),
    ("GET", "/login/back"): (404, 404, 404, 404),
    ("GET", "/openapi.json"): (200, 401, 200, 200),
    ("GET", "/healthz"): (200, 200, 200, 200),
    ("GET", "/readyz"): (200, 200, 200, 200),
    ("GET", "/status"): (401, 401, 200, 200),
    ("GET", "/metrics"): (401, 401, 200, 200),
    **dict.fromkeys(
        [("GET", path) for path in FILES],
        (200, 200, 200, 200),
    ),
}


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def client(house: House) -> AsyncIterator[TestClient[Any, Any]]:
    jar = DummyCookieJar()
    async with TestClient(TestServer(house.app), cookie_jar=jar) as made:
        yield made


def test_every_address_is_in_the_table_of_ways_in(house: House) -> None:
    assert set(addresses(house.app)) <= set(WAYS)


@pytest.mark.parametrize(("method", "path"), WAYS, ids=str)
async def test_each_way_in_asks_for_what_it_should(
    house: House, client: TestClient[Any, Any], method: str, path: str
) -> None:
    if (method, path) not in addresses(house.app):
        pytest.skip("not at this window")
    key = house.key("resident.v2")
    address = path.replace("{contract}", "resident.v2").replace("{key}", key)
    if path == "/v1/events":
        address += "?contracts=resident.v2"
    body = None
    if path.endswith("/corrections") and method == "POST":
        body = {"field": "name", "seen": "x", "proposed": "y", "evidence": "z"}
    ways: list[dict[str, str]] = [{}, bearer(WRONG), bearer(LITTLE), bearer(ENOUGH)]
    for headers, status in zip(ways, WAYS[method, path], strict=True):
        answer = await client.request(
            method, address, headers=headers, json=body, allow_redirects=False
        )
        assert answer.status == status, (headers, await answer.text())
        assert (answer.headers.get("WWW-Authenticate", "")[:6] == "Bearer") == (status == 401)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        if status >= 400:
            assert answer.content_type == "application/problem+json"
        answer.close()


async def test_what_a_token_does_not_give_is_as_if_it_were_not_there(
    house: House, client: TestClient[Any, Any]
) -> None:
    little, name = bearer(LITTLE), "business_licence.v1"
    listed = await (await client.get("/v1/contracts", headers=little)).json()
    assert [each["name"] for each in listed["contracts"]] == [name]
    assert len(listed["contracts"][0]["fields"]) == 4
    assert listed["contracts"][0]["searchable"] == ["company_name"]
    key = house.key(name, "370102001")
    body = await (await client.get(f"/v1/{name}/records/{key}", headers=little)).json()
    assert set(body["record"]) == {
        "credit_code", "division_code", "company_name", "legal_person_id"
    }  # fmt: skip
    assert body["record"]["legal_person_id"].startswith("*" * 14)
    other = house.key(name, "370202")
    for path in (f"{name}/records/{other}", f"{name}/records/{other}/history", "no.v1/records"):
        assert (await client.get(f"/v1/{path}", headers=little)).status == 404
    page = await (await client.get(f"/v1/{name}/records", headers=little)).json()
    assert {each["scope"] for each in page["records"]} == {"370102001"}
    document = await (await client.get("/openapi.json", headers=little)).text()
    assert "resident.v2" not in document
    assert "establishment_date" not in document


async def test_other_schemes_than_bearer_are_refused(client: TestClient[Any, Any]) -> None:
    for given in ("Basic eDp5", ENOUGH, f"bearer{ENOUGH}", "Bearer", "", f"Token {ENOUGH}"):
        answer = await client.get("/v1/contracts", headers={"Authorization": given})
        assert answer.status == 401
    answer = await client.get("/v1/contracts", headers={"Authorization": f"bearer  {ENOUGH} "})
    assert answer.status == 200, "the scheme's name is of any case"


# ---- sessions --------------------------------------------------------------------------------


async def logged_in(client: TestClient[Any, Any], token: str = ENOUGH) -> dict[str, str]:
    answer = await client.post("/v1/session", json={"token": token})
    assert answer.status == 204, await answer.text()
    (said,) = answer.headers.getall("Set-Cookie")
    assert "HttpOnly" in said
    assert "SameSite=Lax" in said
    assert "Path=/" in said
    assert "Max-Age=28800" in said or "Max-Age=28799" in said
    return {"Cookie": said.partition(";")[0]}


async def test_a_session_is_what_its_token_is_until_it_ends(
    house: House, client: TestClient[Any, Any]
) -> None:
    nobody = await (await client.get("/v1/session")).json()
    assert nobody["kind"] is None
    assert nobody["login"] == {"token": True, "oidc": None}
    cookie = await logged_in(client)
    assert (await client.get("/v1/contracts", headers=cookie)).status == 200
    said = await (await client.get("/v1/session", headers=cookie)).json()
    assert (said["kind"], said["name"], said["corrections"]) == ("system", "counter", True)
    own = {"Origin": f"http://{client.host}:{client.port}"}
    gone = await client.delete("/v1/session", headers=cookie | own)
    assert gone.status == 204
    assert "Max-Age=0" in gone.headers["Set-Cookie"]
    assert (await client.get("/v1/contracts", headers=cookie)).status == 401


async def test_a_session_holds_over_a_restart_and_its_number_is_not_kept(
    house: House, client: TestClient[Any, Any], tmp_path: Path
) -> None:
    cookie = await logged_in(client)
    number = cookie["Cookie"].partition("=")[2]
    await client.close()
    for file in tmp_path.glob("sessions.sqlite*"):
        assert number.encode() not in file.read_bytes()
        assert ENOUGH.encode() not in file.read_bytes()
    (tmp_path / "again").mkdir()
    again = House(tmp_path / "again")
    again.office.sessions = tmp_path / "sessions.sqlite"

    async with TestClient(TestServer(window_app(again.office))) as anew:
        assert (await anew.get("/v1/contracts", headers=cookie)).status == 200


async def test_a_session_ends_after_its_hours(
    house: House, client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = await logged_in(client)

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 3_600 + 1)
    assert (await client.get("/v1/contracts", headers=cookie)).status == 401


async def test_with_a_cookie_what_changes_something_comes_from_the_windows_own_page(
    client: TestClient[Any, Any],
) -> None:
    cookie = await logged_in(client)
    host = f"{client.host}:{client.port}"
    for origin in (
        None,
        "null",
        "http://evil.example",
        f"http://{host}.evil.example",
        f"http://evil.example:{client.port}",
        "http://",
        "",
    ):
        headers = cookie | ({} if origin is None else {"Origin": origin})
        answer = await client.delete("/v1/session", headers=headers)
        assert answer.status == 403, origin
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        answer = await client.get("/v1/resident.v2/events", headers=headers | upgrade)
        assert answer.status == 403, origin
    foreign = cookie | {"Origin": "http://evil.example"}
    assert (await client.get("/v1/contracts", headers=foreign)).status == 200
    for fetched, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 204)):
        answer = await client.delete("/v1/session", headers=cookie | {"Sec-Fetch-Site": fetched})
        assert answer.status == status


@pytest.mark.parametrize("feed", ["/v1/resident.v2/events", "/v1/events?contracts=resident.v2"])
async def test_a_page_of_elsewhere_follows_nothing_with_its_onlookers_cookie(
    client: TestClient[Any, Any], feed: str
) -> None:
    cookie = await logged_in(client)
    own = f"http://{client.host}:{client.port}"
    for headers, status in (
        ({}, 200),
        ({"Origin": own}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ):
        answer = await client.get(feed, headers=cookie | headers)
        assert answer.status == status, headers
        answer.close()


async def test_nobody_is_logged_in_from_elsewhere(client: TestClient[Any, Any]) -> None:
    answer = await client.post(
        "/v1/session", json={"token": ENOUGH}, headers={"Origin": "http://evil.example"}
    )
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers


async def test_the_cookie_is_secure_where_browsers_come_by_tls(
    house: House, client: TestClient[Any, Any]
) -> None:
    answer = await client.post("/v1/session", json={"token": ENOUGH})
    assert "Secure" not in answer.headers["Set-Cookie"]

    login = Login(issuer="https://login.example", client="w", url="https://window.example", hours=2)
    clerks = Clerks(group="*", purpose="p", contracts=("resident.v2",))
    house.use(login=login, clerks=(clerks,))
    answer = await client.post("/v1/session", json={"token": ENOUGH})
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "Max-Age=7" in answer.headers["Set-Cookie"]
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    headers = cookie | {"Origin": "https://window.example"}
    assert (await client.delete("/v1/session", headers=headers)).status == 204


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"token":"x"}', "text/plain", 415),
        (b'{"token":"x"}', None, 415),
        (b"", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"token":7}', "application/json", 400),
        (b'{"token":"x","more":1}', "application/json", 400),
        (b"[" * 2_000, "application/json", 400),
        (b'{"token":' + b"[" * 2_000 + b"]" * 2_000 + b"}", "application/json", 400),
        (b'{"token":"\xff"}', "application/json", 400),
        (b'{"token":"\\ud800"}', "application/json", 400),
        (b'{"token":"' + b"x" * 5_000 + b'"}', "application/json", 413),
        (b'{"token":"' + WRONG.encode() + b'"}', "application/json", 401),
        ('{"token":"令牌令牌令牌令牌令牌令牌令牌"}'.encode(), "application/json; charset=utf-8", 401),
    ],
)  # fmt: skip
async def test_a_wrong_login_is_told_what_is_wrong(
    client: TestClient[Any, Any], body: bytes, kind: str | None, status: int
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    skip = () if kind else ("Content-Type",)
    answer = await client.post("/v1/session", data=body, headers=headers, skip_auto_headers=skip)
    assert answer.status == status, await answer.text()
    assert answer.content_type == "application/problem+json"
    assert "Set-Cookie" not in answer.headers


# ---- changes of the node file ----------------------------------------------------------------


async def test_a_token_taken_out_ends_its_sessions_and_is_not_met_again(
    house: House, client: TestClient[Any, Any]
) -> None:
    cookie, kept = await logged_in(client), await logged_in(client, LITTLE)
    house.use(system=SYSTEMS[1:])
    assert (await client.get("/v1/contracts", headers=bearer(ENOUGH))).status == 401
    assert (await client.get("/v1/contracts", headers=cookie)).status == 401
    assert (await client.get("/v1/contracts", headers=kept)).status == 200
    house.use(system=SYSTEMS)
    assert (await client.get("/v1/contracts", headers=bearer(ENOUGH))).status == 200
    assert (await client.get("/v1/contracts", headers=cookie)).status == 401, "it has ended"


async def test_other_rights_count_from_the_next_request_on(
    house: House, client: TestClient[Any, Any]
) -> None:
    cookie = await logged_in(client, LITTLE)
    wider = msgspec.structs.replace(SYSTEMS[1], contracts=("resident.v2", "business_licence.v1"))
    for headers in (cookie, bearer(LITTLE)):
        assert (await client.get("/v1/resident.v2/records", headers=headers)).status == 404
    house.use(system=(SYSTEMS[0], wider))
    for headers in (cookie, bearer(LITTLE)):
        assert (await client.get("/v1/resident.v2/records", headers=headers)).status == 200


async def test_whoever_follows_is_asked_again(house: House) -> None:
    visitors = house.office
    gate_visitors: list[Any] = []

    async def who(request: web.Request) -> web.Response:
        gate_visitors.append(request[VISITOR])
        return web.Response()

    app = house.app
    app.router.add_get("/v1/who", who)
    async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
        cookie = await logged_in(client)
        for headers in (bearer(ENOUGH), bearer(LITTLE), cookie):
            assert (await client.get("/v1/who", headers=headers)).status == 200
        enough, little, guest = gate_visitors
        assert [visitors.still(each) for each in gate_visitors] == [True] * 3
        assert not visitors.still(MACHINE)
        house.use(system=(SYSTEMS[0], msgspec.structs.replace(SYSTEMS[1], scopes=("370102",))))
        assert [visitors.still(each) for each in gate_visitors] == [True, False, True]
        own = {"Origin": f"http://{client.host}:{client.port}"}
        await client.delete("/v1/session", headers=cookie | own)
        assert [visitors.still(each) for each in gate_visitors] == [True, False, False]
        house.office.secret = "another secret"
        assert not visitors.still(enough)
        house.office.table = Window()
        assert visitors.still(MACHINE)
    assert (enough.name, little.name, guest.name) == ("counter", "screen", "counter")


# ---- where nothing is asked for --------------------------------------------------------------


async def test_an_open_window_answers_to_names_of_this_machine_only(tmp_path: Path) -> None:
    house = House(tmp_path, Window(listen="127.0.0.1:8700"))
    async with TestClient(TestServer(house.app)) as client:
        said = await (await client.get("/v1/session")).json()
        assert (said["kind"], said["login"]) == ("machine", {"token": False, "oidc": None})
        for path in ("/v1/contracts", "/", "/openapi.json", "/metrics", "/status", "/healthz"):
            for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8700", "[::1]:80", "127.8.8.8"):
                answer = await client.get(path, headers={"Host": host})
                assert answer.status == 200, (path, host)
            for host in (
                "evil.example",
                "evil.example:8700",
                "127.0.0.1.evil.example",
                "10.0.0.1",
                "[",
                "a@b@c",
                "localhost.evil.example",
                "[::2]",
            ):
                answer = await client.get(path, headers={"Host": host})
                assert answer.status == 421, (path, host)
                assert "evil" not in answer.headers.get("Location", "")


async def test_no_page_of_elsewhere_changes_or_follows_anything_at_an_open_window(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, Window())
    async with TestClient(TestServer(house.app)) as client:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        evil, own = (
            {"Origin": "https://evil.example"},
            {"Origin": f"http://{client.host}:{client.port}"},
        )
        for headers, status in ((evil, 403), (own, 204), ({}, 204)):
            assert (await client.delete("/v1/session", headers=headers)).status == status
        answer = await client.get("/v1/resident.v2/events", headers=evil | upgrade)
        assert answer.status == 403


async def test_a_guarded_window_may_be_called_by_any_name(client: TestClient[Any, Any]) -> None:
    headers = bearer(ENOUGH) | {"Host": "window.lixia.example"}
    assert (await client.get("/v1/contracts", headers=headers)).status == 200


# ---- how often -------------------------------------------------------------------------------


async def test_each_visitor_has_so_many_requests_a_second(
    house: House, client: TestClient[Any, Any]
) -> None:
    slow = msgspec.structs.replace(SYSTEMS[0], rate=3)
    house.use(system=(slow, SYSTEMS[1]))
    answers = [await client.get("/v1/contracts", headers=bearer(ENOUGH)) for _ in range(20)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    assert (await client.get("/v1/contracts", headers=bearer(LITTLE))).status == 200
    assert (await client.get("/readyz", headers=bearer(ENOUGH))).status == 200


def test_a_refused_request_costs_nothing_and_the_table_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = Rates()
    visitor = visitor_of(msgspec.structs.replace(SYSTEMS[0], rate=2), "a", "")
    waits = [rates.admit(visitor, 10.0) for _ in range(100)]
    assert waits[:2] == [0.0, 0.0]
    assert max(waits) <= 0.5
    assert rates.admit(visitor, 11.0) == 0
    monkeypatch.setattr("agents.window.rates.MOST", 5)
    for number in range(50):
        rates.take(number, 1, 11.0)
    assert len(rates._budgets) == 5


def test_wrong_tokens_wait_longer_and_longer_and_are_forgiven() -> None:
    failures = Failures()
    waits = [failures.note("10.0.0.1", 0.0)[1] for _ in range(30)]
    assert waits[:5] == [0.0] * 5
    assert waits[5:8] == [0.1, 0.2, 0.4]
    assert max(waits) == 2.0
    assert failures.note("10.0.0.2", 0.0)[1] == 0
    assert failures.note("10.0.0.1", 10_000.0)[1] == 0
    for number in range(30_000):
        failures.note(str(number), 0.0)
    assert len(failures._counts) == 10_000


def test_a_household_has_one_address() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("fe80::1%eth0") == network("fe80::2%eth0")
    assert network("10.0.0.1") == "10.0.0.1"
    assert network("") == ""


async def test_a_right_token_never_waits_for_the_wrong_ones(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.window.gate.WAITING", 20)
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(asked(client, "/v1/contracts", bearer(f"{WRONG}{number}")))
            for number in range(60)
        ]
        while not any(task.done() and task.result() == 429 for task in waiting):
            await asyncio.sleep(0.01)
        assert await asked(client, "/v1/contracts", bearer(ENOUGH)) == 200
        assert not all(task.done() for task in waiting)
    assert {task.result() for task in waiting} == {401, 429}
    metrics = await (await client.get("/metrics", headers=bearer(ENOUGH))).text()
    assert 'levelsync_window_refused_total{node="370102",why="token"} 60.0' in metrics


async def asked(client: TestClient[Any, Any], path: str, headers: dict[str, str]) -> int:
    """The status alone."""
    async with client.get(path, headers=headers) as answer:
        return answer.status


# ---- logs ------------------------------------------------------------------------------------


async def test_no_token_cookie_or_key_is_in_the_logs(
    house: House,
    client: TestClient[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = house.key("resident.v2")
    with structlog.testing.capture_logs() as logs, caplog.at_level(logging.DEBUG):
        cookie = await logged_in(client)
        await client.get(f"/v1/resident.v2/records/{key}", headers=bearer(WRONG))
        await client.post("/v1/session", json={"token": WRONG})
        await client.get("/v1/contracts", headers={"Authorization": f"Basic {WRONG}"})
        await client.get("/v1/contracts", headers={"Cookie": f"levelsync-370102={WRONG}"})
        monkeypatch.setattr(house.store, "get", broken)
        answer = await client.get(f"/v1/resident.v2/records/{key}", headers=bearer(ENOUGH))
        assert answer.status == 500
        said = await answer.text()
    # The test's own server has a log of what was asked; the window's has none.
    told = str(logs) + "".join(
        each.getMessage() for each in caplog.records if each.name != "aiohttp.access"
    )
    assert [each["event"] for each in logs].count("a wrong token") == 2, "1st and 2nd of three"
    assert "a request failed" in told
    for secret in (ENOUGH, WRONG, cookie["Cookie"].partition("=")[2], key):
        assert secret not in told
        assert secret not in said


def broken(*_: object) -> None:
    raise RuntimeError("the store is not well")
