"""Clerks come by the office's own provider: what it vouches for is believed, and nothing else."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer
from joserfc import jwk

from agents.base.window import Clerks
from tests.agents.window.house import House, login_at
from tests.agents.window.provider import Provider

CLERKS = (
    Clerks(
        group="counter", purpose="over the counter", contracts=("resident.v2",), rate=1_000,
        fields={"resident.v2": ("id_number", "division_code", "name")}, corrections=False,
    ),
    Clerks(
        group="inspectors", purpose="inspection", contracts=("resident.v2", "business_licence.v1"),
        scopes=("370102001",), rate=2_000,
    ),
)  # fmt: skip


class Office:
    """A provider, a window and a browser."""

    def __init__(self, folder: Path, provider: Provider, browser: ClientSession) -> None:
        self.provider = provider
        self.browser = browser
        self.house = House(folder, login_at(provider.issuer, CLERKS, secret=provider.secret))
        self.server = TestServer(self.house.app)

    def use_own_url(self) -> None:
        login = login_at(
            self.provider.issuer, CLERKS, secret=self.provider.secret, url=self.at
        ).login
        self.house.use(login=login)

    @property
    def at(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def go(self, address: str) -> tuple[int, str, str]:
        """Where it leads next: status, Location and text."""
        if address.startswith("/"):
            address = self.at + address
        async with self.browser.get(address, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def begin(self) -> str:
        """The address with which the provider sends the browser back."""
        status, there, _ = await self.go("/login")
        assert status == 303, _
        status, back, _ = await self.go(there)
        assert status == 303
        return back

    async def login(self) -> int:
        """A whole login; the status at its end."""
        status, _, _ = await self.go(await self.begin())
        return status

    async def session(self) -> dict[str, Any]:
        async with self.browser.get(f"{self.at}/v1/session") as answer:
            said: dict[str, Any] = await answer.json()
            return said

    async def status(self, path: str) -> int:
        async with self.browser.get(self.at + path) as answer:
            return answer.status


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    provider = Provider()
    await provider.server.start_server()
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser:
        made = Office(tmp_path, provider, browser)
        await made.server.start_server()
        made.use_own_url()
        yield made
        await made.server.close()
    await provider.server.close()


async def test_a_clerk_logs_in_and_sees_what_their_group_may(office: Office) -> None:
    assert (await office.session())["login"] == {"token": False, "oidc": "/login"}
    assert await office.status("/v1/contracts") == 401
    status, there, _ = await office.go(await office.begin())
    assert (status, there) == (303, f"{office.at}/")
    said = await office.session()
    assert (said["kind"], said["name"], said["purpose"], said["corrections"]) == (
        "clerk", "wang.fang", "over the counter", False
    )  # fmt: skip
    assert await office.status("/v1/resident.v2/records") == 200
    assert await office.status("/v1/business_licence.v1/records") == 404
    assert ("wang.fang", "page", "resident.v2", "") in office.house.journal.lines
    names = {cookie.key for cookie in office.browser.cookie_jar}
    assert names == {"levelsync-370102"}, "nothing is left of the login itself"
    origin = {"Origin": office.at}
    async with office.browser.delete(f"{office.at}/v1/session", headers=origin) as answer:
        assert answer.status == 204
    assert await office.status("/v1/contracts") == 401


async def test_several_groups_have_what_each_gives_and_the_first_listed_wins(
    office: Office,
) -> None:
    office.provider.claims["groups"] = ["inspectors", "counter", "cooks"]
    assert await office.login() == 303
    said = await office.session()
    assert (said["purpose"], said["corrections"]) == ("over the counter; inspection", True)
    async with office.browser.get(f"{office.at}/v1/resident.v2/records") as answer:
        records = (await answer.json())["records"]
    assert len(records) == 20, "the counter's clerks see every division …"
    assert set(records[0]["record"]) == {"id_number", "division_code", "name"}, "… and few fields"
    async with office.browser.get(f"{office.at}/v1/business_licence.v1/records") as answer:
        records = (await answer.json())["records"]
    assert {each["scope"] for each in records} == {"370102001"}
    assert len(records[0]["record"]) > 5


@pytest.mark.parametrize("kind", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_each_algorithm_there_is(office: Office, kind: str) -> None:
    office.provider.rotate("k", {"ES256": "EC", "EdDSA": "OKP"}.get(kind, "RSA"))
    office.provider.algorithm = kind
    assert await office.login() == 303


@pytest.mark.parametrize(
    "lies",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"azp": "another"},
        {"exp": None},
        {"exp": "soon"},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": 7},
        {"groups": []},
        {"groups": ["cooks"]},
        {"groups": None},
        {"groups": {"counter": True}},
        {"groups": [7, None, ["counter"]]},
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_this_login_is_refused(
    office: Office, lies: dict[str, Any]
) -> None:
    office.provider.lies = lies
    assert await office.login() == 403
    assert (await office.session())["kind"] is None


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -3_600), ("iat", 3_600), ("nbf", 3_600)])
async def test_a_token_of_another_time_is_refused(office: Office, claim: str, seconds: int) -> None:
    office.provider.lies = {claim: int(time.time()) + seconds}
    assert await office.login() == 403


async def test_times_may_differ_a_little_and_audiences_be_several(office: Office) -> None:
    now = int(time.time())
    office.provider.lies = {"aud": ["window", "another"], "iat": now + 30, "exp": now - 30}
    assert await office.login() == 303


@pytest.mark.parametrize("how", ["none", "another", "secret", "header", "broken", "unknown"])
async def test_a_token_nobody_of_the_provider_signed_is_refused(office: Office, how: str) -> None:
    provider = office.provider
    if how == "none":
        provider.algorithm = "none"
    elif how == "another":
        provider.signer = jwk.RSAKey.generate_key(2048)
    elif how == "secret":
        # Signed with what the client knows too, and whoever reads its configuration.
        provider.algorithm, provider.signer = "HS256", jwk.OctKey.import_key(provider.secret)
    elif how == "header":
        # The token brings the key it was signed with.
        own = jwk.RSAKey.generate_key(2048)
        provider.signer, provider.head = own, {"jwk": own.as_dict(private=False)}
    elif how == "unknown":
        provider.head = {"kid": "nobody's"}
    else:
        provider._id_token = lambda nonce: "e30.e30.!!"  # type: ignore[method-assign]
    assert await office.login() == 403
    assert (await office.session())["kind"] is None


async def test_rotated_keys_are_fetched_and_old_ones_are_not_believed(office: Office) -> None:
    assert await office.login() == 303
    former = next(iter(office.provider.keys.values()))
    office.provider.rotate("second")
    assert await office.login() == 303
    assert office.provider.asked.count("keys") == 2
    office.provider.signer, office.provider.head = former, {"kid": "first"}
    assert await office.login() == 403


async def test_a_way_back_is_good_once_and_in_one_browser(office: Office) -> None:
    back = await office.begin()
    async with (
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as other,
        other.get(back, allow_redirects=False) as answer,
    ):
        assert answer.status == 400, "a way back that somebody else began"
        assert "Set-Cookie" not in answer.headers
    assert (await office.go(back))[0] == 400, "it was tried, and is gone"
    back = await office.begin()
    assert (await office.go(back))[0] == 303
    assert (await office.go(back))[0] == 400
    asked = office.provider.asked.count("token")
    for query in ("", "?code=x", "?state=x&code=y", "?error=access_denied", "?state=%00%ff&code=x"):
        assert (await office.go(f"/login/back{query}"))[0] == 400
    assert office.provider.asked.count("token") == asked


async def test_a_way_back_is_over_after_ten_minutes(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = await office.begin()
    now = time.monotonic()
    monkeypatch.setattr("agents.window.login.time.monotonic", lambda: now + 601)
    assert (await office.go(back))[0] == 400


async def test_another_issuer_in_the_way_back_is_refused(office: Office) -> None:
    back = await office.begin()
    assert (await office.go(f"{back}&iss=https://evil.example"))[0] == 400
    back = await office.begin()
    assert (await office.go(f"{back}&iss={office.provider.issuer}"))[0] == 303


async def test_what_the_provider_does_not_approve_is_said(office: Office) -> None:
    back = await office.begin()
    denied = back.partition("?")[0] + "?error=access_denied&state=" + back.partition("state=")[2]
    status, _, text = await office.go(denied)
    assert (status, "not approved" in text) == (403, True)


async def test_a_wrong_client_secret_is_the_operators_to_know(office: Office) -> None:
    office.provider.secret = "another"
    assert await office.login() == 403


async def test_groups_may_come_from_userinfo_of_the_same_clerk_only(office: Office) -> None:
    office.provider.lies = {"groups": None}
    office.provider.userinfo = {"sub": "u1", "groups": "counter", "preferred_username": "evil"}
    assert await office.login() == 303
    assert (await office.session())["name"] == "wang.fang", "what was signed counts"
    office.provider.userinfo["sub"] = "u2"
    assert await office.login() == 403


async def test_while_the_provider_is_away_sessions_go_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await office.login() == 303
    back, issuer = await office.begin(), office.provider.issuer
    await office.provider.server.close()
    status, _, text = await office.go(back)
    assert status == 503
    assert "stays so" in text
    assert await office.status("/v1/contracts") == 200
    login = login_at(issuer, CLERKS, url=office.at, hours=9).login
    office.house.use(login=login)
    async with office.browser.get(
        f"{office.at}/login", headers={"Accept": "text/html"}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.content_type) == (503, "text/html")
        assert answer.headers["Retry-After"] == "5"
        assert "暂时不可用" in await answer.text()
    assert await office.status("/v1/contracts") == 200


@pytest.mark.parametrize(
    "about",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "ftp://evil.example"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
    # Moments are other ones in each process that collects.
    ids=lambda lies: "-".join(
        f"{k}={v if not isinstance(v, int) else 'moment'}" for k, v in lies.items()
    ),
)
async def test_a_provider_that_says_wrong_things_of_itself_is_away(
    office: Office, about: dict[str, Any]
) -> None:
    office.provider.about = about
    assert (await office.go("/login"))[0] == 503
    assert (await office.go("/login"))[0] == 503
    assert office.provider.asked.count("discovery") == 1, "it is not asked all the time"


async def test_a_group_taken_out_ends_its_clerks_sessions(office: Office) -> None:
    assert await office.login() == 303
    house = office.house
    house.use(clerks=CLERKS[1:])
    assert await office.status("/v1/contracts") == 401
    house.use(clerks=CLERKS)
    assert await office.status("/v1/contracts") == 401
    assert await office.login() == 303
    house.use(login=None, clerks=())
    assert await office.status("/v1/session") == 200


async def test_everyone_who_logs_in_has_the_rights_of_the_star(office: Office) -> None:
    star = Clerks(group="*", purpose="all", contracts=("business_licence.v1",))
    office.house.use(clerks=(star, *CLERKS))
    office.provider.claims["groups"] = ["cooks"]
    assert await office.login() == 303
    assert await office.status("/v1/business_licence.v1/records") == 200
    assert await office.status("/v1/resident.v2/records") == 404


async def test_logins_that_have_begun_are_bounded(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.window.login.BEGUN", 3)
    ways = [await office.begin() for _ in range(4)]
    assert (await office.go(ways[0]))[0] == 400
    assert (await office.go(ways[3]))[0] == 303


async def test_logins_from_one_address_come_only_so_fast(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.window.login.FAST", 2)
    found = [(await office.go("/login"))[0] for _ in range(12)]
    assert 429 in found
