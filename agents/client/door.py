"""One window's HTTP: requests, what its answers mean, and when to ask again."""

import asyncio
import contextlib
import json
import os
import random
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

from agents.client.errors import NotThere, NotTrusted, Unavailable, WindowError, refused

#: Where a window listens when its node file does not say.
NEARBY = "http://127.0.0.1:8700"
#: Seconds before a connection that does not come about is given up.
CONNECT = 10.0
#: Seconds between two attempts, at first and at most, and the most that a window's word counts for.
FIRST, MOST, ASKED = 0.1, 10.0, 300.0
_NONE: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """The body and headers of an answer that is yes."""

    body: bytes
    headers: Mapping[str, str]


class Pauses:
    """Seconds to wait before each next attempt: longer each time, and never the same for all."""

    def __init__(self) -> None:
        self._next = FIRST

    def again(self, asked: float | None = None) -> float:
        """The next pause; ``asked`` are the seconds the window wants."""
        pause, self._next = self._next * random.uniform(0.5, 1.5), min(self._next * 2, MOST)
        return pause if asked is None else min(asked, ASKED) + random.uniform(0, 0.5)

    def reset(self) -> None:
        """It went well: the next is short again."""
        self._next = FIRST


class Door:
    """The way into one window. ``patience`` are seconds that it is asked again while away."""

    def __init__(
        self,
        url: str | None,
        token: str | None,
        *,
        ca: str | os.PathLike[str] | None,
        patience: float,
    ) -> None:
        self.url = (url or os.environ.get("LEVELSYNC_WINDOW") or NEARBY).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"Expected the window's address, `https://host:port`, got `{url}`")
        self._token = token if token is not None else os.environ.get("LEVELSYNC_TOKEN", "")
        if not self._token.isascii() or any(each.isspace() for each in self._token):
            raise ValueError("Expected a token of visible ASCII, got one with other characters")
        self._trust = ssl.create_default_context(cafile=ca) if ca else True
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: Mapping[str, str] = _NONE) -> Answer:
        """The answer to a GET, asked for until it comes or the patience is over. Raises WindowError."""
        return await self._ask("GET", path, query)

    async def post(self, path: str, body: Any) -> Answer:
        """The answer to a POST, asked for in the same way under one ``Idempotency-Key``, by which the
        window knows what it has taken already. Raises WindowError."""
        return await self._ask("POST", path, body=body, key=f'"{uuid.uuid4().hex}"')

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = _NONE,
        *,
        body: Any = None,
        key: str | None = None,
    ) -> Answer:
        pauses, until = Pauses(), time.monotonic() + self._patience
        while True:
            try:
                async with self.open(method, path, query, body=body, key=key) as response:
                    return Answer(await response.read(), response.headers)
            except Unavailable as away:
                pause = pauses.again(away.retry_after)
                if time.monotonic() + pause > until:
                    raise
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = _NONE,
        *,
        body: Any = None,
        key: str | None = None,
        token: str | None = None,
        stream: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is yes. ``key`` is what a POST is known by; ``token`` is the feed's;
        a ``stream`` has no end.

        Raises Unavailable for whatever may go well another time, within the block too.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if token is not None:
            headers["Last-Event-ID"] = token
        if key is not None:
            headers["Idempotency-Key"] = key
        where = self.url + path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        limit = aiohttp.ClientTimeout(total=None if stream else 60.0, sock_connect=CONNECT)
        try:
            async with self._opened().request(
                method,
                URL(where, encoded=True),
                headers=headers,
                json=body,
                timeout=limit,
                allow_redirects=False,
            ) as response:
                if not 200 <= response.status < 300:
                    raise await _no(response, token)
                yield response
        except aiohttp.ClientSSLError as error:
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                raise NotTrusted(
                    f"Expected a certificate we trust from {self.url}, got: {error}. Give ca=, the"
                    " PEM file of who signed it"
                ) from None
            raise Unavailable(f"{self.url} does not answer: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"{self.url} does not answer: {said}") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            # Feeds last, and must not take the place of look-ups.
            connector = aiohttp.TCPConnector(limit=0, ssl=self._trust)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, token=…)"


async def _no(response: aiohttp.ClientResponse, token: str | None) -> WindowError:
    status, title, detail = response.status, response.reason or "", ""
    text = (await response.content.read(65536)).decode(errors="replace")
    with contextlib.suppress(ValueError):
        said = json.loads(text)
        if isinstance(said, dict):
            title, detail = str(said.get("title", title)), str(said.get("detail", ""))
    if status in (408, 425, 429) or status >= 500:
        asked = response.headers.get("Retry-After", "")
        return Unavailable(
            f"{response.url.path}: {status} {title}: {detail}",
            float(asked) if asked.isascii() and asked.isdigit() else None,
        )
    no = refused(status, title, detail, token)
    if isinstance(no, NotThere):
        no.complete_as_of = response.headers.get("Complete-As-Of")
    return no


def segment(text: str) -> str:
    """A name or key as one segment of a path."""
    return quote(text, safe="")
