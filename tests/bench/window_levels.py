"""From a COMMIT at the province to whoever follows the county's window, through three levels."""

import asyncio
import contextlib
import sys
import time
from typing import Any

import aiohttp
import msgspec

from agents.demo.levels import Levels
from agents.demo.people import COUNTY
from agents.demo.verdict import Seen, Verdict, expected_in, judge
from contracts.envelope import parse_time
from tests.bench.figures import Pace, percentile, side
from tests.bench.usage import cpu_s, peak_rss_mb

#: Writes a second at the province, of which some five in eight are the county's, and seconds: not
#: counted, counted.
RATE, WARM_S, SECONDS = 320.0, (3.0, 1.0), (20.0, 4.0)
#: Rows before it begins.
RESIDENTS = 3_000
#: Seconds after the last write within which everything must have arrived.
DRAIN = 20.0
_PATH = "/v1/resident.v2/events"

#: A page that follows the feed and notes when each change came, in ms since 1970.
_FOLLOW = """
path => new Promise(opened => {
  window.came = [];
  const feed = new EventSource(path);
  feed.addEventListener("change", event => {
    window.came.push([performance.timeOrigin + performance.now(), event.data]);
  });
  feed.onopen = () => opened();
})
"""


class _Follower:
    """Notes what came, and how long after its commit."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        #: Commit in seconds, and seconds from there to here.
        self.late: list[tuple[float, float]] = []

    def enter(self, data: bytes | str, at: float) -> None:
        """A change told at ``at``, in seconds since 1970."""
        change = msgspec.json.decode(data)
        record = change["record"]
        phone = record["phone"] if record else ""
        self.seen.append(Seen(change["key"], phone, change["id"], change["sequence"]))
        committed = parse_time(change["time"]) / 1e6
        self.late.append((committed, at - committed))

    async def follow(self, url: str, open_: asyncio.Event) -> None:
        """As a window system does, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22) as session,
            session.get(url) as answer,
        ):
            answer.raise_for_status()
            open_.set()
            name = b""
            async for line in answer.content:
                if line.startswith(b"event: "):
                    name = line[7:].strip()
                elif line.startswith(b"data: ") and name == b"change":
                    self.enter(line[6:], time.time())


async def run(quick: bool) -> dict[str, Any]:
    """The case. Raises NotStarted, NotInstalled."""
    warm, seconds = WARM_S[quick], SECONDS[quick]
    system, page = _Follower(), _Follower()
    async with contextlib.AsyncExitStack() as stack:
        levels = await stack.enter_async_context(Levels(_say, residents=RESIDENTS, licences=10))
        browser = await _page(levels, stack)
        open_ = asyncio.Event()
        following = asyncio.create_task(
            system.follow(levels.url(COUNTY, _PATH), open_), name="follow"
        )
        async with asyncio.timeout(10):
            await open_.wait()
        agent = levels.agents[COUNTY]
        before, began = cpu_s(agent.pid), time.time()
        await levels.clerks.write_residents(RATE, int(RATE * (warm + seconds)))
        ended = time.time()
        expected = expected_in(COUNTY, levels.clerks.journal)
        deadline = time.monotonic() + DRAIN
        while len(system.seen) < sum(map(len, expected.values())) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        cpu, rss = cpu_s(agent.pid) - before, peak_rss_mb(agent.pid)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        if browser is not None:
            for at, data in await browser.evaluate("window.came"):
                page.enter(data, at / 1000)
    counted = [late for committed, late in system.late if committed >= began + warm]
    pace = Pace(len(counted), ended - began - warm, cpu * len(counted) / len(system.late), cpu)
    verdict = judge(expected, system.seen)
    ours = side(pace, rss, [late * 1000 for late in counted], what="events")
    ours["equal"] = _equal(verdict)
    note = f"{pace.records / pace.seconds:,.0f} changes/s of the county"
    if browser is not None:
        ours["equal"] &= _equal(judge(expected, page.seen))
        late = [late * 1000 for committed, late in page.late if committed >= began + warm]
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            ours[f"page_{name}"] = round(percentile(late, share), 2)
        note += f"; in Chromium p50 {ours['page_p50_ms']} ms, p99 {ours['page_p99_ms']} ms"
    return {"case": "end-to-end", "equal": ours["equal"], "levelsync": ours, "note": note}


def _equal(verdict: Verdict) -> bool:
    wrong = (verdict.missing, verdict.repeated, verdict.out_of_order, verdict.unexpected)
    return not any(wrong) and verdict.arrived == verdict.expected


async def _page(levels: Levels, stack: contextlib.AsyncExitStack) -> Any:
    """A page of the county's window that follows its feed; None where there is no Chromium."""
    import os
    import shutil

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.async_api import async_playwright

    play = await stack.enter_async_context(async_playwright())
    browser = await play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    page = await browser.new_page()
    await page.goto(levels.url(COUNTY, "/window.svg"))
    await page.evaluate(_FOLLOW, _PATH)
    return page


def _say(text: str) -> None:
    print(f"end-to-end: {text}", file=sys.stderr, flush=True)
