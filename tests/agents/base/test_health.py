"""What listens, and whom it does not wait for."""

import asyncio

import pytest

from agents.base import health
from agents.base.health import health_app, listening
from agents.base.status import Status
from agents.demo.servers import free_ports

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_without_a_whole_request_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "IDLE", 0.5)
    (port,) = free_ports(1)
    async with listening(health_app(Status("3701", "test")), f"127.0.0.1:{port}", "agent.listen"):
        silent, mute = await asyncio.open_connection("127.0.0.1", port)
        slow, letters = await asyncio.open_connection("127.0.0.1", port)
        dripping = asyncio.create_task(_drip(letters), name="drip")
        asking, requests = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            for _ in range(8):
                requests.write(REQUEST)
                await asking.readuntil(b"HTTP/1.1 200 OK")
                await asyncio.sleep(0.1)
            assert await silent.read() == b""
            await dripping
            assert slow.at_eof() or slow.exception()
        for writer in (mute, requests):
            writer.close()


async def _drip(letters: asyncio.StreamWriter) -> None:
    """A request letter by letter, its name never ended, until we are not listened to."""
    while not letters.transport.is_closing():
        letters.write(b"G")
        await asyncio.sleep(0.05)
