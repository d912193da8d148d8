"""The window over HTTP: look-ups, pages, the feed as server-sent events, and the page.

Errors are ``application/problem+json`` (RFC 9457); every answer about a contract says in
``Complete-As-Of`` up to when it is complete. Server-sent events follow the HTML standard, section 9.2.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from agents.base.health import add_health
from agents.base.status import Status
from agents.window.feed import Feed, Message, TokenRefused, described
from agents.window.follow import Follow
from agents.window.store import Store
from contracts.envelope import format_time
from contracts.model import Contract
from contracts.shape import Enum, Shape

PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/window.css": ("window.css", "text/css"),
    "/window.js": ("window.js", "text/javascript"),
    "/window.svg": ("window.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Records in one page at most, and when not said.
LARGEST_PAGE, PAGE_SIZE = 1_000, 100
#: Seconds a subscriber may take to accept what it is sent before it is cut.
SLOW = 30.0
#: Seconds between heartbeats.
BEAT = 1.0
_FEED = ("scope", "from", "last_event_id")


class Problem(Exception):
    """An answer that is no: status, title and what was expected and found."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        self.status, self.title, self.detail = status, title, detail
        super().__init__(detail)


def window_app(
    name: str, store: Store, feed: Feed, follows: Mapping[str, Follow], status: Status
) -> web.Application:
    """The application of the office called ``name``. ``follows`` are the contracts by name; those
    shown have topics here."""
    app = web.Application(middlewares=[_guarded])
    gateway = _Gateway(name, store, feed, follows)
    app.router.add_get("/v1/contracts", gateway.contracts)
    app.router.add_get("/v1/{contract}/records/{key}", gateway.record)
    app.router.add_get("/v1/{contract}/records", gateway.records)
    app.router.add_get("/v1/{contract}/events", gateway.events_of_one)
    app.router.add_get("/v1/events", gateway.events_of_several)
    for path in _FILES:
        app.router.add_get(path, _file)
    add_health(app, status)
    return app


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except Problem as problem:
        response = _problem(problem.status, problem.title, problem.detail)
    except web.HTTPException as error:
        response = _problem(error.status, error.reason, f"{request.method} {request.path}")
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


