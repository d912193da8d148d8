"""The window's page in a browser: what a clerk sees, does by keyboard alone, and is told when it fails."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route

from tests.live.browser import Watched, chromium
from tests.live.desk import LICENCE, RESIDENT, Desk

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]

SMALL: Any = {"width": 1366, "height": 768}
#: The same screen at 200 %.
DOUBLE: Any = {"width": 683, "height": 384}
TOKEN = "the-token-of-a-clerk"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with Desk(tmp_path_factory.mktemp("desk")) as opened:
        yield opened


MACHINE = {
    "kind": "machine", "name": "this machine", "purpose": "at this machine", "corrections": True,
    "login": {"token": False, "oidc": None},
}  # fmt: skip


class Owner:
    """Stands in for the window's corrections, history, search and sessions at a page."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.corrections: list[dict[str, Any]] = []
        self.session: dict[str, Any] | None = dict(MACHINE)
        self.posted: list[dict[str, Any]] = []
        #: The Idempotency-Key of each request.
        self.numbers: list[str] = []
        self.refuse: tuple[int, str] | None = None

    async def attend(self, page: Page) -> None:
        """Answer ``page``."""
        await page.route("**/v1/session", self._session)
        await page.route("**/v1/corrections?*", self._list)
        await page.route("**/records/*/corrections", self._file)
        await page.route("**/records/*/history?*", self._history)
        await page.route("**/records?field=*", self._search)

    async def _session(self, route: Route) -> None:
        login = {"token": True, "oidc": None}
        if route.request.method == "POST":
            if json.loads(route.request.post_data or "")["token"] != TOKEN:
                await _say(route, {"detail": "Expected a token of this window's"}, 401)
                return
            self.session = {**MACHINE, "kind": "clerk", "name": "王晓梅", "purpose": "窗口办理户籍", "login": login}  # fmt: skip
            await route.fulfill(status=204)
        elif route.request.method == "DELETE":
            self.session = None
            await route.fulfill(status=204)
        else:
            nobody = {"kind": None, "name": None, "purpose": None, "corrections": False}
            await _say(route, self.session or {**nobody, "login": login})

    async def _list(self, route: Route) -> None:
        key = route.request.url.partition("key=")[2].partition("&")[0]
        rows = [one for one in self.corrections if not key or one["key"] == key]
        await _say(route, {"corrections": rows, "next": None})

    async def _file(self, route: Route) -> None:
        if self.session is None:
            await _say(route, {"detail": "Expected a token"}, 401)
            return
        self.numbers.append(route.request.headers["idempotency-key"])
        if self.refuse:
            status, detail = self.refuse
            self.refuse = None
            await _say(route, {"detail": detail}, status)
            return
        asked: dict[str, Any] = json.loads(route.request.post_data or "")
        self.posted.append(asked)
        contract, _, key = route.request.url.split("/v1/")[1].split("/")[:3]
        filed = {
            **asked, "id": f"c{len(self.corrections)}", "contract": contract, "key": key,
            "filed_at": "2026-11-26T02:00:00Z", "filed_by": "王晓梅", "state": "sent", "due": None,
            "overdue": False, "note": None, "answered_at": None,
        }  # fmt: skip
        self.corrections.insert(0, filed)
        await _say(route, filed, 201)

    async def _history(self, route: Route) -> None:
        contract, _, key = route.request.url.split("/v1/")[1].split("/")[:3]
        rows = [
            {
                "op": "put", "record": json.loads(one.value or b"{}"), "id": one.id, "scope": one.scope,
                "time": "2026-11-20T02:00:00Z", "sequence": one.sequence, "source": one.source,
            }
            for one in self.desk.store.changes_after(0, 10_000)
            if (one.contract, one.key) == (contract, key)
        ]  # fmt: skip
        await _say(route, {"changes": rows[::-1], "since": "2026-11-01T00:00:00Z"})

    async def _search(self, route: Route) -> None:
        value = route.request.url.partition("value=")[2].partition("&")[0]
        rows = [
            {
                "contract": RESIDENT, "key": key, "record": one, "scope": one["division_code"], "id": key,
                "time": "2026-11-20T02:00:00Z", "sequence": "1", "source": "/37/resident.v2",
            }
            for key, one in self.desk.residents.items()
            if one["household_no"] == value
        ]  # fmt: skip
        await _say(route, {"records": rows, "next": None})


