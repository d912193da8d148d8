"""Corrections and accesses over three real levels: up to the owner, down with the answer, killed and cut."""

import asyncio
import json
import os
import re
import sys
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from aiohttp import web

from agents.demo.levels import Levels, fetch_json
from agents.demo.people import COUNTY
from agents.demo.servers import free_ports
from agents.kafka.cluster import Cluster
from agents.kafka.reader import scan
from agents.kafka.wire import Connection
from agents.window.answer_table import DDL
from agents.window.webhook import signature
from tests.live.browser import Watched, chromium
from tests.live.levels import resident, started

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SECRET = "sixteen letters and more"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def levels() -> AsyncIterator[Levels]:
    async with started(residents=200, licences=5) as running:
        yield running


async def file(levels: Levels, key: str, field: str = "phone", **body: Any) -> dict[str, Any]:
    """File a correction at the county's window."""
    contract = body.pop("contract", "resident.v2")
    url = levels.url(COUNTY, f"/v1/{contract}/records/{key}")
    record = (await asyncio.to_thread(fetch_json, url))["record"]
    asked = {"field": field, "seen": record[field], "proposed": "13900000000", **body}
    request = urllib.request.Request(
        f"{url}/corrections", json.dumps(asked).encode(), {"Idempotency-Key": key}, method="POST"
    )

    def send() -> Any:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 201
            return json.load(answer)

    filed: dict[str, Any] = await asyncio.to_thread(send)
    return filed


async def seen(levels: Levels, name: str) -> dict[str, Any] | None:
    """A correction as the county's window shows it."""
    try:
        found = await asyncio.to_thread(fetch_json, levels.url(COUNTY, "/v1/corrections?limit=500"))
    except OSError:
        return None
    assert len({each["id"] for each in found["corrections"]}) == len(found["corrections"])
    return next((each for each in found["corrections"] if each["id"] == name), None)


async def until_state(levels: Levels, name: str, state: str) -> dict[str, Any]:
    """Wait until the county's window shows it so."""
    found: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(120):
            while (found := await seen(levels, name)) is None or found["state"] != state:
                await asyncio.sleep(0.1)
    except TimeoutError:
        logs = "\n".join(f"{n}:\n{agent.tail(12)}" for n, agent in levels.agents.items())
        raise AssertionError(f"expected {name} to be {state}, got {found}\n{logs}") from None
    return found


