"""Clerks log in at a provider that others wrote, in a process of its own."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from agents.base.window import Clerks
from agents.demo.servers import free_ports
from tests.agents.window.house import House, login_at

pytestmark = pytest.mark.live

PROVIDER = Path(__file__).parents[2] / ".cache/oidc/bin/oidc-provider-mock"


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    (port,) = free_ports(1)
    clerk = {"sub": "u1", "preferred_username": "wang.fang", "groups": ["counter"]}
    process = await asyncio.create_subprocess_exec(
        PROVIDER, "--port", str(port), "--require-nonce", "true", "--user-claims",
        json.dumps(clerk), stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    at = f"http://127.0.0.1:{port}"
    try:
        async with ClientSession() as session, asyncio.timeout(60):
            while True:
                try:
                    async with session.get(f"{at}/.well-known/openid-configuration"):
                        break
                except ClientError:
                    await asyncio.sleep(0.1)
        yield at
    finally:
        process.terminate()
        await process.wait()


async def test_a_clerk_logs_in_at_a_provider_and_sees_what_they_may(
    issuer: str, tmp_path: Path
) -> None:
    clerks = Clerks(group="counter", purpose="over the counter", contracts=("resident.v2",))
    house = House(tmp_path, login_at(issuer, [clerks], secret="any secret does"))
    async with TestServer(house.app) as server:
        at = f"http://127.0.0.1:{server.port}"
        house.use(login=login_at(issuer, [clerks], secret="any secret does", url=at).login)
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser:
            async with browser.get(f"{at}/login") as answer:
                form, asked = await answer.text(), answer.url
            assert str(asked).startswith(issuer)
            assert re.search(r'name="?sub', form), form
            async with browser.post(asked, data={"sub": "u1"}) as answer:
                assert answer.status == 200, await answer.text()
                assert str(answer.url) == f"{at}/"
            async with browser.get(f"{at}/v1/session") as answer:
                said = await answer.json()
            assert (said["kind"], said["name"]) == ("clerk", "wang.fang")
            async with browser.get(f"{at}/v1/resident.v2/records") as answer:
                assert answer.status == 200
            async with browser.get(f"{at}/login") as answer:
                asked = answer.url
            async with browser.post(asked, data={"action": "deny"}) as answer:
                assert answer.status == 400, "a no that this provider does not say of which login"
            async with browser.get(f"{at}/v1/session") as answer:
                assert (await answer.json())["kind"] == "clerk", "the session there was goes on"
