"""The window over HTTP: look-ups, pages and the page.

Errors are ``application/problem+json`` (RFC 9457); every answer about a contract says in
``Complete-As-Of`` up to when it is complete.
"""

import time
from typing import Any

import msgspec
from aiohttp import web

from agents.base.health import add_health
from agents.window.answers import (
    VISITOR,
    Problem,
    answer,
    as_of,
    complete,
    find,
    known,
    parameters,
    problem,
    scope_in,
    whole,
)
from agents.window.charts import add_charts
from agents.window.corrections import add_corrections
from agents.window.events import add_events
from agents.window.feed import described
from agents.window.files import FILES, add_files
from agents.window.follow import Follow
from agents.window.gate import Gate, expected, gate
from agents.window.login import add_login
from agents.window.office import Office
from agents.window.openapi import add_openapi
from agents.window.rights import Sight
from agents.window.search import Search, match_of, where_of
from agents.window.store import Change
from agents.window.visitors import Visitors
from contracts.envelope import format_time
from contracts.formats import FORMATS
from contracts.identifiers import within
from contracts.model import Contract
from contracts.shape import Enum, Shape, String

#: Records in one page at most, and when not said.
LARGEST_PAGE, PAGE_SIZE = 1_000, 100


def window_app(office: Office) -> web.Application:
    """The application of one window."""
    keeper = Gate(office, Visitors(office), FILES)
    app = web.Application(middlewares=[gate(keeper)])
    gateway = _Gateway(office)
    app.router.add_get("/v1/contracts", gateway.contracts)
    app.router.add_get("/v1/{contract}/records/{key}", gateway.record)
    app.router.add_get("/v1/{contract}/records/{key}/history", gateway.history)
    app.router.add_get("/v1/{contract}/records", gateway.records)
    add_corrections(app, office)
    add_events(app, office)
    add_login(app, office, keeper)
    add_charts(app, office)
    add_files(app)
    add_health(app, office.status)
    add_openapi(app, office, keeper, {path: file.kind for path, file in FILES.items()})
    for route in app.router.routes():
        # The one there is by default stumbles over what is no UTF-8, before the gate could answer.
        route._expect_handler = expected
    return app


