"""Three real levels: what each of the three who use levelsync would see."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from agents.demo.levels import NODES, Levels, fetch_json
from agents.demo.people import COUNTY
from agents.kafka.batches import records_of
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection
from contracts.envelope import event_of
from tests.live.browser import Watched, chromium
from tests.live.levels import resident, started
from tests.live.streams import until_true
from tests.metrics_page import documented

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def levels() -> AsyncIterator[Levels]:
    async with started(residents=600, licences=20) as running:
        yield running


async def change(levels: Levels, key: str, **columns: str) -> None:
    """Change a row at the province, as its own application would."""
    async with await psycopg.AsyncConnection.connect(levels.postgres.dsn("province")) as office:
        for column, value in columns.items():
            await office.execute(
                psycopg.sql.SQL("UPDATE population.resident SET {} = %s WHERE citizen_no = %s")
                .format(psycopg.sql.Identifier(column)),
                (value, key),
            )  # fmt: skip


async def at_window(levels: Levels, key: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await asyncio.to_thread(
            fetch_json, levels.url(COUNTY, f"/v1/resident.v2/records/{key}")
        )
    except OSError:
        return None
    return found


async def until_phone(levels: Levels, key: str, phone: str, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = await at_window(levels, key)
            if found and found["record"]["phone"] == phone:
                return
            await asyncio.sleep(0.02)


async def until_ready(levels: Levels) -> None:
    for agent in levels.agents.values():
        await agent.ready(30.0)


async def test_a_changed_row_is_at_the_county_window_in_under_a_second(levels: Levels) -> None:
    key = resident(levels, 0)
    began = time.monotonic()
    await change(levels, key, phone="13900000001")
    await until_phone(levels, key, "13900000001")
    assert time.monotonic() - began < 1.0


async def test_licences_go_the_other_way_up(levels: Levels) -> None:
    (found,) = [row for row in await levels.contracts("37") if row["name"] == "business_licence.v1"]
    assert found["records"] == len(levels.clerks.licences)


async def test_a_clerk_looks_a_resident_up_and_sees_a_change_arrive(levels: Levels) -> None:
    """In both themes and languages, on the page of real levels; and the agent's restart costs nothing."""
    key = resident(levels, 1)
    async with chromium() as browser:
        for theme, language, word in (
            ("light", "zh", "所属区划"),
            ("dark", "en", "Division"),
        ):
            page = await browser.new_page(
                viewport={"width": 1366, "height": 768},
                color_scheme=theme,  # type: ignore[arg-type]
            )
            watched = Watched(page, levels.url(COUNTY, "/"))
            await page.goto(levels.url(COUNTY, "/"))
            await page.click(f"[data-language={language}]")
            await page.wait_for_selector("#strip[data-state=good]")
            await page.select_option("#contract", "resident.v2")
            await page.fill("#key", key)
            await page.keyboard.press("Enter")
            await page.wait_for_selector("#record-title")
            assert await page.inner_text("[data-field=division_code] dt") == word
            loaded = await page.evaluate("performance.timeOrigin")
            phone = f"1390000{time.time_ns() % 10000:04}"
            await change(levels, key, phone=phone)
            await page.wait_for_selector("[data-field=phone] dd.changed", timeout=5000)
            assert (await page.inner_text("[data-field=phone] dd")).startswith(phone)
            listed = await page.inner_text("#changes li:first-child .what")
            assert key not in listed, "whoever walks past need not read who it is about"
            assert re.search(r"\d{6}\*{8}", listed)
            await page.click("[data-view=state]")
            await page.wait_for_selector("#contracts li[data-state=good] svg.chart")
            await page.click("[data-view=lookup]")
            if language == "en":
                watched.cut = True
                await levels.agents[COUNTY].stop()
                await page.wait_for_selector("#strip[data-state=bad]")
                assert await page.inner_text("[data-field=id_number] dd") == key
                phone = f"1380000{time.time_ns() % 10000:04}"
                await change(levels, key, phone=phone)
                levels.agents[COUNTY].start()
                await levels.agents[COUNTY].ready()
                await page.wait_for_selector("#strip[data-state=good]")
                await watched.until(
                    f"document.querySelector('[data-field=phone] dd').textContent.startsWith('{phone}')"
                )
                assert await page.locator("#changes-note").is_hidden(), "nothing was missed"
            assert await page.evaluate("performance.timeOrigin") == loaded, "reloaded"
            await page.close()
            assert watched.trouble == []