async def _say(route: Route, body: object, status: int = 200) -> None:
    kind = "application/json" if status < 400 else "application/problem+json"
    await route.fulfill(status=status, body=json.dumps(body), content_type=kind)


@contextlib.asynccontextmanager
async def opened(
    browser: Browser, desk: Desk, owner: Owner, *, theme: Any = "light", language: str = "zh"
) -> AsyncIterator[Watched]:
    """The page, with everything that it should not do noted and asserted at the end."""
    context = await browser.new_context(
        viewport=SMALL, color_scheme=theme, locale="zh-CN" if language == "zh" else "en-GB"
    )
    page = await context.new_page()
    page.set_default_timeout(15_000)
    watched = Watched(page, desk.url)
    await owner.attend(page)
    await page.goto(desk.url)
    if owner.session:
        await page.wait_for_selector("#strip[data-state=good]")
    yield watched
    await context.close()
    assert watched.trouble == []


async def look_up(page: Page, key: str) -> None:
    await page.fill("#key", key)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#record-title")


@pytest.mark.parametrize(("theme", "language"), [("light", "zh"), ("dark", "en")])
async def test_every_state_of_the_page_is_accessible_and_fits(
    browser: Browser, desk: Desk, theme: str, language: str
) -> None:
    owner = Owner(desk)
    second, third, bad = list(desk.residents)[:3]
    for state, note in (("received", None), ("rejected", "以登记为准")):
        owner.corrections.append(
            {
                "id": state, "contract": RESIDENT, "key": second, "field": "phone", "seen": "1", "proposed": "2",
                "evidence": "", "filed_at": "2026-11-20T02:00:00Z", "filed_by": "clerk", "state": state,
                "due": "2026-11-24", "overdue": note is None, "note": note, "answered_at": None,
            }
        )  # fmt: skip
    desk.change(third, household_no=desk.residents[second]["household_no"])
    async with opened(browser, desk, owner, theme=theme, language=language) as watched:
        page = watched.page
        await watched.accessible("nothing looked up")
        for other in ("dark", "light"):
            await page.click(f"[data-theme-choice={other}]")
            assert await page.get_attribute("html", "data-theme") == other
        await page.click("[data-theme-choice=auto]")
        assert await page.get_attribute("html", "data-theme") == theme
        await look_up(page, second)
        desk.change(second, phone=desk.people.phone())
        await page.wait_for_selector("[data-field=phone] dd.changed")
        await page.wait_for_selector("#record-corrections li")
        await watched.accessible("a record that changed")
        await page.click("#record-wrong")
        await page.click("#propose-send")
        await watched.accessible("a form with what is missing")
        await page.keyboard.press("Escape")
        await page.set_viewport_size(DOUBLE)
        await watched.fits()
        for each in ("state", "corrections", "lookup"):
            await page.click(f"[data-view={each}]")
            await watched.fits()
        await page.set_viewport_size(SMALL)
        right = desk.residents[bad]
        desk.resident({**right, "sex": "7"})
        desk.streams[RESIDENT].bring()
        await look_up(page, bad)
        await page.wait_for_selector(".refused")
        await watched.accessible("a refused change")
        desk.resident(right)
        desk.streams[RESIDENT].bring()
        await page.select_option("#by", "household_no")
        await page.fill("#key", desk.residents[second]["household_no"])
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#results li")
        await watched.accessible("several found")
        await page.click("[data-view=state]")
        await page.wait_for_selector("svg.chart")
        stream = desk.streams[LICENCE]
        hop, stream.held = stream.follow.hop, True
        await asyncio.sleep(0.1)
        hop.state, hop.error = "stopped", "Expected 3 events, got 2"
        await page.wait_for_selector("#contracts li[data-state=bad] .doing code")
        await page.click("#contracts summary >> nth=0")
        await watched.accessible("charts, and one that stopped")
        await watched.fits()
        stream.held = False
        await page.click("[data-view=corrections]")
        await page.wait_for_selector("#corrections-list li")
        await watched.accessible("corrections")
        await watched.fits()


