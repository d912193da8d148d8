"""Who comes in: every request of the window is somebody's, and what they may see follows from it.

A window system says who it is with a bearer token (RFC 6750), a browser with the cookie of a session. A
cookie is sent by browsers unasked, and so is everything to a window that asks for nothing: there, what
changes something or is followed has to come from the window's own page, and where nothing is asked for,
the window has to be called by a name of this machine, so that no page of elsewhere speaks to it by a name
of its own.
"""

import asyncio
import functools
import ipaddress
import math
import time
from collections import Counter
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.base.errors import LevelsyncError
from agents.base.window import LOOPBACK
from agents.window.answers import HEADERS, VISITOR, Problem, problem
from agents.window.office import Office
from agents.window.rates import WAITING, Failures, Rates
from agents.window.rights import MACHINE, Visitor
from agents.window.visitors import Visitors

log = structlog.get_logger()

#: Addresses that are anybody's, beside the page's files: who asks is not looked at.
ANYBODY = frozenset({"/healthz", "/readyz", "/login", "/login/back"})
#: Addresses that are anybody's, and answer one who is known by what they may see.
EITHER = frozenset({"/v1/session", "/openapi.json"})
#: Addresses that are followed: a browser gives a page of elsewhere what its onlooker may see.
FEEDS = frozenset({"/v1/events", "/v1/{contract}/events"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Decides of every request whose it is."""

    def __init__(self, office: Office, visitors: Visitors, free: Collection[str]) -> None:
        self.visitors = visitors
        self.rates = Rates()
        self._office = office
        self._anybody = ANYBODY.union(free)
        self._failures = Failures()
        self._waiting = 0
        #: Requests refused, by why.
        self.refused: Counter[str] = Counter()
        office.status.more.append(self.metrics)

    @property
    def cookie(self) -> str:
        """The name of the session's cookie: windows on other ports of this host have others."""
        return f"levelsync-{self._office.node}"

    async def enter(self, request: web.Request) -> None:
        """Note whose ``request`` is. Raises Problem."""
        table = self._office.table
        if table.open:
            self._at_home(request)
        path = _address(request)
        if not path or path in self._anybody:
            return
        visitor = await self._visitor(request)
        if visitor is None and path in EITHER:
            self._own_page(request, needed=False)
            return
        if visitor is None:
            self.refused["unknown"] += 1
            raise unknown("none")
        wait = self.rates.admit(visitor, time.monotonic())
        if wait:
            self.refused["rate"] += 1
            raise Problem(
                429, "Too many requests",
                f"Expected at most {visitor.rate} requests a second, got more",
                {"Retry-After": str(math.ceil(wait))},
            )  # fmt: skip
        request[VISITOR] = visitor

    async def wrong_token(self, request: web.Request) -> Problem:
        """A token that is nobody's came: the answer to it, after as long as it has to wait."""
        self.refused["token"] += 1
        address = request.remote or ""
        count, wait = self._failures.note(address, time.monotonic())
        if count & (count - 1) == 0:
            log.warning("a wrong token", address=address, count=count)
        if wait and self._waiting >= WAITING:
            return Problem(
                429, "Too many wrong tokens", "Expected a token of this window's, got another",
                {"Retry-After": str(math.ceil(wait))},
            )  # fmt: skip
        self._waiting += 1
        try:
            await asyncio.sleep(wait)
        finally:
            self._waiting -= 1
        return unknown("another", "invalid_token")

    async def _visitor(self, request: web.Request) -> Visitor | None:
        """Who asks; None for one who does not say. Raises Problem."""
        headers = request.headers
        given = headers.get("Authorization")
        if given is not None:
            kind, _, token = given.partition(" ")
            found = self.visitors.system(token.strip()) if kind.lower() == "bearer" else None
            if found is None:
                raise await self.wrong_token(request)
            return found[1]
        if "Cookie" in headers and (number := request.cookies.get(self.cookie)):
            guest = self.visitors.guest(number)
            if guest is not None:
                self._own_page(request, needed=True)
                return guest
        if self._office.table.open:
            self._own_page(request, needed=False)
            return MACHINE
        return None

    def _at_home(self, request: web.Request) -> None:
        """Raise Problem for a name that is not this machine's (DNS rebinding)."""
        host = request.headers.get("Host")
        if host is not None and not _is_here(host, self._office.table.listen):
            self.refused["host"] += 1
            raise Problem(
                421, "Not called by this name",
                f"Expected {self._office.table.listen} or another name of this machine, got `{host}`;"
                " name systems or a login in the node file to be reached by others",
            )  # fmt: skip

    def _own_page(self, request: web.Request, *, needed: bool) -> None:
        """Raise Problem for what would change something, or follow a feed, and comes from another's page;
        where ``needed``, also for a change or a WebSocket where nothing says from whose."""
        headers = request.headers
        upgrade = headers.get("Upgrade", "").strip().lower() == "websocket"
        reads = request.method in _READS and not upgrade
        if reads and _address(request) not in FEEDS:
            return
        origin = headers.get("Origin")
        if origin is None:
            # With a GET from the window's own page an older browser says nothing.
            same = headers.get("Sec-Fetch-Site", "" if needed and not reads else "none")
            if same in ("same-origin", "none"):
                return
        elif self._is_own(origin, request):
            return
        self.refused["origin"] += 1
        raise Problem(
            403, "Not from this page",
            f"Expected an `Origin` of this window's own, got `{origin or 'none'}`",
        )  # fmt: skip

    def _is_own(self, origin: str, request: web.Request) -> bool:
        """Is it where the page was got from? A proxy before the window may speak TLS for it."""
        scheme, _, place = origin.lower().partition("://")
        if place and place == request.headers.get("Host", "").lower():
            return scheme == "https" or not request.secure
        login = self._office.table.login
        return login is not None and origin.lower() == origin_of(login.url)

    def metrics(self) -> Iterator[Metric]:
        """For Prometheus: who was refused, and who is logged in."""
        refused = CounterMetricFamily(
            "levelsync_window_refused", "Requests nobody was let in with.", labels=["why"]
        )
        for why in ("unknown", "token", "rate", "host", "origin"):
            refused.add_metric([why], self.refused[why])
        sessions = GaugeMetricFamily("levelsync_window_sessions", "Sessions that have not ended.")
        sessions.add_metric([], len(self.visitors.sessions))
        yield from (refused, sessions)


def gate(keeper: Gate) -> Middleware:
    """The middleware that lets requests in, and gives every answer its headers."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            await keeper.enter(request)
            response = await handler(request)
        except Problem as no:
            response = problem(no.status, no.title, no.detail, no.headers)
        except web.HTTPException as error:
            response = problem(error.status, error.reason, f"{request.method} {request.path}")
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except LevelsyncError as error:
            # The store has no room, or is damaged: the hop says so too.
            response = problem(503, "Not at this moment", str(error), {"Retry-After": "10"})
        except ConnectionError:
            raise
        except Exception:
            # What is asked for may be personal: the log has where, not what.
            log.exception("a request failed", address=_address(request))
            response = problem(500, "That went wrong here", "The agent's log says what")
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guarded


async def expected(request: web.Request) -> None:
    """What ``Expect`` asks for (RFC 9110, section 10.1.1); what is not known of it is passed over."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What is answered has not begun yet.
        request.writer.output_size = 0


def _address(request: web.Request) -> str:
    """The address that was asked for, without what stands in it; empty where there is none such."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""


def unknown(found: str, error: str = "") -> Problem:
    """The answer to one who is not known."""
    challenge = 'Bearer realm="levelsync"' + (f', error="{error}"' if error else "")
    return Problem(
        401, "Who are you?",
        f"Expected `Authorization: Bearer` with a token of this window's, or a session, got {found}",
        {"WWW-Authenticate": challenge},
    )  # fmt: skip


@functools.lru_cache(256)
def _is_here(host: str, listen: str) -> bool:
    """Is ``host``, with a port or without, this machine, or the address ``listen`` says?"""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in LOOPBACK or name == listen.rpartition(":")[0].strip("[]"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> str:
    """The origin a browser says for a page at ``url``."""
    parts = urlsplit(url.lower())
    place = parts.netloc.removesuffix({"https": ":443", "http": ":80"}.get(parts.scheme, " "))
    return f"{parts.scheme}://{place}"
