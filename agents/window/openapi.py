"""``/openapi.json``: a running window as OpenAPI 3.1 describes it, and as whoever asks may see it."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web

from agents.window.answers import LONG, SHORT, VISITOR, answer, parameters
from agents.window.gate import Gate
from agents.window.office import Office
from agents.window.openapi_schemas import STATES, Schema, ref, schemas
from contracts.model import Contract

Operation = dict[str, Any]

_SAID = {
    303: "Go there",
    304: "It is as you have it",
    400: "A parameter or a body is wrong",
    401: "Who asks is not known",
    403: "Not for whoever asks, or not from the window's own page",
    404: "Not here, or not for whoever asks",
    408: "The body did not come",
    409: "It is so already",
    410: "The feed no longer reaches back to that token",
    413: "Too large",
    415: "Not this kind of content",
    422: "It is no correction that could be",
    421: "The window is not called by this name",
    429: "Too many",
    503: "Not at this moment",
}
_COMPLETE = {
    "Complete-As-Of": {
        "description": "Up to when what is answered is complete; `unknown` while it is not known",
        "schema": {"type": "string"},
    }
}
_ETAG = {"ETag": {"schema": {"type": "string"}}}


def add_openapi(app: web.Application, office: Office, gate: Gate, files: Mapping[str, str]) -> None:
    """Add ``/openapi.json`` to ``app``; ``files`` are the page's, with their kinds of content."""

    async def show(request: web.Request) -> web.Response:
        parameters(request)
        visitor = request.get(VISITOR)
        seen = [
            sight.contract(follow.contract)
            for name, follow in office.follows.items()
            if follow.shown and visitor and (sight := visitor.sight(name))
        ]
        return answer(described(app, office, gate, files, seen))

    app.router.add_get("/openapi.json", show)


def described(
    app: web.Application,
    office: Office,
    gate: Gate,
    files: Mapping[str, str],
    seen: list[Contract],
) -> dict[str, Any]:
    """The document: every address that ``app`` has, and ``seen``, the contracts of whoever asks."""
    known = operations(sorted(contract.name for contract in seen), files)
    paths: dict[str, dict[str, Operation]] = {}
    for method, path in addresses(app):
        if (method, path) in known:
            paths.setdefault(path, {})[method.lower()] = known[method, path]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"levelsync · {office.name}",
            "version": version("levelsync"),
            "description": "Government data as it is now, and every change of it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}] if office.table.open else [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": gate.cookie},
            },
            "schemas": schemas(seen),
        },
    }


def addresses(app: web.Application) -> list[tuple[str, str]]:
    """Method and path of everything ``app`` answers, in the order it was added."""
    return [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    ]


# ---- what each address takes and answers -----------------------------------------------------


def operations(names: list[str], files: Mapping[str, str]) -> dict[tuple[str, str], Operation]:
    """Every operation there can be, by method and path; ``names`` are the contracts."""
    one = [_contract(names)]
    record = [*one, _in("path", "key", {"type": "string"}, required=True)]
    division = _query("scope", {"type": "string", "pattern": "^[0-9]{0,12}$"})
    where = _query("where", {"type": "string", "maxLength": LONG["where"], "description": "CEL"})
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000})
    short = {"type": "string", "maxLength": SHORT}
    after = _query("after", short)
    page = [_query("field", short), _query("value", short), where, after, limit]  # fmt: skip
    feed = [
        division, where, _query("from", {"enum": ["state", "now"]}),
        _query("last_event_id", short),
        _in("header", "Last-Event-ID", {"type": "string"}),
    ]  # fmt: skip
    names_given = {"type": "string", "maxLength": LONG["contracts"], "description": "`a,b`"}
    several = _query("contracts", names_given, required=True)
    told, about = _query("contract", short), _query("key", short)
    state = _query("state", {"enum": list(STATES)})
    cached = [_in("header", "If-None-Match", {"type": "string"})]
    asked = (400, 401, 403, 404, 421, 429)
    found: dict[tuple[str, str], Operation] = {
        ("GET", "/v1/contracts"): _gets(
            "What is here, how fresh, how complete", "contracts", [], (400, 401, 421, 429, 503)
        ),
        ("GET", "/v1/{contract}/records/{key}"): _gets(
            "A record as it is now", "entry", record + cached, (304, *asked, 503), _COMPLETE | _ETAG
        ),
        ("GET", "/v1/{contract}/records"): _gets(
            "Records in the order of their keys; a page with `where` may end early, with `next`",
            "page", [*one, division, *page], (*asked, 503), _COMPLETE,
        ),
        ("GET", "/v1/{contract}/records/{key}/history"): _gets(
            "Recent changes of one key, newest first", "history", [*record, limit],
            (*asked, 503), _COMPLETE,
        ),
        ("GET", "/v1/{contract}/events"): _stream("The feed of one contract", [*one, *feed]),
        ("GET", "/v1/events"): _stream("The feed of several contracts", [several, *feed]),
        ("POST", "/v1/{contract}/records/{key}/corrections"): _posts(
            "A record is wrong: tell its owner", "proposal",
            {201: _json("correction", "Filed")},
            [*record, _in("header", "Idempotency-Key", {"type": "string"})],
            (409, 422, 503, *asked),
        ),
        ("GET", "/v1/corrections"): _gets(
            "What was said to be wrong, and what the owners answered", "corrections",
            [told, about, state, after, limit], (*asked, 503),
        ),
        ("GET", "/v1/freshness"): _gets(
            "How fresh each contract was in the last hour", "freshness", [], asked
        ),
        ("GET", "/v1/session"): _gets(
            "Who asks, and how one may log in", "session", [], (400, 401, 421, 429), free=True
        ),
        ("POST", "/v1/session"): _posts(
            "A session from a token, as a cookie", "token",
            {204: {"description": "Logged in"}}, [], (400, 401, 403, 421, 429), free=True,
        ),
        ("DELETE", "/v1/session"): _operation(
            "Log out", [], {204: {"description": "Logged out"}}, (400, 401, 403, 421, 429),
            free=True,
        ),
        ("GET", "/login"): _login(
            "Log in with the office's own provider", [], (303, 400, 404, 421, 429, 503)
        ),
        ("GET", "/login/back"): _login(
            "Where the provider sends the browser back to",
            [_query(name, {"type": "string"}) for name in ("code", "state", "iss", "error")],
            (303, 400, 403, 404, 421, 503),
        ),
        ("GET", "/openapi.json"): _operation(
            "This", [], {200: _content("application/json", {"type": "object"}, "OpenAPI 3.1")},
            (400, 401, 421, 429), free=True,
        ),
        ("GET", "/healthz"): _operation(
            "Does everything make progress?", [],
            {200: _json("health", "Yes"), 503: _json("health", "No")}, (421,), free=True,
        ),
        ("GET", "/readyz"): _operation(
            "Does everything run that should?", [],
            {200: _json("readiness", "Yes"), 503: _json("readiness", "No")}, (421,), free=True,
        ),
        ("GET", "/status"): _gets("Every hop of the agent", "status", [], (401, 421, 429)),
        ("GET", "/metrics"): _operation(
            "For Prometheus", [], {200: _content("text/plain", {"type": "string"}, "Figures")},
            (401, 421, 429),
        ),
    }  # fmt: skip
    for path, kind in files.items():
        served = _content(kind, {"type": "string"}, "The page, or a part of it") | {
            "headers": _ETAG
        }
        found["GET", path] = _operation("The page", cached, {200: served}, (304, 421), free=True)
    return found


