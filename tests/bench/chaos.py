"""Three levels under load while everything is killed, cut, paused, filled and set wrong at random.

    python -m tests.bench chaos --seed N --minutes 10 [--json]

Clerks write at the province and the county all the while. What is done, to whom and when is drawn from the
seed: agents are killed, stopped, paused and have their clock set wrong; brokers and PostgreSQL are killed and
stopped; the lines between the levels are cut or hang; the disk of the county's agent is filled; the
subscriber at the county's window is cut off. Then everything runs again, and what was received is
compared with what was written: see :mod:`agents.demo.proof`. ``equal`` is true only when nothing is missing,
repeated, out of order or where it must not be.

Tried: where a copy's end is not looked at on opening, seed 1 with ``--quick`` finds 4,240 repeats.

Filling a disk needs the right to mount one of its own, and is left out without: ``faults`` says what was done.
"""

import asyncio
import contextlib
import ctypes
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agents.demo.levels import NODES, PARENTS, Levels
from agents.demo.people import COUNTY
from agents.demo.proof import Disturbances, Subscriber, compared, drained, holds
from agents.demo.servers import AgentProcess, KafkaServer, NotStarted
from agents.demo.verdict import expected_in
from tests.bench.usage import machine
from tests.live.brokers import Behind

#: Writes a second at the province and at the county.
RATE, LICENCE_RATE = 80.0, 4.0
MINUTES, QUICK_MINUTES = 10.0, 0.6
#: Rows that are there before, and how many of the writes are wrong.
RESIDENTS, LICENCES, WRONG = 2_000, 30, 12
#: Seconds between faults, and seconds within which all must have arrived after the last.
PAUSE, DRAIN = (0.5, 5.0), 180.0
#: Of the county's agent, where it can be filled.
DISK = 64 * 1024 * 1024
#: Seconds a clock is wrong by at most, either way.
WRONG_S = 120.0

#: What is done, and how often in proportion.
FAULTS = {
    "kill agent": 6, "stop agent": 2, "pause agent": 3, "set clock": 3, "kill broker": 2,
    "stop broker": 1, "kill database": 2, "cut line": 4, "hang line": 2, "fill disk": 2,
    "cut subscriber": 2,
}  # fmt: skip

#: Runs in an agent before all else: its clock is wrong by what a file says.
_CLOCK = """
import os, time
_right, _right_ns, _monotonic, _file = time.time, time.time_ns, time.monotonic, os.environ["CHAOS_CLOCK"]
_wrong, _looked = 0.0, 0.0
def _by():
    global _wrong, _looked
    if _monotonic() > _looked + 0.1:
        _looked = _monotonic()
        try:
            with open(_file) as file:
                _wrong = float(file.read() or 0)
        except (OSError, ValueError):
            pass
    return _wrong
time.time = lambda: _right() + _by()
time.time_ns = lambda: _right_ns() + int(_by() * 1_000_000_000)
"""
_NEW_MOUNTS = 0x00020000