def _problem(status: int, title: str, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return web.Response(
        status=status,
        body=json.dumps(body, ensure_ascii=False).encode(),
        content_type="application/problem+json",
    )


async def _file(request: web.Request) -> web.Response:
    name, kind = _FILES[request.path]
    body = (PAGE / name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    return web.Response(body=body, content_type=kind, charset="utf-8", headers={"ETag": tag})


class _Gateway:
    def __init__(self, name: str, store: Store, feed: Feed, follows: Mapping[str, Follow]) -> None:
        self._name = name
        self._store = store
        self._feed = feed
        self._follows = follows

    async def contracts(self, request: web.Request) -> web.Response:
        _parameters(request)
        rows = [self._contract(follow) for follow in self._follows.values() if follow.shown]
        return _json({"name": self._name, "contracts": rows, "token": self._feed.token})

    def _contract(self, follow: Follow) -> dict[str, Any]:
        contract, hop = follow.contract, follow.hop
        return {
            "name": contract.name,
            "revision": f"{contract.major}.{contract.minor}",
            "title": _text(contract.title),
            "owner": _text(contract.owner),
            "key": contract.key,
            "scope": contract.scope,
            "freshness_s": contract.freshness,
            "complete_as_of": _as_of(follow),
            "age_s": round(time.time() - hop.complete / 1e6, 3) if hop.complete else None,
            "records": self._store.total(contract.name),
            "state": hop.state,
            "error": hop.error,
            "lag": hop.lag,
            "events": hop.events,
            "repeated": follow.repeated,
            "out_of_order": follow.out_of_order,
            "latency_ms": follow.latency(),
            "fields": fields_of(contract),
            "refused": hop.rejected,
            "sunset": follow.sunset.isoformat() if follow.sunset else None,
        }

    async def record(self, request: web.Request) -> web.Response:
        follow = self._follow(request)
        _parameters(request)
        key = request.match_info["key"]
        entry = self._store.get(follow.contract.name, key)
        headers = _complete(follow)
        refusal = self._store.refusal(follow.contract.name, key)
        if entry is None:
            said = f"`{follow.contract.name}` has no `{key}`"
            if refusal:
                said += f"; what came of it was refused: {refusal.message} - at `{refusal.path}`"
            response = _problem(404, "No such record", said)
            response.headers.update(headers)
            return response
        headers["ETag"] = tag = f'"{refusal.id if refusal else entry.id}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        found = described(entry)
        if refusal:
            # What is shown is older than what came last, and says so.
            found["refused"] = msgspec.to_builtins(refusal) | {"time": format_time(refusal.time)}
        return _json(found, headers)

    async def records(self, request: web.Request) -> web.Response:
        follow = self._follow(request)
        given = _parameters(request, "scope", "after", "limit")
        limit = _whole(given.get("limit", str(PAGE_SIZE)), "limit", LARGEST_PAGE)
        scope = _scope(given)
        page = self._store.page(follow.contract.name, scope, given.get("after", ""), limit)
        following = page[-1].key if len(page) == limit else None
        body = {"records": [described(entry) for entry in page], "next": following}
        return _json(body, _complete(follow))

    async def events_of_one(self, request: web.Request) -> web.StreamResponse:
        """The feed of one contract."""
        return await self._events(request, [self._follow(request)], _parameters(request, *_FEED))

    async def events_of_several(self, request: web.Request) -> web.StreamResponse:
        """The feed of those in ``contracts=a,b``: a browser has only six connections for all."""
        given = _parameters(request, "contracts", *_FEED)
        names = [name for name in given.get("contracts", "").split(",") if name]
        if not names:
            raise Problem(400, "Missing parameter", "Expected contracts=a,b, got none")
        return await self._events(request, [self._named(name) for name in names], given)

    async def _events(
        self, request: web.Request, follows: Sequence[Follow], given: Mapping[str, str]
    ) -> web.StreamResponse:
        """Server-sent events; ``Last-Event-ID``, or the parameter of that name, resumes."""
        scope, begin = _scope(given), given.get("from", "now")
        if begin not in ("state", "now"):
            raise Problem(400, "Wrong parameter", f"Expected from=state or now, got `{begin}`")
        token = request.headers.get("Last-Event-ID") or given.get("last_event_id")
        try:
            since = self._feed.position(token or self._feed.token)
        except TokenRefused as error:
            raise Problem(
                410, "Token refused", f"{error}; begin again with from=state and without it"
            ) from None
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        if len(follows) == 1:
            response.headers.update(_complete(follows[0]))
        response.enable_chunked_encoding()
        await response.prepare(request)
        from_state = begin == "state" and not token
        names = frozenset(follow.contract.name for follow in follows)
        pieces = self._feed.subscribe(names, scope, None if from_state else since, beat=BEAT)
        told: dict[str, int] = {}
        try:
            async for piece in pieces:
                chunk = b"".join(map(_event, piece))
                for follow in follows:
                    complete = follow.hop.complete
                    if not piece or told.get(follow.contract.name) != complete:
                        told[follow.contract.name] = complete
                        chunk += _event((None, "watermark", _watermark(follow)))
                async with asyncio.timeout(SLOW):
                    await response.write(chunk)
        except (TimeoutError, ConnectionResetError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            await pieces.aclose()
        return response

    def _follow(self, request: web.Request) -> Follow:
        return self._named(request.match_info["contract"])

    def _named(self, name: str) -> Follow:
        found = self._follows.get(name)
        if found is None or not found.shown:
            there = ", ".join(name for name, one in self._follows.items() if one.shown)
            raise Problem(404, "No such contract", f"Expected one of {there}, got `{name}`")
        return found


def _event(message: Message) -> bytes:
    token, name, data = message
    head = b"" if token is None else b"id: %s\n" % token.encode()
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), data)


def _watermark(follow: Follow) -> bytes:
    name, state = follow.contract.name, follow.hop.state
    return msgspec.json.encode({"contract": name, "complete_as_of": _as_of(follow), "state": state})


def _complete(follow: Follow) -> dict[str, str]:
    return {"Complete-As-Of": _as_of(follow) or "unknown"}


def _as_of(follow: Follow) -> str | None:
    return format_time(follow.hop.complete) if follow.hop.complete else None


def _json(body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers=headers
    )


def _parameters(request: web.Request, *known: str) -> dict[str, str]:
    for name in request.query:
        if name not in known:
            raise Problem(
                400, "Unknown parameter",
                f"Expected {', '.join(known) or 'no parameters'}, got `{name}`",
            )  # fmt: skip
    return dict(request.query)


def _scope(given: Mapping[str, str]) -> str:
    scope = given.get("scope", "")
    if scope and not (scope.isascii() and scope.isdigit() and len(scope) <= 12):
        raise Problem(400, "Wrong parameter", f"Expected scope=a division code, got `{scope}`")
    return scope


def _whole(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise Problem(400, "Wrong parameter", f"Expected {name}=1 to {most}, got `{text}`")
    return int(text)


def _text(text: Any) -> dict[str, str]:
    return {"zh": text.zh, "en": text.en}


def fields_of(contract: Contract) -> list[dict[str, Any]]:
    """Name, titles, whether it is personal and what its codes mean, for each field, in the contract's
    order."""
    return [
        {
            "name": field.name,
            "title": _text(field.title),
            "personal": field.name in contract.personal,
            "labels": _labels(field.shape),
        }
        for field in contract.fields
    ]


def _labels(shape: Shape) -> dict[str, dict[str, str]]:
    labels = shape.labels if isinstance(shape, Enum) else {}
    return {code: _text(label) for code, label in labels.items()}
