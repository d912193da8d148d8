"""The HTTP intake: ``POST /v1/intake/{contract}`` and ``DELETE /v1/intake/{contract}/{key}``.

Answers come after Kafka has committed. Errors are ``application/problem+json`` (RFC 9457); a request is
repeated with the same CloudEvents ids, or the same ``Idempotency-Key``, and then not taken twice.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agents.base.tracing import valid
from agents.capture.http_answer import Problem, Ticket
from agents.capture.http_desk import Desk, Guest, Taker
from agents.capture.http_parse import Item, Lines, batch, binary, line, structured
from contracts.rejected import Rejected

#: Seconds a sender may be silent in the middle of a body, and that Kafka may be without progress.
SILENT, COMMIT = 60.0, 20.0

_JSON = "application/json"
_LINES = ("application/x-ndjson", "application/jsonl", "application/ndjson")
_EVENT, _EVENTS = "application/cloudevents+json", "application/cloudevents-batch+json"
_KEY = re.compile(r'"([\x20-\x21\x23-\x7e]{1,200})"|([\x21\x23-\x7e]{1,200})')


def intake_app(desk: Desk) -> web.Application:
    """The application that takes records in at ``desk``."""
    app = web.Application(middlewares=[_guarded])
    gate = _Gate(desk)
    app.router.add_post("/v1/intake/{contract}", gate.post)
    app.router.add_delete("/v1/intake/{contract}/{key:.+}", gate.delete)
    return app


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        wrong = Problem(error.status, error.reason, do=f"{request.method} {request.path}")
        response = wrong.response()
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


class _Gate:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Records of one contract."""
        guest, source = self._enter(request)
        kind = request.content_type.lower()
        if "Content-Length" not in request.headers and "Transfer-Encoding" not in request.headers:
            raise Problem(
                411,
                "How long is it?",
                expected="Content-Length, or Transfer-Encoding: chunked",
                found="neither",
            )
        if "Content-Type" not in request.headers or kind not in (_JSON, *_LINES, _EVENT, _EVENTS):
            raise Problem(
                415,
                "Not this kind of content",
                expected=", ".join((_JSON, _LINES[0], _EVENT, _EVENTS)),
                found=f"`{kind}`" if "Content-Type" in request.headers else "none",
            )
        visit = _Visit(guest, source, request, _key(request))
        guest.under_way += 1
        try:
            if kind in _LINES:
                await self._lines(request, visit)
            else:
                await self._whole(request, visit, kind)
            return await visit.answer()
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
            raise Problem(
                400,
                "The body is broken off, or not framed as HTTP wants it",
                do=f"{error}. Send the same again, with the same ids or Idempotency-Key.",
            ) from None
        finally:
            guest.under_way -= 1

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """The deletion of one key."""
        guest, source = self._enter(request)
        visit = _Visit(guest, source, request, _key(request))
        guest.under_way += 1
        try:
            visit.trace = valid(request.headers.get("traceparent"))
            visit.take(1, lambda: Item(None, key=request.match_info["key"]))
            visit.pay(1)
            return await visit.answer()
        finally:
            guest.under_way -= 1

    def _enter(self, request: web.Request) -> tuple[Guest, Taker]:
        contract = request.match_info["contract"]
        guest = self._desk.admit(request.headers.get("Authorization"), contract)
        source = self._desk.source(contract)
        if source.full:
            raise Problem(
                429,
                "Too much is under way",
                expected="room",
                found="none, since Kafka takes longer than records come",
                do="Wait as long as Retry-After says.",
                retry=1,
            )
        return guest, source

    async def _lines(self, request: web.Request, visit: "_Visit") -> None:
        most = self._desk.table.record_bytes
        lines, number = Lines(most), 0
        async for piece in _pieces(request):
            number = visit.take_lines(lines.feed(piece), number, most)
            await visit.pace()
            if visit.ticket.failed:
                return
        visit.take_lines(lines.end(), number, most)

    async def _whole(self, request: web.Request, visit: "_Visit", kind: str) -> None:
        table = self._desk.table
        most = table.body_bytes if kind == _EVENTS else table.record_bytes
        # An envelope around a record is not counted to the record.
        body = await _body(request, most if kind in (_JSON, _EVENTS) else most + 16_384)
        if kind == _EVENTS:
            try:
                events = list(batch(body))
            except (msgspec.DecodeError, UnicodeError) as error:
                raise Problem(
                    400, "Not a batch", expected="a JSON array of CloudEvents", found=str(error)
                ) from None
            for number, event in enumerate(events, 1):
                if len(event) > table.record_bytes + 16_384:
                    visit.refuse(number, _too_large(table.record_bytes))
                    continue
                visit.take(number, lambda event=event: structured(event))  # type: ignore[misc]
                if number % 100 == 0:
                    await visit.pace()
            visit.pay(len(events))
            return
        visit.pay(1)
        visit.trace = valid(request.headers.get("traceparent"))
        if kind == _EVENT:
            visit.take(1, lambda: structured(body))
        elif any(name.lower().startswith("ce-") for name in request.headers):
            visit.take(1, lambda: binary(request.headers, body))
        else:
            visit.take(1, lambda: Item(body))