async def test_an_idle_county_agent_is_small(levels: Levels) -> None:
    """And is ready within two seconds where nothing else runs: that is printed."""
    agent = levels.agents[COUNTY]
    await agent.stop()
    began = time.monotonic()
    agent.start()
    await agent.ready()
    seconds = time.monotonic() - began
    await asyncio.sleep(3.0)
    rss = agent.rss_mb()
    print(f"idle county agent: {rss:.0f} MB, ready after {seconds:.2f} s")
    assert rss < 100


async def test_sigterm_drains_and_leaves_nothing_to_be_told_again(levels: Levels) -> None:
    key = resident(levels, 2)
    agent = levels.agents["37"]
    await change(levels, key, phone="13900000003")
    began = time.monotonic()
    await agent.stop(15.0)
    assert time.monotonic() - began < 8
    assert "agent ends" in agent.tail(3)
    await change(levels, key, phone="13900000004")
    agent.start()
    await agent.ready()
    await until_phone(levels, key, "13900000004")


async def test_a_lost_broker_is_said_once_and_comes_back_by_itself(levels: Levels) -> None:
    key, broker, agent = resident(levels, 3), levels.brokers["3701"], levels.agents["3701"]
    before = agent.log.read_text().count('"event": "lost"')
    await broker.kill()
    await change(levels, key, phone="13900000005")
    await asyncio.sleep(4.0)
    found = await at_window(levels, key)
    assert found, "the window works on with what it has"
    assert found["record"]["phone"] != "13900000005"
    await broker.start()
    back = time.monotonic()
    await until_phone(levels, key, "13900000005")
    print(f"resumed {time.monotonic() - back:.1f} s after the broker")
    await until_ready(levels)
    lines = [
        json.loads(line) for line in agent.log.read_text().splitlines() if line.startswith("{")
    ]
    lost = [(line["hop"], line["topic"]) for line in lines if line["event"] == "lost"][before:]
    assert lost
    assert max(lost.count(hop) for hop in lost) <= 2, "said once for each kind of trouble"


async def test_a_broken_freshness_promise_is_an_event_of_its_own(levels: Levels) -> None:
    """After the test before, whose broker was away longer than residents' two seconds."""
    log = levels.agents[COUNTY].log
    assert "freshness promise broken" in log.read_text()
    await until_true(lambda: "freshness promise kept again" in log.read_text())
    await asyncio.sleep(1.0)
    cluster = Cluster(levels.brokers[COUNTY].bootstrap)
    async with Connection(cluster) as connection:
        (node,) = await connection.leaders([("levelsync.audit", 0)])
        (answer,) = await connection.fetch(node, {("levelsync.audit", 0): 0})
    events = [event_of(record.value, record.headers) for record in records_of(answer.buffer, 0)[0]]
    residents = [event.type for event in events if event.key == "resident.v2"]
    assert residents[0].endswith("broken")
    assert residents[1].endswith("kept")
    assert json.loads(events[0].value or b"")["promised_s"] > 0


async def test_a_lost_database_comes_back_by_itself(levels: Levels) -> None:
    key = resident(levels, 4)
    await levels.postgres.kill()
    await asyncio.sleep(1.5)
    await levels.postgres.start()
    await change(levels, key, phone="13900000006")
    await until_phone(levels, key, "13900000006")
    await until_ready(levels)


async def test_a_bad_row_stops_only_its_own_key(levels: Levels) -> None:
    bad, good = resident(levels, 5), resident(levels, 6)
    await change(levels, bad, sex="7")
    await change(levels, good, phone="13900000007")
    await until_phone(levels, good, "13900000007")
    node = levels.folder / "37.toml"
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "agents.cli", "dead-letters", "list", "--json", str(node)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "CIVIL_DSN": "dbname=x", "POPULATION_DSN": "dbname=x"},
    )  # fmt: skip
    letters = [json.loads(line) for line in said.stdout.splitlines()]
    assert [(letter["key"], letter["path"], letter["rule"]) for letter in letters] == [
        (bad, "$.sex", "enum")
    ]


async def test_status_tells_every_hop(levels: Levels) -> None:
    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "agents.cli", "status", str(levels.folder / f"{COUNTY}.toml")],
        capture_output=True, text=True, check=False, env={**os.environ, "LICENCE_DSN": "dbname=x"},
    )  # fmt: skip
    assert said.returncode == 0, said.stdout
    assert "resident.v2.to.370102 → resident.v2.from.3701" in said.stdout
    assert re.search(r"window .* running .* s ago", said.stdout)


