"""Logging in: a session from a token, or from the office's own OpenID Connect provider, and its end."""

import hashlib
import hmac
import html
import re
import secrets
import time
from collections import OrderedDict

import msgspec
import structlog
from aiohttp import web

from agents.base.window import Login
from agents.window.answers import VISITOR, Problem, answer, body_of, parameters
from agents.window.gate import Gate
from agents.window.office import Office
from agents.window.oidc import Away, Provider, Refused
from agents.window.rates import network
from agents.window.sessions import Session

log = structlog.get_logger()

#: Hours a session lasts where no login says otherwise.
HOURS = 8
#: Logins that have begun and not come back, at most, for how many seconds, and from one address a
#: second.
BEGUN, WITHIN, FAST = 10_000, 600.0, 20
_NUMBER = re.compile(r"[A-Za-z0-9_-]{43}")


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class _Begun(msgspec.Struct):
    """A login on its way: ``browser`` is the hash of what only the browser that began it has."""

    nonce: str
    verifier: str
    browser: str
    until: float


def add_login(app: web.Application, office: Office, gate: Gate) -> None:
    """Add the session's and the login's addresses to ``app``."""
    session, login = _Session(office, gate), _Login(office, gate)
    app.router.add_get("/v1/session", session.show)
    app.router.add_post("/v1/session", session.open)
    app.router.add_delete("/v1/session", session.close)
    app.router.add_get("/login", login.begin)
    app.router.add_get("/login/back", login.back)
    app.on_cleanup.append(login.shut)


class _Session:
    def __init__(self, office: Office, gate: Gate) -> None:
        self._office = office
        self._gate = gate

    async def show(self, request: web.Request) -> web.Response:
        """Who asks, and how one may say who one is."""
        parameters(request)
        visitor, table = request.get(VISITOR), self._office.table
        return answer(
            {
                "kind": visitor.kind if visitor else None,
                "name": visitor.name if visitor else None,
                "purpose": visitor.purpose if visitor else None,
                "corrections": visitor.corrections if visitor else False,
                "login": {"token": bool(table.system), "oidc": "/login" if table.login else None},
            }
        )

    async def open(self, request: web.Request) -> web.Response:
        """A session from a token: what a page keeps instead of it."""
        parameters(request)
        body = await body_of(request, _Token, 4_096)
        found = self._gate.visitors.system(body.token)
        if found is None:
            raise await self._gate.wrong_token(request)
        system, login = found[0], self._office.table.login
        ends = time.time() + 3_600 * (login.hours if login else HOURS)
        session = Session("system", system.name, ends, token=system.token)
        response = web.Response(status=204)
        enter(response, request, self._office, self._gate, session)
        return response

    async def close(self, request: web.Request) -> web.Response:
        """The session's end."""
        parameters(request)
        if number := request.cookies.get(self._gate.cookie):
            self._gate.visitors.end(number)
        response = web.Response(status=204)
        response.del_cookie(self._gate.cookie, path="/", httponly=True, samesite="Lax")
        return response


def enter(
    response: web.Response, request: web.Request, office: Office, gate: Gate, session: Session
) -> None:
    """Open ``session``, in the place of the one the browser had."""
    if number := request.cookies.get(gate.cookie):
        gate.visitors.end(number)
    lasts = int(session.ends - time.time())
    number = gate.visitors.sessions.open(session)
    _keep(response, request, office, gate.cookie, number, lasts)


def _keep(
    response: web.Response, request: web.Request, office: Office, name: str, value: str, lasts: int
) -> None:
    login = office.table.login
    secure = request.secure or (login is not None and login.url.startswith("https:"))
    response.set_cookie(
        name, value, max_age=lasts, path="/", httponly=True, samesite="Lax", secure=secure
    )