class _Gateway:
    def __init__(self, office: Office) -> None:
        self._office = office
        self._store = office.store
        self._search = Search(office.store)

    async def contracts(self, request: web.Request) -> web.Response:
        parameters(request)
        visitor = request[VISITOR]
        known(self._office)
        rows = [
            self._contract(follow, sight)
            for name, follow in self._office.follows.items()
            if follow.shown and (sight := visitor.sight(name))
        ]
        return answer(
            {"name": self._office.name, "contracts": rows, "token": self._office.feed.token}
        )

    def _contract(self, follow: Follow, sight: Sight) -> dict[str, Any]:
        contract, hop = sight.contract(follow.contract), follow.hop
        return {
            "name": contract.name,
            "revision": f"{contract.major}.{contract.minor}",
            "title": _text(contract.title),
            "owner": _text(contract.owner),
            "key": contract.key,
            "scope": contract.scope,
            "freshness_s": contract.freshness,
            "complete_as_of": as_of(follow),
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
            "searchable": contract.searchable,
            "refused": hop.rejected,
            "signed": hop.signatures(),
            "sunset": follow.sunset.isoformat() if follow.sunset else None,
        }

    async def record(self, request: web.Request) -> web.Response:
        follow, sight = self._found(request)
        parameters(request)
        name, key = follow.contract.name, request.match_info["key"]
        self._office.journal.tell(request[VISITOR], "look-up", name, key)
        entry = self._store.get(name, key)
        headers = complete(follow)
        if entry is not None and not sight.covers(entry.scope):
            return problem(404, "No such record", f"`{name}` has no `{key}`", headers)
        refusal = self._store.refusal(name, key)
        if entry is None:
            said = f"`{name}` has no `{key}`"
            if refusal and sight.whole and not sight.scopes:
                said += f"; what came of it was refused: {refusal.message} - at `{refusal.path}`"
            return problem(404, "No such record", said, headers)
        headers["ETag"] = tag = f'"{refusal.id if refusal else entry.id}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        found = described(entry, sight)
        if refusal:
            # What is shown is older than what came last, and says so.
            found["refused"] = msgspec.to_builtins(refusal) | {"time": format_time(refusal.time)}
        return answer(found, headers)

    async def records(self, request: web.Request) -> web.Response:
        follow, sight = self._found(request)
        name = follow.contract.name
        given = parameters(request, "scope", "field", "value", "where", "after", "limit")
        limit = whole(given.get("limit", str(PAGE_SIZE)), "limit", LARGEST_PAGE)
        scopes, after = narrowed(sight.scopes, scope_in(given)), given.get("after", "")
        seen = sight.contract(follow.contract)
        match, where = match_of(given, seen), where_of(given, seen)
        self._office.journal.tell(request[VISITOR], "page", name, request.query_string)
        following: str | None
        try:
            if where:
                page, following = await self._search.page(
                    name, scopes, after, limit, match, where, sight
                )
            else:
                page = self._store.page(name, scopes, after, limit, match)
                following = page[-1].key if len(page) == limit else None
        except KeyError:
            raise Problem(
                503, "Not searchable yet",
                f"Expected an index on `{name}` by that field, got none until its topics are read",
                {"Retry-After": "5"},
            ) from None  # fmt: skip
        body = {"records": [described(entry, sight) for entry in page], "next": following}
        return answer(body, complete(follow))

    async def history(self, request: web.Request) -> web.Response:
        """The changes of one key that the feed still has, as the reader saw them come."""
        follow, sight = self._found(request)
        name, key = follow.contract.name, request.match_info["key"]
        given = parameters(request, "limit")
        limit = whole(given.get("limit", str(PAGE_SIZE)), "limit", LARGEST_PAGE)
        self._office.journal.tell(request[VISITOR], "look-up", name, key)
        changes = [
            told
            for change in self._store.history(name, key, limit)
            if (told := changed(change, sight))
        ]
        if not changes:
            entry = self._store.get(name, key)
            if entry is None or not sight.covers(entry.scope):
                raise Problem(
                    404, "No such record", f"`{name}` has no `{key}`", complete(follow)
                )  # fmt: skip
        return answer({"changes": changes, "since": self._since()}, complete(follow))

    def _since(self) -> str | None:
        """The commit of the oldest change the feed has."""
        oldest = self._store.changes_after(self._store.first - 1, 1)
        return format_time(oldest[0].time) if oldest else None

    def _found(self, request: web.Request) -> tuple[Follow, Sight]:
        visitor = request[VISITOR]
        follow = find(self._office, request.match_info["contract"], visitor)
        sight = visitor.sight(follow.contract.name)
        assert sight
        return follow, sight


def changed(change: Change, sight: Sight) -> dict[str, Any] | None:
    """A change as one who sees it so was told of it: what leaves their divisions is deleted for them.
    None where they saw nothing of it."""
    here = change.value is not None and sight.covers(change.scope)
    if not here and not (change.was and sight.covers(change.was)):
        return None
    return {
        "op": "put" if here else "delete",
        "record": msgspec.Raw(sight.shown(change.value)) if here and change.value else None,
        "time": format_time(change.time),
        "id": change.id,
        "sequence": change.sequence,
        "source": change.source,
        "scope": change.scope if here else change.was,
    }


def narrowed(scopes: tuple[str, ...], asked: str) -> tuple[str, ...] | None:
    """Of which divisions records are shown to one who may see ``scopes`` and asks for ``asked``, each
    empty for every one; None for none."""
    if asked in ("", "0"):
        return scopes
    if not scopes or any(within(asked, each) for each in scopes):
        return (asked,)
    return tuple(each for each in scopes if within(each, asked)) or None


def _text(text: Any) -> dict[str, str]:
    return {"zh": text.zh, "en": text.en}


def fields_of(contract: Contract) -> list[dict[str, Any]]:
    """Name, titles, whether it is personal, what its codes mean and what it may hold, for each field, in
    the contract's order."""
    return [
        {
            "name": field.name,
            "title": _text(field.title),
            "personal": field.name in contract.personal,
            "labels": _labels(field.shape),
            "shape": _held(field.shape),
        }
        for field in contract.fields
    ]


def _labels(shape: Shape) -> dict[str, dict[str, str]]:
    labels = shape.labels if isinstance(shape, Enum) else {}
    return {code: _text(label) for code, label in labels.items()}


def _held(shape: Shape) -> dict[str, Any]:
    """What a field may hold, as the contract says it, with the pattern of its format; labels aside."""
    held: dict[str, Any] = msgspec.to_builtins(shape)
    held.pop("labels", None)
    if isinstance(shape, String) and shape.format in FORMATS:
        held.setdefault("pattern", FORMATS[shape.format].pattern)
    return held
