"""Asking agents how they are, many at once."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterable
from typing import Any

import aiohttp

#: Seconds an agent may take to answer, and agents asked at once.
PATIENCE, AT_ONCE = 2.0, 400
#: Bytes of an answer that are read.
MOST = 16 * 1024 * 1024


def reachable(listen: str) -> str:
    """Where one that listens everywhere is asked from its own machine."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("", "0.0.0.0", "[::]") else listen


async def asked_one(listen: str) -> dict[str, Any] | str:
    """/status of the agent of this machine that listens at ``listen``, or why there is nothing."""
    (found,) = (await asked([reachable(listen)], seconds=5.0)).values()
    return found


async def asked(
    addresses: Iterable[str], *, seconds: float = PATIENCE
) -> dict[str, dict[str, Any] | str]:
    """/status of the agents at ``addresses``, each ``host:port``: what it says, or why there is nothing.

    ``seconds`` is for each of them, not for all.
    """
    turn = asyncio.Semaphore(AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0), trust_env=False
    ) as session:

        async def ask(address: str) -> tuple[str, dict[str, Any] | str]:
            async with turn:
                return address, await _asked(session, address)

        return dict(await asyncio.gather(*map(ask, dict.fromkeys(addresses))))


async def _asked(session: aiohttp.ClientSession, address: str) -> dict[str, Any] | str:
    try:
        async with session.get(f"http://{address}/status", allow_redirects=False) as answer:
            if answer.status != 200:
                return f"expected /status of an agent, got HTTP {answer.status}"
            body = await _body(answer)
    except TimeoutError:
        return "no answer in time"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = getattr(error, "os_error", None) or error
        number = getattr(reason, "errno", None)
        said = os.strerror(number).lower() if number and number > 0 else str(reason)
        return said or type(error).__name__
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict) and isinstance(found.get("hops"), list):
            return found
    return "expected /status of an agent, got something else"


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MOST:
            return b""
    return body
