"""THE fault suite: two hops between two brokers, everything goes wrong, and nothing is lost or repeated.

The province tells events; the county's link pulls them down, and another pushes them up again, both
over the county's line to the province:

    province: NAME ──line──▶ county: NAME.from.37 ──line──▶ province: NAME.from.3701

Meanwhile, by a schedule drawn from a seed, links are killed (-9), the line is cut or hangs, a broker
is killed and started again, and a link is paused while another takes over, and woken. Then all
three topics are equal, record for record in every partition.

By command, long::

    FAULT_SEEDS=1-50 FAULT_EVENTS=1000000 FAULT_STEPS=60 deploy/test -m slow -k many_seeds -s

``FAULT_WITHOUT=fence``, ``look`` or ``rule`` takes that part out of the links (:mod:`tests.live.hop`).
Tried: seeds 1 to 4 with 20 faults each are equal; without the look seed 7 has 6,000 to 30,000 repeats,
without the fence seeds 7 and 8 have 3,300 and 24,000. That a watermark may be drawn too early (``rule``)
needs two crashes within one second at the right moments: seeds 7 and 8 do not see it.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agents.base.proof import Trust
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.writers import Signatures, writer_of
from tests.agents.base.keys import Signs, private_text
from tests.live.brokers import Behind
from tests.live.flow import Follower, Source, difference, following, usurped
from tests.live.hop import HopProcess, Signed
from tests.live.line import Line
from tests.live.streams import PARTITIONS, Writer, event, until_true

pytestmark = pytest.mark.live

EVENTS = 200_000
#: What is done, and how often in proportion.
FAULTS = {"kill": 6, "cut": 3, "hang": 1, "take over": 2, "broker": 1}


class World:
    """The two brokers, the line, the two links, and what is done to them."""

    def __init__(
        self,
        folder: Path,
        name: str,
        province: Behind,
        county: Behind,
        line: Line,
        chance: random.Random,
        without: str | None = None,
    ) -> None:
        self.signs = {node: Signs(node) for node in ("37", "3701")}
        self.brokers = {"province": province, "county": county}
        self.done: list[str] = []
        self.hops: dict[str, HopProcess] = {}
        self._zombies: list[HopProcess] = []
        self._line = line
        self._chance = chance
        self._started = 0
        below, above = f"{name}.from.37", f"{name}.from.3701"
        self._make: dict[str, Callable[[str], HopProcess]] = {
            "down": lambda label: HopProcess(
                folder, label, province.far, name, county.near, below, without, self._signed("37")
            ),
            "up": lambda label: HopProcess(
                folder,
                label,
                county.near,
                below,
                province.far,
                above,
                without,
                self._signed("3701"),
            ),
        }
        self.topics = [(province, name), (county, below), (province, above)]

    def _signed(self, holder: str) -> Signed:
        city = self.signs["3701"]
        assert city.key
        return Signed("3701", private_text(city.key), self._trust, holder)

    @property
    def _trust(self) -> dict[str, tuple[str, ...]]:
        return {node: (signs.public,) for node, signs in self.signs.items()}

    def signatures(self, holder: str) -> Signatures:
        """How a reader on the cluster of ``holder`` reads them."""
        return Signatures(Trust("37", self._trust), lambda topic: writer_of(topic, holder))

    async def __aenter__(self) -> "World":
        for name in self._make:
            self._start(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for hop in (*self.hops.values(), *self._zombies):
            await hop.kill()

    def _start(self, name: str) -> HopProcess:
        self._started += 1
        hop = self._make[name](f"{name}-{self._started}")
        hop.start()
        self.hops[name] = hop
        return hop

    async def suffer(self, steps: int) -> None:
        """Go through ``steps`` faults, one after the other."""
        chance = self._chance
        order = [
            *FAULTS,
            *chance.choices(list(FAULTS), list(FAULTS.values()), k=max(0, steps - len(FAULTS))),
        ]
        chance.shuffle(order)
        for what in order:
            await asyncio.sleep(chance.uniform(0.2, 1.2))
            await self._do(what)

    async def _do(self, what: str) -> None:
        chance = self._chance
        name = chance.choice(list(self._make))
        seconds = chance.uniform(0.2, 1.5)
        match what:
            case "kill":
                await self.hops[name].kill()
                self._start(name)
            case "cut":
                name = "line"
                self._line.cut()
                await asyncio.sleep(seconds)
                await self._line.mend()
            case "hang":
                name = "line"
                self._line.hang()
                await asyncio.sleep(3 * seconds)
                await self._line.mend()
            case "take over":
                await self._take_over(name, seconds)
            case "broker":
                name = chance.choice(list(self.brokers))
                await self.brokers[name].kill()
                await self.brokers[name].start()
        self.done.append(f"{what} {name}")

    async def _take_over(self, name: str, seconds: float) -> None:
        """Pause a link, let another take over, and wake the first: it must end by itself."""
        zombie = self.hops[name]
        with suppress(TimeoutError):
            # One that never got so far is only a second agent.
            await zombie.opened(5.0)
        zombie.pause()
        self._zombies.append(zombie)
        await asyncio.sleep(seconds / 2)
        await self._start(name).opened()
        zombie.wake()

    @property
    def zombies(self) -> list[HopProcess]:
        return self._zombies


class Pace:
    """Lets the source tell about as fast as the schedule goes, so that no fault meets silence."""

    def __init__(self) -> None:
        self.share = 0.0

    async def __call__(self, told: float) -> None:
        while told > self.share:
            await asyncio.sleep(0.02)


async def run_through(
    folder: Path,
    province: Behind,
    county: Behind,
    *,
    seed: int,
    events: int,
    steps: int,
    without: str | None = None,
) -> str:
    """What differs at the end, "" when nothing does; says on the way what was done."""
    chance = random.Random(seed)
    name = f"faults_{seed}_{without or 'whole'}_{chance.randrange(10_000)}.v1"
    began = time.monotonic()
    pace = Pace()
    await ensure(province.near, [Topic(name, PARTITIONS, DATA)])
    async with (
        province.line(seed=seed) as line,
        World(folder / name, name, province, county, line, chance, without) as world,
    ):
        source = Source(province.near, name, events, seed=seed, pace=pace, signer=world.signs["37"])
        followers = [
            Follower(broker.near, topic, world.signatures(holder))
            for (broker, topic), holder in zip(world.topics, ("37", "3701", "37"), strict=True)
        ]
        async with following(*followers):

            async def suffer() -> None:
                suffering = asyncio.ensure_future(world.suffer(steps))
                while not suffering.done():
                    await asyncio.wait((suffering,), timeout=0.1)
                    pace.share = max(0.01, len(world.done) / steps)
                pace.share = 1.0
                await suffering

            async with asyncio.TaskGroup() as group:
                group.create_task(source.tell(), name="source")
                group.create_task(suffer(), name="suffer")
            suffered = time.monotonic() - began
            with suppress(TimeoutError):
                await until_true(
                    lambda: all(follower.count >= events for follower in followers),
                    15.0 if without else 60.0,
                )
            settled = time.monotonic() - began
        exits = [await _exit(zombie) for zombie in world.zombies]
    for follower in followers:
        await follower.finish()
    found = [difference(followers[0], follower) for follower in followers[1:]]
    found += [usurped(follower) for follower in followers]
    found += [
        f"{follower.topic}: {follower.hop.signatures()}"
        for follower in followers
        if (follower.hop.signatures() or {}).get("by") != ["37"]
    ]
    if followers[0].count != events:
        found.append(f"the source told {followers[0].count} events instead of {events}")
    print(
        f"\nseed {seed}{f' without {without}' if without else ''}: {events} events,"
        f" {suffered:.1f} s of faults, equal {settled - suffered:.1f} s later;"
        f" {', '.join(world.done)}; paused links: {exits or 'none'}; "
        f"{'; '.join(filter(None, found)) or 'equal'}"
    )
    return "; ".join(filter(None, found))


async def _exit(zombie: HopProcess) -> str:
    """How a link that was paused through a takeover has ended."""
    if zombie.alive:
        with suppress(TimeoutError):
            await zombie.ended(5.0)
    if zombie.alive:
        return "runs"
    return "superseded" if "has taken over" in zombie.words() else "ended"


async def test_no_fault_on_the_way_loses_repeats_or_disorders_an_event(
    tmp_path: Path, province: Behind, county: Behind
) -> None:
    """Red without the look at the copy's end, and without the fence: tried, see above and below."""
    assert not await run_through(tmp_path, province, county, seed=7, events=EVENTS // 2, steps=7)


@pytest.mark.slow
async def test_the_suite_sees_a_hop_that_does_not_look_at_the_end_of_its_copy(
    tmp_path: Path, province: Behind, county: Behind
) -> None:
    found = await run_through(
        tmp_path, province, county, seed=7, events=EVENTS, steps=14, without="look"
    )
    assert "repeated" in found


@pytest.mark.slow
async def test_many_seeds_by_command(tmp_path: Path, province: Behind, county: Behind) -> None:
    first, _, last = os.environ.get("FAULT_SEEDS", "1-5").partition("-")
    found = {}
    for seed in range(int(first), int(last or first) + 1):
        found[seed] = await run_through(
            tmp_path,
            province,
            county,
            seed=seed,
            events=int(os.environ.get("FAULT_EVENTS", EVENTS)),
            steps=int(os.environ.get("FAULT_STEPS", "30")),
            without=os.environ.get("FAULT_WITHOUT"),
        )
    assert not {seed: what for seed, what in found.items() if what}


async def paused_through_a_takeover(
    folder: Path, province: Behind, county: Behind, name: str, without: str | None = None
) -> tuple[Follower, str]:
    """A link is paused with events in hand, and woken between its successor's opening and first write.

    The successor's line is slow, so that this moment is long. Answers with what stands in the copy,
    and what the first link said until it ended by itself, "" if it did not.
    """
    target = f"{name}.copy"
    await ensure(county.near, [Topic(target, PARTITIONS, DATA)])
    follower = Follower(county.near, target)
    async with Writer(province.near, name) as writer, province.line(delay=0.3):
        await writer.write([event(number) for number in range(100)])
        first = HopProcess(folder, "first", province.near, name, county.near, target, without)
        second = HopProcess(folder, "second", province.far, name, county.near, target, without)
        try:
            async with following(follower):
                first.start()
                await until_true(lambda: follower.count == 100)
                first.pause()
                await writer.write([event(number) for number in range(100, 400)])
                second.start()
                await second.opened()
                first.wake()
                with suppress(TimeoutError):
                    await first.ended(10.0)
                await until_true(lambda: follower.count >= 400, 20.0)
                await asyncio.sleep(0.5)
        finally:
            words = "" if first.alive else first.words()
            for hop in (first, second):
                await hop.kill()
    await follower.finish()
    return follower, words


def _ids(follower: Follower) -> list[str]:
    return [name.decode() for events in follower.events.values() for name, _ in events]


async def test_a_link_paused_through_a_takeover_writes_nothing_more_and_says_why(
    tmp_path: Path, province: Behind, county: Behind
) -> None:
    """Red without the fence: see the next test."""
    follower, words = await paused_through_a_takeover(tmp_path, province, county, "zombie")
    assert sorted(_ids(follower)) == sorted(f"id-{number}" for number in range(400))
    assert not usurped(follower)
    assert "Another agent of this node has taken over" in words


@pytest.mark.slow
async def test_the_suite_sees_a_hop_that_draws_no_fence(
    tmp_path: Path, province: Behind, county: Behind
) -> None:
    follower, _ = await paused_through_a_takeover(
        tmp_path, province, county, "zombie-unfenced", "fence"
    )
    assert len(_ids(follower)) > len(set(_ids(follower))), "the repeat is there"