class _Visit:
    """One request on its way through the gate."""

    def __init__(self, guest: Guest, source: Taker, request: web.Request, key: str) -> None:
        self.ticket = Ticket()
        self._guest = guest
        self._source = source
        self._contract = request.match_info["contract"]
        self._sender = guest.sender.name
        self._key = key
        self._owed = 0
        #: The request's own W3C Trace Context, where it brings one record.
        self.trace = ""

    def take(self, number: int, read: Callable[[], Item]) -> None:
        """Take the record that ``read`` gives, or note why it is refused."""
        try:
            item = read()
        except Rejected as refused:
            self.refuse(number, refused)
            return
        self._put(number, item)

    def take_lines(self, lines: Iterable[bytes | None], number: int, most: int) -> int:
        """Take lines, the first of which is the one after ``number``; the answer is the last's."""
        before = number
        for text in lines:
            number += 1
            if text is None:
                self.refuse(number, _too_large(most))
            elif text and not text.isspace():
                try:
                    item = line(text)
                except Rejected as refused:
                    self.refuse(number, refused)
                else:
                    self._put(number, item)
        self._owed += number - before
        return number

    def _put(self, number: int, item: Item) -> None:
        if item.id:
            item = item._replace(id=f"/e {item.id}")
        elif self._key:
            item = item._replace(id=f"/k {self._key} {number}")
        if self.trace and not item.traceparent:
            item = item._replace(traceparent=self.trace)
        self._source.take(self.ticket, self._sender, number, item)

    def refuse(self, number: int, why: Rejected) -> None:
        """A record could not even be read."""
        self.ticket.refuse(number, "", why)
        self._source.refused()

    def pay(self, count: int) -> None:
        """Have ``count`` events counted against what the sender may send."""
        self._guest.budget.take(count, time.monotonic())

    async def pace(self) -> None:
        """Wait where the sender is faster than it may be, or than Kafka."""
        owed, self._owed = self._owed, 0
        wait = self._guest.budget.take(owed, time.monotonic())
        if wait > 0:
            await asyncio.sleep(wait)
        await self._source.room(COMMIT)

    async def answer(self) -> web.Response:
        """Wait for Kafka, and say what became of everything."""
        ticket, guest, contract = self.ticket, self._guest, self._contract
        self.pay(self._owed)
        await ticket.finish(COMMIT)
        guest.events[contract] += ticket.accepted
        guest.refused[contract] += ticket.rejected
        guest.repeated[contract] += ticket.repeated
        return ticket.response()


def _key(request: web.Request) -> str:
    """The ``Idempotency-Key``, in quotes or not; empty without one. Raises Problem."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return ""
    found = _KEY.fullmatch(given.strip())
    if found is None:
        raise Problem(
            400,
            "Not an Idempotency-Key",
            expected="1 to 200 printable characters of ASCII, in quotes",
            found=f"{len(given)} others",
        )
    return found[1] or found[2]


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes, in pieces that the transport's own bound keeps small. Raises Problem."""
    while True:
        try:
            async with asyncio.timeout(SILENT):
                piece = await request.content.readany()
        except TimeoutError:
            raise Problem(
                408,
                "The body does not come",
                expected="more of it",
                found=f"{SILENT:.0f} s of nothing",
            ) from None
        if not piece:
            return
        yield piece


async def _body(request: web.Request, most: int) -> bytes:
    """The whole body. Raises Problem."""
    too_large = Problem(
        413,
        "Too large",
        expected=f"at most {most} bytes",
        found="more",
        do="Send many records as lines (application/x-ndjson), which may be of any number.",
    )
    if (request.content_length or 0) > most:
        raise too_large
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > most:
            raise too_large
    return bytes(body)


def _too_large(most: int) -> Rejected:
    return Rejected("$", "too-large", f"Expected at most {most} bytes, got more")