async def test_a_second_agent_of_a_node_takes_over_and_the_first_ends(levels: Levels) -> None:
    first = levels.agents["3701"]
    text = (levels.folder / "3701.toml").read_text()
    (levels.folder / "second.toml").write_text(
        text.replace(first.listen, "127.0.0.1:19638").replace(
            'state = "state-3701"', 'state = "state-second"\nkey = "state-3701/signing.key"'
        )
    )
    second = type(first)(levels.folder / "second.toml", levels.folder, "127.0.0.1:19638")
    second.start()
    try:
        await until_true(lambda: not first.alive, 30.0)
        assert "taken over" in first.tail(30)
        await second.ready()
        key = resident(levels, 7)
        await change(levels, key, phone="13900000008")
        await until_phone(levels, key, "13900000008")
    finally:
        await second.stop()
        (levels.folder / "second.toml").unlink()
        await first.stop()
        first.start()
        await first.ready()


@pytest.mark.slow
async def test_the_demo_leaves_nothing_behind_when_killed() -> None:
    """What CI sees of it: the guard of its servers, in the demo's own tests."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "agents.cli", "demo"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert demo.stderr
    for line in demo.stderr:
        if b"window:" in line:
            break
    else:
        pytest.fail("the demo did not start")
    ours = children(demo.pid)
    assert len(ours) >= 8
    before = set(Path(tempfile.gettempdir()).glob("levelsync-demo-*"))
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    await until_true(lambda: not [pid for pid in ours if Path(f"/proc/{pid}").exists()], 5.0)
    await until_true(lambda: any(not path.exists() for path in before), 5.0)


def children(pid: int) -> list[int]:
    """All processes below ``pid``."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


async def test_every_metric_of_running_agents_is_documented_and_its_labels_are_bounded(
    levels: Levels,
) -> None:
    await until_ready(levels)
    key = resident(levels, 0)
    page, seen = documented(), set[str]()
    for agent in levels.agents.values():
        text = await asyncio.to_thread(_metrics, agent.listen)
        assert key not in text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name
                if family.type == "histogram":
                    name = re.sub("_(bucket|count|sum)$", "", name)
                if name.endswith("_created"):
                    continue
                seen.add(name)
                kind, labels = page[name]
                assert kind == family.type, name
                assert sample.labels.keys() - {"le"} == {"node", *labels}, name
                for label in sample.labels.values():
                    assert len(label) < 200
                    assert not re.search(r"\d{15}", label), "a citizen's number"
    assert {"levelsync_latency_seconds", "levelsync_watermark_age_seconds"} <= seen
    assert {"levelsync_dead_letters_waiting", "levelsync_freshness_promise_seconds"} <= seen


async def test_one_command_shows_every_node_of_a_folder_as_a_tree(levels: Levels) -> None:
    await until_ready(levels)
    async with asyncio.timeout(60):
        while True:  # a loaded machine may break a promise of seconds for a moment
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "agents.cli", "status", "--all", str(levels.folder)],
                capture_output=True, text=True, check=False, timeout=30,
            )  # fmt: skip
            if done.returncode == 0:
                break
            await asyncio.sleep(0.5)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("3 nodes, ")
    nodes = [re.split(r"[✓!] ", line)[1] for line in lines if "levelsync 0" in line]
    assert [line.split()[0] for line in nodes] == ["37", "3701", "370102"]
    assert any("resident.v2 2.0" in line and "link ↓ 3701" in line for line in lines)


def _metrics(listen: str) -> str:
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def test_every_hop_is_signed_and_the_window_has_the_word_of_who_made_the_events(
    levels: Levels,
) -> None:
    async def unproven() -> list[str]:
        hops = [hop for node in NODES for hop in (await levels.status(node) or {})["hops"]]
        return [
            f"{hop['hop']} {hop['from']}: {hop['signed']}"
            for hop in hops
            if hop["hop"] in ("view", "link", "window")
            and (hop["signed"] or {}).get("state") != "proven"
        ]

    for _ in range(60):
        if not (left := await unproven()):
            break
        await asyncio.sleep(0.5)
    assert not left
    found = {row["name"]: row["signed"] for row in await levels.contracts(COUNTY)}
    assert found["resident.v2"]["by"] == ["3701"], "the city's view made them from the province's"
    assert found["business_licence.v1"]["by"] == [COUNTY]