class _Login:
    def __init__(self, office: Office, gate: Gate) -> None:
        self._office = office
        self._gate = gate
        self._provider: Provider | None = None
        self._begun: OrderedDict[str, _Begun] = OrderedDict()

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Send the browser to the provider."""
        parameters(request)
        provider = await self._asked()
        now = time.monotonic()
        if self._gate.rates.take(("login", network(request.remote or "")), FAST, now):
            return _page(request, 429, "登录过于频繁，请稍候", "Too many logins at once", "1")
        name = f"{self._gate.cookie}-login"
        browser = request.cookies.get(name, "")
        if not _NUMBER.fullmatch(browser):
            browser = secrets.token_urlsafe(32)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        try:
            address = await provider.begin(state, nonce, verifier)
        except Away as error:
            return self._away(request, error)
        self._drop(now)
        self._begun[state] = _Begun(nonce, verifier, _hash(browser), now + WITHIN)
        response = web.Response(status=303, headers={"Location": address})
        _keep(response, request, self._office, name, browser, int(WITHIN))
        return response

    async def back(self, request: web.Request) -> web.StreamResponse:
        """The browser comes back from the provider, with a code or a no."""
        provider = await self._asked()
        given = request.query
        begun = self._begun.pop(given.get("state", ""), None)
        browser = request.cookies.get(f"{self._gate.cookie}-login", "")
        if (
            begun is None
            or begun.until < time.monotonic()
            or not hmac.compare_digest(begun.browser, _hash(browser))
            or given.get("iss", provider.login.issuer) != provider.login.issuer
        ):
            log.warning("a login is refused", reason="nobody began it here", address=request.remote)
            return _page(
                request, 400, "此次登录已失效", "This login is over, or was not begun here"
            )
        if "code" not in given:
            log.warning(
                "a login is refused", reason=f"the provider: {given.get('error', '')[:100]}"
            )
            return _page(request, 403, "登录未被批准", "The login was not approved")
        try:
            claims = await provider.clerk(given["code"], begun.verifier, begun.nonce)
        except Away as error:
            return self._away(request, error)
        except Refused as error:
            log.warning("a login is refused", reason=str(error))
            return _page(request, 403, "登录未通过验证", "The login could not be verified")
        return self._enter(request, provider.login, claims)

    def _enter(
        self, request: web.Request, login: Login, claims: dict[str, object]
    ) -> web.StreamResponse:
        name = claims.get(login.name)
        if not isinstance(name, str) or not name.strip():
            name = str(claims["sub"])
        told = claims.get(login.groups)
        groups = (told,) if isinstance(told, str) else told if isinstance(told, list) else ()
        mine = tuple(each for each in groups if isinstance(each, str))
        rights = self._gate.visitors.clerks(mine)
        if not rights:
            log.warning(
                "a login is refused", reason="none of the clerk's groups is in the node file"
            )
            return _page(
                request,
                403,
                "您所在的组没有此窗口的权限",
                "None of your groups may see this window",
            )
        # What it does not need is not kept.
        listed = {each.group for each in self._office.table.clerks}
        session = Session(
            "clerk", name[:200], time.time() + 3_600 * login.hours, issuer=login.issuer,
            groups=tuple(group for group in mine if group in listed),
        )  # fmt: skip
        response = web.Response(status=303, headers={"Location": f"{login.url.rstrip('/')}/"})
        enter(response, request, self._office, self._gate, session)
        response.del_cookie(f"{self._gate.cookie}-login", path="/")
        return response

    async def _asked(self) -> Provider:
        """The provider the node file names now. Raises Problem."""
        login = self._office.table.login
        if login is None:
            raise Problem(
                404, "No login here", "Expected [window.login] in the node file, got none"
            )
        if self._provider is None or self._provider.login != login:
            former, self._provider = self._provider, Provider(login)
            self._begun.clear()
            if former:
                await former.close()
        return self._provider

    def _away(self, request: web.Request, error: Away) -> web.Response:
        log.error("the login's provider is away; sessions go on", error=str(error))
        return _page(
            request, 503, "登录服务暂时不可用，已登录的窗口不受影响",
            "The login service does not answer; whoever is logged in stays so", "5",
        )  # fmt: skip

    def _drop(self, now: float) -> None:
        while self._begun and (
            len(self._begun) >= BEGUN or next(iter(self._begun.values())).until < now
        ):
            self._begun.popitem(last=False)

    async def shut(self, _: web.Application) -> None:
        """The window closes."""
        if self._provider:
            await self._provider.close()
        self._gate.visitors.sessions.shut()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _page(request: web.Request, status: int, zh: str, en: str, retry: str = "") -> web.Response:
    """What a clerk whose login does not work sees; what is no browser gets a problem."""
    headers = {"Retry-After": retry} if retry else {}
    if "text/html" not in request.headers.get("Accept", ""):
        raise Problem(status, en, zh, headers)
    body = (
        '<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>levelsync</title>'
        '<link rel="stylesheet" href="/window.css"><main>'
        f'<h1>{html.escape(zh)}</h1><p lang="en">{html.escape(en)}</p>'
        '<p><a href="/login">重新登录 · Log in again</a> · <a href="/">返回 · Back</a></p></main></html>'
    )
    return web.Response(status=status, text=body, content_type="text/html", headers=headers)
