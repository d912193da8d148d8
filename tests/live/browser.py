"""Debian's Chromium, and what every page of the window is held to."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE = Path(__file__).parents[2] / ".cache/node/node_modules/axe-core/axe.min.js"


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser; skips the test where there is none."""
    if not CHROMIUM:
        assert not os.environ.get("CI"), "Expected chromium, found none: run deploy/setup"
        pytest.skip("no chromium: run deploy/setup, or set CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


class Watched:
    """A page at ``url`` and everything it does that it should not: errors, and requests elsewhere.

    While ``cut`` is true, requests that fail are as they should be.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.trouble: list[str] = []
        self.cut = False
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("request", self._request)

    def _console(self, said: ConsoleMessage) -> None:
        if said.type == "error" and not (self.cut and "Failed to load resource" in said.text):
            self.trouble.append(f"{said.text} {said.location}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.trouble.append(f"asked elsewhere: {request.url}")

    async def until(self, expression: str, seconds: float = 10.0) -> Any:
        """The value of ``expression`` in the page as soon as it is true."""
        # The page's own policy does not let a script be made from text, as waiting in it would.
        async with asyncio.timeout(seconds):
            while not (value := await self.page.evaluate(expression)):
                await asyncio.sleep(0.03)
        return value

    async def fits(self) -> None:
        """Nothing has to be scrolled sideways."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{wide} pixels too wide"

    async def accessible(self, state: str) -> None:
        """axe finds nothing serious or critical."""
        if not _AXE.exists():
            assert not os.environ.get("CI"), "Expected axe-core, found none: run deploy/setup"
            return
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(_AXE.read_text())
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        bad = [
            f"{each['id']} ({each['impact']}): {node['html'][:160]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"][:3]
        ]
        assert not bad, f"{state}:\n" + "\n".join(bad)