async def test_a_change_is_marked_said_and_written_into_the_history(
    browser: Browser, desk: Desk
) -> None:
    key = list(desk.residents)[5]
    async with opened(browser, desk, Owner(desk)) as watched:
        page = watched.page
        await look_up(page, f" {key[:6]} {key[6:14]} {key[14:].lower()} ")
        assert await page.inner_text("[data-field=id_number] dd") == key
        assert "前完整" in await page.inner_text("#record-age")
        before, after = desk.residents[key]["phone"], desk.people.phone()
        desk.change(key, phone=after, nationality="11", household_no="000000001")
        await page.wait_for_selector("[data-field=phone] dd.changed")
        assert await page.inner_text("[data-field=phone] del") == before
        await watched.until("document.getElementById('said').textContent.includes('联系电话')")
        first = await page.inner_text("#history li:first-child")
        assert after in first
        assert "满族" in first
        listed = await page.inner_text("#changes li:first-child .what")
        assert key not in listed
        assert f"{key[:6]}********{key[14:]}" in listed
        await page.click("#pause")
        held = await page.inner_text("#changes")
        desk.change(key, phone=desk.people.phone())
        await page.wait_for_selector("#changes-note:not([hidden])")
        assert await page.inner_text("#changes") == held
        await page.click("#pause")
        await page.select_option("#changes-filter", LICENCE)
        await watched.until("document.querySelectorAll('#changes li').length === 0")
        desk.streams[RESIDENT].put(key, None)
        desk.streams[RESIDENT].bring()
        await watched.until("document.querySelector('#record-title').className === 'plain'")
        assert key not in await page.inner_text("#answer")
        desk.change(key)


async def test_a_record_is_looked_up_and_corrected_by_keyboard_alone(
    browser: Browser, desk: Desk
) -> None:
    owner, key = Owner(desk), list(desk.residents)[6]
    owner.refuse = (400, "Expected a phone that is not the one there is")

    async def tab_to(name: str) -> None:
        for _ in range(40):
            if await page.evaluate("document.activeElement.id") == name:
                return
            await page.keyboard.press("Tab")
        pytest.fail(f"{name} is not reached")

    async with opened(browser, desk, owner) as watched:
        page = watched.page
        await page.focus(".skip")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "key"
        await page.keyboard.type(key)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#record-title")
        await tab_to("record-wrong")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#propose[open]")
        assert await page.evaluate("document.activeElement.id") == "propose-field"
        await page.keyboard.press("End")
        assert await page.input_value("#propose-field") == "phone"
        await tab_to("propose-value")
        await page.keyboard.type("1380531")
        await tab_to("propose-evidence")
        await page.keyboard.type("本人到场")
        await tab_to("propose-send")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "propose-value"
        assert await page.inner_text("#propose-value-error")
        await page.keyboard.press("ControlOrMeta+A")
        await page.keyboard.type("13805310001")
        watched.cut = True  # what is refused is an error of the network's to the browser
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#propose-message:not([hidden])")
        watched.cut = False
        assert "not the one" in await page.inner_text("#propose-message")
        await tab_to("propose-send")
        await page.keyboard.press("Enter")
        await watched.until("!document.getElementById('propose').open")
        assert owner.posted == [
            {
                "field": "phone", "seen": desk.residents[key]["phone"], "proposed": "13805310001",
                "evidence": "本人到场",
            }
        ]  # fmt: skip
        assert await page.evaluate("document.activeElement.id") == "record-wrong"
        assert len(owner.numbers) == 2
        assert len(set(owner.numbers)) == 1, "sent again, it is not filed twice"
        assert "已发出" in await page.inner_text("#record-corrections")
        owner.corrections[0] |= {"state": "received", "due": "2026-12-03"}
        await page.wait_for_selector("#record-corrections [data-state=received]")
        assert "2026年12月3日" in await page.inner_text("#record-corrections")
        owner.corrections[0] |= {
            "state": "rejected", "note": "号码已核实无误", "answered_at": "2026-11-27T02:00:00Z",
        }  # fmt: skip
        await page.wait_for_selector("#record-corrections [data-state=rejected]")
        assert "号码已核实无误" in await page.inner_text("#record-corrections")
        await page.click("[data-language=en]")
        assert "Rejected" in await page.inner_text("#record-corrections")


