"""What every answer of the window over HTTP has in common: problems, headers, parameters."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from agents.window.follow import Follow
from agents.window.office import Office
from agents.window.rights import Visitor
from contracts.envelope import format_time

#: Of every answer.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Who asks; set by the gate for every request that passes it.
VISITOR: web.RequestKey[Visitor] = web.RequestKey("visitor", Visitor)


class Problem(Exception):
    """An answer that is no (RFC 9457): status, title and what was expected and found."""

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.title, self.detail = status, title, detail
        self.headers = headers or {}
        super().__init__(detail)


def problem(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """That answer."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return web.Response(
        status=status,
        # What is quoted of a request need not be UTF-8.
        body=json.dumps(body, ensure_ascii=False).encode(errors="replace"),
        content_type="application/problem+json",
        headers=headers,
    )


def answer(body: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> web.Response:
    """``body`` as JSON."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )


def complete(follow: Follow) -> dict[str, str]:
    """The header that says up to when what is answered is complete; and the one that says how much was
    read anew, while an operator has that done and what is answered stays as it was."""
    found = {"Complete-As-Of": as_of(follow) or "unknown"}
    if follow.rebuilding is not None:
        found["Rebuilding"] = f"{follow.rebuilding:.0%}"
    return found


def as_of(follow: Follow) -> str | None:
    """RFC 3339 text of that moment; None while it is not known."""
    return format_time(follow.hop.complete) if follow.hop.complete else None


#: Characters of a parameter at most: of those that may be longer, and of all others.
LONG, SHORT = {"where": 1_000, "contracts": 1_000}, 200


def parameters(request: web.Request, *known: str) -> dict[str, str]:
    """What the query says. Raises Problem for a name that is not among ``known``, or too long a
    value."""
    for name, value in request.query.items():
        if name not in known:
            raise Problem(
                400, "Unknown parameter",
                f"Expected {', '.join(known) or 'no parameters'}, got `{name}`",
            )  # fmt: skip
        if len(value) > (most := LONG.get(name, SHORT)):
            raise Problem(
                400, "Wrong parameter", f"Expected {name}=at most {most} characters, got {len(value)}"
            )  # fmt: skip
    return dict(request.query)


T = TypeVar("T")
#: Seconds a body may take to come.
PATIENCE = 10.0


async def body_of(request: web.Request, kind: type[T], most: int) -> T:
    """The JSON that was sent, of at most ``most`` bytes, as ``kind``. Raises Problem."""
    if request.content_type != "application/json" or "Content-Type" not in request.headers:
        found = request.headers.get("Content-Type", "none")
        raise Problem(
            415, "Not this kind of content", f"Expected application/json, got `{found}`"
        )  # fmt: skip
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > most:
                    raise Problem(413, "Too large", f"Expected at most {most} bytes, got more")
        return msgspec.json.decode(body, type=kind)
    except TimeoutError:
        raise Problem(
            408, "The body does not come", f"Expected it within {PATIENCE:.0f} s"
        ) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Problem(400, "Wrong body", str(error)) from None
    except RecursionError:
        raise Problem(400, "Wrong body", "Expected less nesting, got more") from None


def scope_in(given: Mapping[str, str]) -> str:
    """The division asked for, empty for every one. Raises Problem."""
    scope = given.get("scope", "")
    if scope and not (scope.isascii() and scope.isdigit() and len(scope) <= 12):
        raise Problem(400, "Wrong parameter", f"Expected scope=a division code, got `{scope}`")
    return scope


def whole(text: str, name: str, most: int) -> int:
    """A number from 1 to ``most``. Raises Problem."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise Problem(400, "Wrong parameter", f"Expected {name}=1 to {most}, got `{text}`")
    return int(text)


def known(office: Office) -> None:
    """Raises Problem while it is not known yet which contracts are here: to say that one is not would
    be wrong."""
    if not office.status.planned:
        raise Problem(
            503, "Not known yet",
            "Expected grants and contracts from Kafka since the agent's start, got none so far;"
            " the agent's /status says why",
            {"Retry-After": "1"},
        )  # fmt: skip


def find(office: Office, name: str, visitor: Visitor) -> Follow:
    """The contract called ``name``, if it is here and ``visitor`` may see any of it. Raises Problem."""
    known(office)
    found = office.follows.get(name)
    if found is None or not found.shown or visitor.sight(name) is None:
        there = ", ".join(
            name for name, one in office.follows.items() if one.shown and visitor.sight(name)
        )
        raise Problem(404, "No such contract", f"Expected one of {there or 'none'}, got `{name}`")
    return found