async def command(levels: Levels, node: str, *arguments: str) -> tuple[int, str]:
    """Run ``levelsync`` at ``node``, ``{}`` being its file; exit code and what it printed."""
    agent = levels.agents[node]
    given = [each.replace("{}", str(agent.node_file)) for each in arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agents.cli", *given,
        env={**os.environ, **(agent._env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode()


async def answers_told(levels: Levels, name: str) -> list[str]:
    """Every state that the province's topic was ever told of a correction."""
    part = ("correction_answer.v1", 0)
    async with Connection(Cluster(levels.brokers["37"].bootstrap)) as connection:
        first, end = (await connection.ends([part]))[part]
        records = [record async for record in scan(connection, part, first, end)]
    return [
        json.loads(record.value)["state"]
        for record in records
        if record.key == name.encode() and record.value
    ]


async def test_a_correction_goes_up_is_answered_once_and_seen_at_the_window_whoever_is_killed(
    levels: Levels,
) -> None:
    filed = await file(levels, resident(levels, 0), evidence="本人出示")
    assert filed["state"] == "sent"
    await levels.agents["370102"].kill()
    await levels.agents["37"].kill()
    for node in ("370102", "37"):
        levels.agents[node].start()
        await levels.agents[node].ready(60.0)
    received = await until_state(levels, filed["id"], "received")
    assert received["due"]
    code, listed = await command(levels, "37", "corrections", "list", "{}")
    assert code == 0
    assert f'"{filed["seen"]}" → "13900000000"' in listed
    assert f"due {received['due']}" in listed
    code, shown = await command(levels, "37", "corrections", "show", "{}", filed["id"], "--json")
    assert json.loads(shown)["corrections"][0]["evidence"] == "本人出示"
    code, said = await command(levels, "37", "corrections", "answer", "{}", filed["id"], "--reject")
    assert (code, "why it is rejected" in said) == (1, True)
    answer = (
        "corrections",
        "answer",
        "{}",
        filed["id"],
        "--accept",
        "--note",
        "已改",
        "--by",
        "王芳",
    )
    assert (await command(levels, "37", *answer))[0] == 0
    await levels.agents["37"].kill()
    levels.agents["37"].start()
    await levels.agents["37"].ready(60.0)
    code, said = await command(levels, "37", *answer)
    assert (code, "answered before" in said) == (1, True)
    accepted = await until_state(levels, filed["id"], "accepted")
    assert (accepted["note"], accepted["answered_by"]) == ("已改", "王芳")
    assert await answers_told(levels, filed["id"]) == ["received", "accepted"]
    assert (await command(levels, "37", "corrections", "list", "{}"))[1] == "no correction\n"
    assert (await command(levels, "3701", "corrections", "list", "{}"))[0] == 2


async def test_a_clerk_files_a_correction_on_the_page_and_sees_the_owners_answer_there(
    levels: Levels,
) -> None:
    key = resident(levels, 5)
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 1366, "height": 768})
        watched = Watched(page, levels.url(COUNTY, "/"))
        await page.goto(levels.url(COUNTY, "/"))
        await page.click("[data-language=en]")
        await page.select_option("#contract", "resident.v2")
        await page.fill("#key", key)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#record-title")
        await page.click("#record-wrong")
        await page.select_option("#propose-field", "phone")
        await page.fill("#propose-value", "13805310005")
        await page.fill("#propose-evidence", "本人到场")
        await page.click("#propose-send")
        await watched.until("!document.getElementById('propose').open")
        listed = "#record-corrections"
        await page.wait_for_selector(f"{listed} [data-state=received]", timeout=60_000)
        _, told = await command(levels, "37", "corrections", "list", "{}", "--json")
        (filed,) = [one for one in json.loads(told)["corrections"] if one["key"] == key]
        assert (filed["proposed"], filed["evidence"]) == ("13805310005", "本人到场")
        answer = ("corrections", "answer", "{}", filed["id"], "--accept", "--note", "已改")
        assert (await command(levels, "37", *answer))[0] == 0
        async with await psycopg.AsyncConnection.connect(levels.postgres.dsn("province")) as office:
            await office.execute(
                "UPDATE population.resident SET phone = '13805310005' WHERE citizen_no = %s", (key,)
            )
        await page.wait_for_selector(f"{listed} [data-state=accepted]", timeout=60_000)
        assert "已改" in await page.inner_text(listed)
        await watched.until(
            "document.querySelector('[data-field=phone] dd').textContent.startsWith('13805310005')"
        )
        assert watched.trouble == []


async def test_a_cut_line_keeps_nobody_from_filing(levels: Levels) -> None:
    await levels.agents["3701"].stop(5.0)
    filed = await file(levels, resident(levels, 1))
    await asyncio.sleep(1.0)
    found = await seen(levels, filed["id"])
    assert found is not None
    assert found["state"] == "sent"
    levels.agents["3701"].start()
    await until_state(levels, filed["id"], "received")


async def test_what_its_owner_below_answers_does_not_travel_further(levels: Levels) -> None:
    licence = levels.clerks.licences[0]
    filed = await file(
        levels, licence, "company_name", contract="business_licence.v1", proposed="济南某某有限公司"
    )
    await until_state(levels, filed["id"], "received")
    await asyncio.sleep(3.0)
    _, listed = await command(levels, "37", "corrections", "list", "{}", "--all")
    assert filed["id"] not in listed
    assert (await command(levels, "370102", "corrections", "answer", "{}", filed["id"],
                          "--reject", "--note", "名称无误"))[0] == 0  # fmt: skip
    assert (await until_state(levels, filed["id"], "rejected"))["note"] == "名称无误"


async def test_the_province_answers_who_looked_at_a_person_at_the_countys_window(
    levels: Levels,
) -> None:
    key = resident(levels, 2)
    for _ in range(3):
        await asyncio.to_thread(fetch_json, levels.url(COUNTY, f"/v1/resident.v2/records/{key}"))
    looks: list[dict[str, Any]] = []
    async with asyncio.timeout(120):
        while len(looks) < 3:
            code, told = await command(levels, "37", "accesses", "{}", "resident.v2", key, "--json")
            assert code == 0
            looks = json.loads(told)
    assert {(each["who"], each["node"], each["action"]) for each in looks} == {
        ("this machine", "370102", "look-up")
    }
    assert len(looks) == 3
    _, told = await command(
        levels, "37", "accesses", "{}", "resident.v2", key, "--to", "2020-01-01"
    )
    assert "nobody looked up" in told
    for node in ("37", "370102"):
        code, told = await command(levels, node, "accesses", "verify", "{}")
        assert (code, re.findall(r"\d+ places", told)) == (0, ["0 places"]), told


async def test_the_owners_application_answers_by_its_table_and_by_webhook(levels: Levels) -> None:
    got: list[dict[str, Any]] = []

    async def hook(request: web.Request) -> web.Response:
        body = await request.read()
        moment = request.headers["Levelsync-Timestamp"]
        assert request.headers["Levelsync-Signature"] == signature(SECRET, moment, body)
        got.append(json.loads(body))
        if len(got) == 1:
            return web.Response(status=503)
        if got[-1]["key"] == resident(levels, 4):
            return web.json_response({"answer": "accepted", "note": "已核", "answered_by": "系统"})
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/corrections", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_ports(1)[0]
    await web.TCPSite(runner, "127.0.0.1", port).start()
    dsn = levels.postgres.dsn("province")
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as office:
            await office.execute("CREATE SCHEMA desk; " + DDL.format("desk.correction"))
            agent = levels.agents["37"]
            text = agent.node_file.read_text(encoding="utf-8")
            more = (
                f'[corrections]\ndsn = "${{POPULATION_DSN}}"\ntable = "desk.correction"\n'
                f'webhook = "http://127.0.0.1:{port}/corrections"\nsecret = "{SECRET}"\n'
            )
            agent.node_file.write_text(text.replace("[corrections]\n", more), encoding="utf-8")
            by_table = await file(levels, resident(levels, 3))
            by_hook = await file(levels, resident(levels, 4))
            found = await until_state(levels, by_hook["id"], "accepted")
            assert (found["note"], found["answered_by"]) == ("已核", "系统")
            row = None
            async with asyncio.timeout(30):
                while row is None:
                    cursor = await office.execute(
                        "SELECT seen, due FROM desk.correction WHERE id = %s", (by_table["id"],)
                    )
                    row = await cursor.fetchone()
                    await asyncio.sleep(0.1)
            assert row[0] == by_table["seen"]
            await office.execute(
                "UPDATE desk.correction SET answer = 'rejected', note = '不符', answered_by = '李'"
                " WHERE id = %s",
                (by_table["id"],),
            )
            found = await until_state(levels, by_table["id"], "rejected")
            assert (found["note"], found["answered_by"]) == ("不符", "李")
            async with asyncio.timeout(30):
                while True:
                    cursor = await office.execute(
                        "SELECT id FROM desk.correction WHERE told_at IS NULL AND id = ANY(%s)",
                        ([by_table["id"], by_hook["id"]],),
                    )
                    if not await cursor.fetchall():
                        break
                    await asyncio.sleep(0.1)
            assert await answers_told(levels, by_table["id"]) == ["received", "rejected"]
            assert await answers_told(levels, by_hook["id"]) == ["received", "accepted"]
    finally:
        await runner.cleanup()