class World(Levels):
    """Three levels whose lines can be cut, with a small disk and a clock of its own for agents."""

    def __init__(self, say: Callable[[str], None], chance: random.Random) -> None:
        super().__init__(say, residents=RESIDENTS, licences=LICENCES)
        self.chance = chance
        self.done: Counter[str] = Counter()
        #: Agents that ended though nobody had ended them.
        self.ended: list[str] = []
        self.behind = {
            node: Behind(self.folder / f"kafka-{node}", f"kafka-{node}") for node in ("37", "3701")
        }
        self.brokers: dict[str, KafkaServer] = {**self.brokers, **self.behind}
        self.lines = {node: broker.line() for node, broker in self.behind.items()}
        self.disk = self.folder / f"state-{COUNTY}"
        self.has_disk = False
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stack = contextlib.AsyncExitStack()

    async def _start(self) -> None:
        self.has_disk = _mounted(self.disk)
        (self.folder / "clock").mkdir()
        (self.folder / "clock" / "sitecustomize.py").write_text(_CLOCK)
        for line in self.lines.values():
            await self._stack.enter_async_context(line)
        await super()._start()

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self.has_disk:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)
        await super().__aexit__()

    def _agent(self, node: str) -> AgentProcess:
        agent = super()._agent(node)
        text = agent.node_file.read_text(encoding="utf-8")
        parent = PARENTS.get(node)
        if parent:
            far = self.behind[parent].far.bootstrap
            text = re.sub(
                r'(\[parent\]\nid = "\d+"\nbootstrap = )"[^"]+"', rf'\1"{far}"', text, count=1
            )
            assert far in text
            agent.node_file.write_text(text, encoding="utf-8")
        path = os.pathsep.join([str(self.folder / "clock"), *filter(None, sys.path)])
        env = {**(agent._env or {}), "PYTHONPATH": path, "CHAOS_CLOCK": str(self._clock(node))}
        return AgentProcess(agent.node_file, self.folder, agent.listen, env)

    def _clock(self, node: str) -> Path:
        return self.folder / f"clock-{node}"

    # ---- what is done ------------------------------------------------------------------------

    async def suffer(self, until: float, subscriber: Subscriber) -> None:
        """One fault after the other, and some two at once, until the loop's time ``until``."""
        chance = self.chance
        kinds = {
            kind: weight for kind, weight in FAULTS.items() if self.has_disk or kind != "fill disk"
        }
        while time.monotonic() < until:
            await asyncio.sleep(chance.uniform(*PAUSE))
            some = chance.choices(list(kinds), list(kinds.values()), k=chance.choice((1, 1, 1, 2)))
            async with asyncio.TaskGroup() as group:
                for kind in some:
                    group.create_task(self._do(kind, subscriber), name=kind)
            await self._restarted()

    async def _do(self, kind: str, subscriber: Subscriber) -> None:
        what, whom = kind.split()
        seconds = self.chance.uniform(0.2, 6.0)
        choices: dict[str, tuple[str, ...]] = {
            "agent": NODES, "clock": NODES, "broker": NODES, "line": ("37", "3701"),
        }  # fmt: skip
        node = self.chance.choice(choices.get(whom, ("",)))
        how: dict[str, Callable[[str, str, float], Awaitable[None]]] = {
            "agent": self._agent_fault, "clock": self._set_clock, "broker": self._broker_fault,
            "line": self._line_fault, "disk": self._fill, "database": self._kill_database,
        }  # fmt: skip
        self.done[kind] += 1
        self._tell(f"{kind} {node}")
        if whom == "subscriber":
            subscriber.cut()
            return
        async with self._busy[f"{whom}{node}"]:
            await how[whom](what, node, seconds)

    async def _agent_fault(self, what: str, node: str, seconds: float) -> None:
        agent = self.agents[node]
        if not agent.alive:
            return
        if what == "pause":
            os.killpg(agent.pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            os.killpg(agent.pid, signal.SIGCONT)
            return
        await (agent.kill() if what == "kill" else agent.stop())
        await asyncio.sleep(seconds / 4)
        agent.start()

    async def _set_clock(self, what: str, node: str, seconds: float) -> None:
        clock = self._clock(node)
        clock.write_text(str(self.chance.uniform(-WRONG_S, WRONG_S)))
        await asyncio.sleep(seconds)
        clock.write_text("0")

    async def _broker_fault(self, what: str, node: str, seconds: float) -> None:
        broker = self.brokers[node]
        await (broker.kill() if what == "kill" else broker.stop())
        await asyncio.sleep(seconds / 4)
        await broker.start()

    async def _kill_database(self, what: str, node: str, seconds: float) -> None:
        await self.postgres.kill()
        await asyncio.sleep(seconds / 4)
        await self.postgres.start()

    async def _line_fault(self, what: str, node: str, seconds: float) -> None:
        line = self.lines[node]
        line.cut() if what == "cut" else line.hang()
        await asyncio.sleep(seconds)
        await line.mend()

    async def _fill(self, what: str, node: str, seconds: float) -> None:
        filler = self.disk / "filler"
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(64 * 1024))
            await asyncio.sleep(seconds)
        finally:
            filler.unlink(missing_ok=True)

    async def recovered(self) -> None:
        """Wait until every agent does what it is there for."""
        for agent in self.agents.values():
            while True:
                with contextlib.suppress(NotStarted):
                    await agent.ready(5.0)
                    break
                await self._restarted()

    async def _restarted(self) -> None:
        """Start what has ended by itself, as whoever looks after a service does, and note it."""
        for node, agent in self.agents.items():
            if not agent.alive and not self._busy[f"agent{node}"].locked():
                self.ended.append(f"{node}: {agent.tail(1)}")
                agent.start()


def _mounted(folder: Path) -> bool:
    """Make ``folder`` a small disk of its own, which is gone when this process is."""
    folder.mkdir()
    if os.geteuid() or ctypes.CDLL(None).unshare(_NEW_MOUNTS):
        return False
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)],
    ):
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return False
    return True


async def run(seed: int, minutes: float) -> dict[str, Any]:
    """One run. Raises NotStarted, NotInstalled."""

    def say(text: str) -> None:
        print(f"chaos {seed}: {text}", file=sys.stderr, flush=True)

    described = machine()
    async with World(say, random.Random(seed)) as world:
        clerks, began = world.clerks, time.monotonic()
        was_here = {key for key, street in clerks.residents.items() if street.startswith(COUNTY)}
        url = world.url(COUNTY, "/v1/resident.v2/events?from=state")
        subscriber = Subscriber(url, Disturbances())
        reading = asyncio.create_task(subscriber.run(), name="subscriber")
        async with asyncio.timeout(10):
            await subscriber.live.wait()
        seconds = minutes * 60
        async with asyncio.TaskGroup() as group:
            group.create_task(
                clerks.write_residents(RATE, int(RATE * seconds), WRONG), name="residents"
            )
            group.create_task(
                clerks.write_licences(LICENCE_RATE, int(LICENCE_RATE * seconds)), name="licences"
            )
            group.create_task(world.suffer(began + seconds, subscriber), name="suffer")
        wrote = time.monotonic() - began
        say("draining")
        ready = True
        try:
            async with asyncio.timeout(DRAIN):
                await world.recovered()
        except TimeoutError:
            ready = False
            for agent in world.agents.values():
                say(agent.tail())
        expected = expected_in(COUNTY, clerks.journal)
        await drained(world, subscriber, sum(map(len, expected.values())), DRAIN)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        say("comparing")
        found = await compared(world, subscriber, was_here)
    equal = holds(found) and ready and found["refused"] is None
    ours = {
        "equal": equal,
        "writes_per_s": round(found["sent"] / wrote, 1),
        **found,
        "ended_by_themselves": world.ended,
        "seconds": round(time.monotonic() - began, 1),
    }
    case = {"case": "chaos", "equal": equal, "levelsync": ours}
    return {
        "bench": "chaos", "seed": seed, "minutes": minutes, "machine": described,
        "faults": dict(sorted(world.done.items())), "cases": [case],
    }  # fmt: skip
