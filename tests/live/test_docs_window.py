"""The guide to windows from its first line to its last: Python, curl, Java, Node and a browser."""

import json
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from agents.demo.servers import KafkaServer, free_ports, kafka_libs
from tests.guide import ROOT, Reader
from tests.live.browser import CHROMIUM, FLAGS

pytestmark = [pytest.mark.live, pytest.mark.slow]

GUIDE = (ROOT / "docs" / "window.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples"
#: Where Node's packages are.
MODULES = Path(os.environ.get("LEVELSYNC_NODE_MODULES", ROOT / ".cache" / "node" / "node_modules"))


def needed(there: bool, what: str) -> None:
    """Skip where something is not installed, but never in CI."""
    if not there:
        assert not os.environ.get("CI"), f"Expected {what}, found none: run deploy/setup"
        pytest.skip(f"no {what}: run deploy/setup")


def python(folder: Path) -> None:
    """``python`` is the one that runs this."""
    shim = folder / ".programs" / "python"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)


def test_the_guide_to_windows_works_as_it_stands(tmp_path: Path, unshared: KafkaServer) -> None:
    needed(bool(CHROMIUM), "chromium")
    needed((MODULES / "kafkajs").is_dir(), "kafkajs")
    agent, door, window, proxy = free_ports(4)
    instead = {
        "127.0.0.1:9092": unshared.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{agent}",
        "127.0.0.1:8690": f"127.0.0.1:{door}",
        "127.0.0.1:8700": f"127.0.0.1:{window}",
        "127.0.0.1:8080": f"127.0.0.1:{proxy}",
        "proxy.py 8080": f"proxy.py {proxy}",
        "$KAFKA_LIBS": str(kafka_libs()),
    }
    folder = tmp_path / "reader"
    shutil.copytree(EXAMPLES, folder)
    (folder / "node_modules").symlink_to(MODULES)
    with Reader(folder, instead) as reader:
        python(folder)
        reader.follow(GUIDE)
        in_a_browser(f"http://127.0.0.1:{proxy}/", f"http://127.0.0.1:{door}")


def in_a_browser(page_url: str, door: str) -> None:
    """The page shows what is there, then a change, and how old it all is."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto(page_url)
        page.wait_for_selector("text=经十路9号")
        page.wait_for_selector("text=截至")
        change = json.loads(
            (EXAMPLES.parent / "window.md")
            .read_text()
            .split("```json change.ndjson\n")[1]
            .split("\n")[0]
        )
        change["address_detail"] = "经十路10号"
        request = urllib.request.Request(
            f"{door}/v1/intake/resident.v2",
            json.dumps(change).encode(),
            {
                "Authorization": "Bearer a-long-and-secret-token",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        page.wait_for_selector("text=经十路10号")
        assert page.locator("tr").count() == 1
        assert trouble == []
        browser.close()
