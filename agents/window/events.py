"""The feed over HTTP, as server-sent events (the HTML standard, section 9.2)."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from agents.window.answers import (
    HEADERS,
    VISITOR,
    Problem,
    as_of,
    complete,
    find,
    parameters,
    scope_in,
)
from agents.window.feed import Message, TokenRefused
from agents.window.follow import Follow
from agents.window.office import Office
from agents.window.rights import Wanted

#: Seconds a subscriber may take to accept what it is sent before it is cut.
SLOW = 30.0
#: Seconds between heartbeats.
BEAT = 1.0
_FEED = ("scope", "from", "last_event_id")


def add_events(app: web.Application, office: Office) -> None:
    """Add the feed's addresses to ``app``."""
    events = _Events(office)
    app.router.add_get("/v1/{contract}/events", events.of_one)
    app.router.add_get("/v1/events", events.of_several)


class _Events:
    def __init__(self, office: Office) -> None:
        self._office = office

    async def of_one(self, request: web.Request) -> web.StreamResponse:
        """The feed of one contract."""
        follow = find(self._office.follows, request.match_info["contract"], request[VISITOR])
        return await self._events(request, [follow], parameters(request, *_FEED))

    async def of_several(self, request: web.Request) -> web.StreamResponse:
        """The feed of those in ``contracts=a,b``: a browser has only six connections for all."""
        given = parameters(request, "contracts", *_FEED)
        names = [name for name in given.get("contracts", "").split(",") if name]
        if not names:
            raise Problem(400, "Missing parameter", "Expected contracts=a,b, got none")
        visitor = request[VISITOR]
        follows = [find(self._office.follows, name, visitor) for name in names]
        return await self._events(request, follows, given)

    async def _events(
        self, request: web.Request, follows: Sequence[Follow], given: Mapping[str, str]
    ) -> web.StreamResponse:
        """Server-sent events; ``Last-Event-ID``, or the parameter of that name, resumes."""
        feed, visitor = self._office.feed, request[VISITOR]
        scope, begin = scope_in(given), given.get("from", "now")
        if begin not in ("state", "now"):
            raise Problem(400, "Wrong parameter", f"Expected from=state or now, got `{begin}`")
        token = request.headers.get("Last-Event-ID") or given.get("last_event_id")
        try:
            since = feed.position(token or feed.token)
        except TokenRefused as error:
            raise Problem(
                410, "Token refused", f"{error}; begin again with from=state and without it"
            ) from None
        sights = {
            follow.contract.name: sight
            for follow in follows
            if (sight := visitor.sight(follow.contract.name))
        }
        for name in sights:
            self._office.journal.tell(visitor, "follow", name, request.query_string)
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        if len(follows) == 1:
            response.headers.update(complete(follows[0]))
        response.enable_chunked_encoding()
        await response.prepare(request)
        from_state = begin == "state" and not token
        wanted = Wanted(sights, scope)
        pieces = feed.subscribe(wanted, None if from_state else since, beat=BEAT)
        told: dict[str, int] = {}
        try:
            async for piece in pieces:
                chunk = b"".join(map(_event, piece))
                for follow in follows:
                    now = follow.hop.complete
                    if not piece or told.get(follow.contract.name) != now:
                        told[follow.contract.name] = now
                        chunk += _event((None, "watermark", _watermark(follow)))
                async with asyncio.timeout(SLOW):
                    await response.write(chunk)
        except (TimeoutError, ConnectionResetError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            await pieces.aclose()
        return response


def _event(message: Message) -> bytes:
    token, name, data = message
    head = b"" if token is None else b"id: %s\n" % token.encode()
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), data)


def _watermark(follow: Follow) -> bytes:
    name, state = follow.contract.name, follow.hop.state
    return msgspec.json.encode({"contract": name, "complete_as_of": as_of(follow), "state": state})
