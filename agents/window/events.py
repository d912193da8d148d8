"""The feed over HTTP: server-sent events (the HTML standard, section 9.2), and WebSocket (RFC 6455).

Both speak at the same addresses and tell the same, and a token got by one is good for the other. Over
WebSocket each message is a text ``{"event":…,"id":token or null,"data":{…}}``; what the subscriber says
there is passed over, but for pings and the close.
"""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiohttp import HttpVersion11, web

from agents.window.answers import (
    HEADERS,
    VISITOR,
    Problem,
    complete,
    find,
    parameters,
    scope_in,
)
from agents.window.fanout import CLOSED, RIGHTS, SLOW_READER, TOO_FAR, Fanout, Member
from agents.window.feed import TokenRefused, cut
from agents.window.follow import Follow
from agents.window.framing import SSE, SSE_BARE, WEBSOCKET, Framing
from agents.window.office import Office
from agents.window.rights import Sight, Visitor, Wanted
from agents.window.where import Where
from contracts.expression import WrongExpression

#: Bytes of a socket's own buffer: what a reader who stands still costs us, beside
#: :data:`agents.window.fanout.ROOM`.
SOCKET = 256 * 1024
#: Seconds the reason of a cut has to get through.
PARTING = 1.0
#: Seconds between pings, and bytes of a message from a subscriber at most.
PING, LARGEST = 20.0, 4_096
#: Bytes of the reason in a close (RFC 6455, section 5.5).
LONGEST_REASON = 123
#: What a WebSocket is closed with; a Problem before anything was told is 4000 and its status.
_CODES = {CLOSED: 1001, SLOW_READER: 4408, TOO_FAR: 4410, RIGHTS: 4403}
_FEED = ("scope", "where", "from", "last_event_id")


def add_events(app: web.Application, office: Office) -> None:
    """Add the feed's addresses to ``app``."""
    events = _Events(office)
    app.router.add_get("/v1/{contract}/events", events.of_one, allow_head=False)
    app.router.add_get("/v1/events", events.of_several, allow_head=False)
    app.on_shutdown.append(events.close)
    office.status.more.append(events.fanout.metrics)


class _Asked(NamedTuple):
    """What a subscriber asked for; ``since`` None for the state first."""

    visitor: Visitor
    wanted: Wanted
    follows: Sequence[Follow]
    since: int | None


class _Events:
    def __init__(self, office: Office) -> None:
        self._office = office
        self.fanout = Fanout(office)

    async def close(self, _: web.Application) -> None:
        """End every feed."""
        self.fanout.close()

    async def of_one(self, request: web.Request) -> web.StreamResponse:
        """The feed of one contract."""
        return await self._answer(request, [request.match_info["contract"]])

    async def of_several(self, request: web.Request) -> web.StreamResponse:
        """The feed of those in ``contracts=a,b``: a browser has only six connections for all."""
        return await self._answer(request, None)

    async def _answer(self, request: web.Request, names: list[str] | None) -> web.StreamResponse:
        upgrade = request.headers.get("Upgrade", "").strip().lower() == "websocket"
        try:
            asked = self._asked(request, names)
            with self.fanout.place(asked.visitor):
                for name in asked.wanted.sights:
                    self._office.journal.tell(asked.visitor, "follow", name, request.query_string)
                return await (self._socket if upgrade else self._events)(request, asked)
        except Problem as no:
            if upgrade and "Origin" in request.headers:
                return await _refused(request, no)
            raise

    def _asked(self, request: web.Request, names: list[str] | None) -> _Asked:
        """Raises Problem."""
        visitor, feed = request[VISITOR], self._office.feed
        given = parameters(request, *([] if names else ["contracts"]), *_FEED)
        if names is None:
            names = list(dict.fromkeys(filter(None, given.get("contracts", "").split(","))))
        if not names:
            raise Problem(400, "Missing parameter", "Expected contracts=a,b, got none")
        follows = [find(self._office, name, visitor) for name in names]
        begin = given.get("from", "now")
        if begin not in ("state", "now"):
            raise Problem(400, "Wrong parameter", f"Expected from=state or now, got `{begin}`")
        sights = {name: sight for name in names if (sight := visitor.sight(name))}
        where = _where(given, {each.contract.name: each for each in follows}, sights)
        wanted = Wanted(sights, scope_in(given), where)
        token = request.headers.get("Last-Event-ID") or given.get("last_event_id")
        try:
            since = feed.position(token) if token else feed.last
        except TokenRefused as error:
            raise Problem(
                410, "Token refused", f"{error}; begin again with from=state and without it"
            ) from None
        return _Asked(visitor, wanted, follows, None if begin == "state" and not token else since)

    async def _events(self, request: web.Request, asked: _Asked) -> web.StreamResponse:
        """As server-sent events; ``Last-Event-ID``, or the parameter of that name, resumes."""
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        if len(asked.follows) == 1:
            response.headers.update(complete(asked.follows[0]))
        chunked = request.version >= HttpVersion11
        if chunked:
            response.enable_chunked_encoding()
        await response.prepare(request)
        if member := _member(request, asked, SSE if chunked else SSE_BARE):
            await _part(member, await self.fanout.follow(member, asked.since))
        return response

    async def _socket(self, request: web.Request, asked: _Asked) -> web.StreamResponse:
        """As WebSocket messages."""
        response = _websocket(request)
        await response.prepare(request)
        if member := _member(request, asked, WEBSOCKET):
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(self._hear(response, member), name="hear")
                why = await self.fanout.follow(member, asked.since)
                await _part(member, why)
                await response.close(code=_CODES[why], message=why.encode())
                hearing.cancel()
        return response

    async def _hear(self, response: web.WebSocketResponse, member: Member) -> None:
        async for _ in response:
            pass
        self.fanout.end(member, CLOSED)


def _where(
    given: Mapping[str, str], follows: Mapping[str, Follow], sights: Mapping[str, Sight]
) -> Where | None:
    """Raises Problem."""
    if not (source := given.get("where")):
        return None
    try:
        return Where(
            source, {name: sight.contract(follows[name].contract) for name, sight in sights.items()}
        )
    except WrongExpression as wrong:
        raise Problem(400, "Wrong parameter", f"where: {wrong}") from None


def _member(request: web.Request, asked: _Asked, framing: Framing) -> Member | None:
    """None when its connection is gone already."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return None
    if opened := transport.get_extra_info("socket"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET)
    return Member(asked.visitor, asked.wanted, asked.follows, transport, framing)


async def _part(member: Member, why: str) -> None:
    """Say why it ends, where that may still get through; a reader who stands still is cut off."""
    if why == CLOSED:
        return
    member.write([cut(why)])
    until = time.monotonic() + PARTING
    while member.waiting and not member.transport.is_closing():
        if time.monotonic() > until:
            member.transport.abort()
        await asyncio.sleep(0.02)


def _websocket(request: web.Request) -> web.WebSocketResponse:
    """Raises Problem."""
    made = web.WebSocketResponse(
        heartbeat=PING, max_msg_size=LARGEST, compress=False, timeout=PARTING
    )
    if not made.can_prepare(request).ok:
        raise Problem(
            400, "Wrong upgrade", "Expected a WebSocket handshake of version 13 (RFC 6455)"
        )
    return made


async def _refused(request: web.Request, no: Problem) -> web.WebSocketResponse:
    """A page cannot see with what status its WebSocket was refused, so it is told by the close."""
    response = _websocket(request)
    await response.prepare(request)
    said = f"{no.title}: {no.detail}".encode()[:LONGEST_REASON].decode(errors="ignore")
    await response.close(code=4000 + no.status, message=said.encode())
    return response