async def test_whoever_is_not_logged_in_is_asked_and_loses_nothing(
    browser: Browser, desk: Desk
) -> None:
    owner, key = Owner(desk), list(desk.residents)[7]
    owner.session = None
    async with opened(browser, desk, owner) as watched:
        page = watched.page
        await page.wait_for_selector("#login[open]")
        await watched.accessible("a login")
        watched.cut = True
        await page.fill("#token", "wrong")
        await page.keyboard.press("Enter")
        await watched.until("document.getElementById('login-message').textContent")
        await page.fill("#token", TOKEN)
        await page.keyboard.press("Enter")
        await watched.until("!document.getElementById('login').open")
        assert "王晓梅" in await page.inner_text("#reader")
        assert "窗口办理户籍" in await page.inner_text("#reader")
        await look_up(page, key)
        await page.click("#record-wrong")
        await page.select_option("#propose-field", "status")
        await page.select_option("#propose-value", "moved_out")
        await page.fill("#propose-evidence", "迁移证")
        owner.session = None  # it ends meanwhile
        await page.click("#propose-send")
        await page.wait_for_selector("#login[open]")
        assert await page.input_value("#propose-evidence") == "迁移证"
        await page.fill("#token", TOKEN)
        await page.keyboard.press("Enter")
        await watched.until("!document.getElementById('propose').open")
        assert [one["proposed"] for one in owner.posted] == ["moved_out"]
        assert owner.session
        owner.session["corrections"] = False
        await page.reload()
        await look_up(page, key)
        assert await page.locator("#record-wrong").count() == 0
        assert await page.locator("#to-corrections").is_hidden()
        await page.click("#leave")
        await page.wait_for_selector("#login[open]")
        assert await page.locator("#record-title").count() == 0


async def test_a_lost_line_is_said_and_comes_back_by_itself(browser: Browser, desk: Desk) -> None:
    key = list(desk.residents)[8]
    loop = asyncio.get_running_loop()
    async with opened(browser, desk, Owner(desk)) as watched:
        page = watched.page
        await look_up(page, key)
        for again in (False, True):
            watched.cut = True
            await desk.close()
            began = loop.time()
            await page.wait_for_selector("#strip[data-state=bad]")
            print(f"lost line said after {loop.time() - began:.1f} s")
            age = await page.inner_text("#record-age")
            assert await page.inner_text("[data-field=id_number] dd") == key
            await watched.until(f"document.getElementById('record-age').textContent !== '{age}'")
            phone = desk.people.phone()
            desk.change(key, phone=phone)
            if again:
                # As after the loss of the store: what the page holds is another's position.
                desk.store.id = "another0000"
            await desk.open()
            await page.wait_for_selector("#strip[data-state=good]")
            await watched.until(
                f"document.querySelector('[data-field=phone] dd').textContent.startsWith('{phone}')"
            )
            watched.cut = False
            assert await page.locator("#changes-note").is_hidden() != again


async def test_a_record_is_printed_with_who_and_as_of_when(browser: Browser, desk: Desk) -> None:
    async with opened(browser, desk, Owner(desk)) as watched:
        page = watched.page
        await look_up(page, list(desk.residents)[9])
        await page.emulate_media(media="print")
        await page.evaluate("dispatchEvent(new Event('beforeprint'))")
        for shown in ("#record-title", ".proof .absolute", "#printed"):
            assert await page.locator(shown).is_visible(), shown
        for hidden in ("#form", "#changes", "#record-print", "nav", "#record-age"):
            assert await page.locator(hidden).is_hidden(), hidden
        assert "用途" in await page.inner_text("#printed")


async def test_a_kiosk_that_keeps_nothing_and_moves_nothing_is_served(
    browser: Browser, desk: Desk
) -> None:
    """Local storage forbidden, motion unwanted, the system's own colours."""
    context = await browser.new_context(
        viewport=SMALL, reduced_motion="reduce", forced_colors="active", locale="zh-CN"
    )
    page = await context.new_page()
    watched = Watched(page, desk.url)
    await Owner(desk).attend(page)
    await page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('forbidden'); }})"
    )
    await page.goto(desk.url)
    await page.click(".head [data-language=en]")
    await look_up(page, list(desk.residents)[10])
    assert await page.inner_text("[data-field=sex] dt") == "Sex"
    assert await page.evaluate("document.getAnimations().length") == 0
    await context.close()
    assert watched.trouble == []
