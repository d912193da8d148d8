"""Following the feed over cuts, kills and restarts, without gap or repeat."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, TypedDict

import aiohttp
import msgspec

from agents.client.door import Door, Pauses, segment
from agents.client.errors import NotThere, PositionLost, Unavailable, WindowError
from agents.client.events import Event, Live, R, Reset, Watermark
from agents.client.position import Position
from agents.client.reading import Reading, watermark
from agents.client.sse import Message, Parser, TooLarge

log = logging.getLogger("levelsync.client")

#: The state of a watermark while the line is cut.
UNREACHABLE = "unreachable"
#: Seconds between two savings of the position.
SAVE = 1.0
#: Seconds for which a contract that was there may be missing, while its agent starts.
STARTING = 60.0


class Following(TypedDict, total=False):
    """How a feed is followed.

    ``scope``: records of this division only. ``where``: a CEL expression over the record; what leaves
    it is a deletion to you. ``from_``: ``state`` first (the default), or only changes from ``now`` on.
    ``after``: a change's ``token``, to go on after it. ``position``: where tokens are kept; a token there
    wins over ``from_``.
    ``on_gap``: when the feed no longer reaches back, ``raise`` PositionLost (the default), or begin with
    the ``state`` again, after a Reset. ``silence``: seconds without a byte after which the line counts as
    dead; a window says something every second.
    """

    scope: str
    where: str
    from_: Literal["state", "now"]
    after: str | None
    position: Position | None
    on_gap: Literal["raise", "state"]
    silence: float


async def follow(
    door: Door, names: Sequence[str], reading: Reading[R], how: Following
) -> AsyncGenerator[Event[R], None]:
    """What the window tells of contracts ``names``, forever. Raises WindowError for what does not mend
    by itself."""
    query = {name: how[name] for name in ("scope", "where") if how.get(name)}
    position, on_gap = how.get("position"), how.get("on_gap", "raise")
    token = how.get("after") or (position.load() if position else None)
    # Only what the caller has come back from counts as handled.
    handled = saved = token
    saved_at = there_at = -math.inf
    reason: Literal["asked", "cut", "gap"] = "asked"
    now = token is None and how.get("from_", "state") == "now"
    marks = {name: Watermark(name, None, UNREACHABLE) for name in names}
    pauses, silence, away = Pauses(), how.get("silence", 15.0), False
    try:
        while True:
            try:
                if now:
                    # Without a position, a line cut before the first change would lose what comes then.
                    answer = await door.get("/v1/contracts")
                    token, now = msgspec.json.decode(answer.body, type=_Here).token, False
                    yield Live(token)
                    handled = token
                messages = _messages(door, names, query, token, silence)
                async with contextlib.aclosing(messages):
                    async for message in messages:
                        there_at = time.monotonic()
                        if message is None:
                            if token is None:
                                yield Reset(reason)
                                reason = "cut"
                            continue
                        pauses.reset()
                        away = False
                        # Within the state there is no position.
                        if message.id and (token is not None or message.event == "live"):
                            token = message.id
                        if message.event == "change":
                            yield reading.change(message.data, token)
                        elif message.event == "watermark":
                            mark = watermark(message.data)
                            marks[mark.contract] = mark
                            # It holds for what was told, once the state was.
                            if token is not None:
                                yield mark
                        elif message.event == "live" and token is not None:
                            yield Live(token)
                            for mark in marks.values():
                                if mark.state != UNREACHABLE:
                                    yield mark
                        handled = token
                        if (
                            position
                            and handled
                            and handled != saved
                            and time.monotonic() - saved_at >= SAVE
                        ):
                            position.save(handled)
                            saved, saved_at = handled, time.monotonic()
                raise Unavailable(f"{door.url} ended the feed")
            except PositionLost as lost:
                if on_gap == "raise":
                    raise
                log.warning("%s", lost)
                token, reason = None, "gap"
                continue
            except NotThere:
                if time.monotonic() - there_at > STARTING:
                    raise
                pause = pauses.again()
            except Unavailable as error:
                pause = pauses.again(error.retry_after)
                log.log(
                    logging.DEBUG if away else logging.WARNING, "%s; again in %.1f s", error, pause
                )
                away = True
            for mark in marks.values():
                yield msgspec.structs.replace(mark, state=UNREACHABLE)
            await asyncio.sleep(pause)
    finally:
        if position and handled and handled != saved:
            position.save(handled)


class _Here(msgspec.Struct):
    token: str


async def _messages(
    door: Door, names: Sequence[str], query: dict[str, str], token: str | None, silence: float
) -> AsyncGenerator[Message | None, None]:
    """None once the window has let us in, then its messages until the line ends.

    Raises WindowError.
    """
    if len(names) == 1:
        path = f"/v1/{segment(names[0])}/events"
    else:
        path, query = "/v1/events", {"contracts": ",".join(names), **query}
    if token is None:
        query = {**query, "from": "state"}
    parser = Parser()
    async with door.open("GET", path, query, token=token, stream=True) as response:
        if response.content_type != "text/event-stream":
            raise WindowError(
                f"Expected text/event-stream from {door.url}{path}, got {response.content_type}:"
                " is this the address of a window?"
            )
        yield None
        while chunk := await _next(response, silence):
            try:
                for message in parser.feed(chunk):
                    if message.event == "cut":
                        return
                    yield message
            except TooLarge as error:
                raise WindowError(f"{error} - at {door.url}{path}") from None


async def _next(response: aiohttp.ClientResponse, silence: float) -> bytes:
    try:
        async with asyncio.timeout(silence):
            return await response.content.readany()
    except TimeoutError:
        raise Unavailable(f"nothing came for {silence:g} s: the line is dead") from None