def _contract(names: list[str]) -> Schema:
    named = {"enum": names} if names else {"pattern": "^[a-z][a-z0-9_]*\\.v[1-9][0-9]{0,3}$"}
    return _in("path", "contract", {"type": "string", **named}, required=True)


def _in(place: str, name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"in": place, "name": name, "required": required, "schema": schema}


def _query(name: str, schema: Schema, *, required: bool = False) -> Schema:
    return _in("query", name, schema, required=required)


def _gets(
    summary: str,
    schema: str,
    parameters: list[Schema],
    others: tuple[int, ...],
    headers: Mapping[str, Schema] | None = None,
    *,
    free: bool = False,
) -> Operation:
    good = _json(schema, "Found")
    if headers:
        good["headers"] = dict(headers)
    return _operation(summary, parameters, {200: good}, others, free=free)


def _posts(
    summary: str,
    schema: str,
    good: dict[int, Schema],
    parameters: list[Schema],
    others: tuple[int, ...],
    *,
    free: bool = False,
) -> Operation:
    body = {"required": True, "content": {"application/json": {"schema": ref(schema)}}}
    made = _operation(summary, parameters, good, (*others, 408, 413, 415), free=free)
    return made | {"requestBody": body}


def _stream(summary: str, parameters: list[Schema]) -> Operation:
    """Server-sent events; with ``Upgrade: websocket`` the same as text messages."""
    good = _content("text/event-stream", {"type": "string"}, "Changes as they come")
    switched = {"description": "With `Upgrade: websocket`: the same, a message each"}
    return _operation(
        summary, parameters, {101: switched, 200: good}, (400, 401, 403, 404, 410, 421, 429, 503)
    )


def _login(summary: str, parameters: list[Schema], others: tuple[int, ...]) -> Operation:
    """A browser is answered with a page."""
    made = _operation(summary, parameters, {}, others, free=True)
    for said in made["responses"].values():
        if "content" in said:
            said["content"]["text/html"] = {"schema": {"type": "string"}}
    return made


def _operation(
    summary: str,
    parameters: list[Schema],
    good: dict[int, Schema],
    others: tuple[int, ...],
    *,
    free: bool = False,
) -> Operation:
    """``others`` are answered with a problem, or with nothing where they say no more."""
    answers = dict(good)
    for status in others:
        if status in (303, 304):
            answers[status] = {"description": _SAID[status]}
            if status == 303:
                answers[status]["headers"] = {"Location": {"schema": {"type": "string"}}}
        elif status not in answers:
            answers[status] = _problem(status)
    made: Operation = {
        "summary": summary,
        "responses": {str(status): answers[status] for status in sorted(answers)},
    }
    if parameters:
        made["parameters"] = parameters
    if free:
        made["security"] = [{}]
    return made


def _problem(status: int) -> Schema:
    headers = {
        401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
        429: {"Retry-After": {"schema": {"type": "string"}}},
    }
    found = _content("application/problem+json", ref("problem"), _SAID[status])
    return found | ({"headers": headers[status]} if status in headers else {})


def _json(schema: str, description: str) -> Schema:
    return _content("application/json", ref(schema), description)


def _content(kind: str, schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}
