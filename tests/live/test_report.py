"""The scorecard from real agents and in a real browser: on the screen, on paper, and of what really happened."""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.demo.servers import AgentProcess, KafkaServer, free_ports
from contracts.subjects import CONTRACTS
from tests.agents.report.months import FIRST, LAST, node_file, written
from tests.contracts.examples import example
from tests.live.browser import Watched, chromium

pytestmark = [pytest.mark.live, pytest.mark.slow]

PERIOD = ["--from", FIRST.isoformat(), "--to", LAST.isoformat()]
TOKEN, SENDER = "a-token-of-the-counter-0001", "a-token-of-the-licence-hall-01"
NODE = """
[node]
id = "370102"
name = "历下区"
level = "county"

[agent]
listen = "127.0.0.1:{ports[0]}"
state = "state"

[kafka]
bootstrap = "{bootstrap}"

[window]
listen = "127.0.0.1:{ports[1]}"

[[window.system]]
name = "civil-affairs"
token = "{token}"
purpose = "办理注销登记"
contracts = ["business_licence.v1"]

[corrections]
days = 3

[intake]
listen = "127.0.0.1:{ports[2]}"

[[intake.sender]]
name = "hall"
token = "{sender}"
contracts = ["business_licence.v1"]

[[source]]
kind = "http"
contract = "business_licence.v1"
"""


def send(url: str, token: str, body: Any = None) -> Any:
    """JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


async def test_a_report_is_of_what_really_happened(
    unshared: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records come in, one is looked up and corrected, the agent is away for a while."""
    ports = free_ports(3)
    node = tmp_path / "370102.toml"
    node.write_text(
        NODE.format(ports=ports, bootstrap=unshared.bootstrap, token=TOKEN, sender=SENDER),
        encoding="utf-8",
    )
    agent = AgentProcess(node, tmp_path, f"127.0.0.1:{ports[0]}")
    agent.start()
    try:
        await agent.ready(60)
        record = example("business_licence.v1")
        url = f"http://127.0.0.1:{ports[2]}/v1/intake/business_licence.v1"
        await asyncio.to_thread(send, url, SENDER, record)
        url = f"http://127.0.0.1:{ports[1]}/v1/business_licence.v1/records/{record['credit_code']}"
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(urllib.error.HTTPError):
                    address = (await asyncio.to_thread(send, url, TOKEN))["record"]["address"]
                    break
                await asyncio.sleep(0.1)
        asked = {"field": "address", "seen": address, "proposed": "泉城路1号"}
        filed = await asyncio.to_thread(send, f"{url}/corrections", TOKEN, asked)
        await asyncio.sleep(2.5)
        answer = ["corrections", "answer", str(node), filed["id"], "--accept"]
        code = await asyncio.to_thread(main, answer)
        assert code == 0, capsys.readouterr()
    finally:
        await agent.stop(20)
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["report", str(node), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lines = {(line["contract"], line["way"]): line for line in found["lines"]}
    shown = lines["business_licence.v1", "shown"]
    assert lines["business_licence.v1", "collected"]["events"] >= 1
    assert shown["events"] >= 1
    assert shown["promised"] == CONTRACTS["business_licence.v1"].freshness
    assert 2 <= shown["seen"] < 600
    assert shown["seen"] <= shown["seconds"], "what was before is not known"
    assert any("begins at" in each["en"] for each in found["not_known"])
    (corrected,) = found["corrections"]
    assert (corrected["contract"], corrected["filed"], corrected["accepted"]) == (
        "business_licence.v1", 1, 1,
    )  # fmt: skip
    assert corrected["in_time"] == corrected["with_due"] == 1
    (use,) = [each for each in found["uses"] if each["contract"] == "business_licence.v1"]
    assert (use["who"], use["purpose"], use["kind"]) == ("civil-affairs", "办理注销登记", "system")
    assert use["look_ups"] >= 1
    # Journals that began after the days asked for are not read.
    old = ["report", str(node), "--json", "--from", "2026-01-01", "--to", "2026-01-02"]
    assert await asyncio.to_thread(main, old) == 0
    assert json.loads(capsys.readouterr().out)["uses"] == []


async def test_the_page_can_be_read_by_everybody_in_each_language_and_on_paper(
    tmp_path: Path,
) -> None:
    written(tmp_path / "state")
    node = node_file(tmp_path)
    out = tmp_path / "page.html"
    assert await asyncio.to_thread(main, ["report", str(node), *PERIOD, "--html", str(out)]) == 0
    async with chromium() as browser:
        for scheme in ("light", "dark"):
            page = await browser.new_page(
                color_scheme=scheme, viewport={"width": 1280, "height": 900}
            )
            watched = Watched(page, out.as_uri())
            await page.goto(out.as_uri())
            for name in ("zh", "en", "both"):
                await page.locator(f"label[for=language-{name}]").click()
                hidden = await page.locator("h1 [lang=zh-CN]").is_hidden()
                assert hidden == (name == "en")
                assert await page.locator("h1 [lang=en]").is_hidden() == (name == "zh")
                await watched.fits()
            await watched.accessible(f"{scheme} {name}")  # both languages: all there is
            assert watched.trouble == []
            await page.emulate_media(media="print", color_scheme=scheme)
            ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == "rgb(255, 255, 255)", "paper is light, whatever the screen is"
            assert await page.locator(".switch").is_hidden()
            pdf = await page.pdf(prefer_css_page_size=True)
            assert 1 <= pdf.count(b"/Type /Page\n") <= 5
            await page.close()
        narrow = await browser.new_page(viewport={"width": 400, "height": 800})
        await narrow.goto(out.as_uri())
        await Watched(narrow, out.as_uri()).fits()
