"""The last hour of every contract, for the page's charts: how old, how much, and whether it ran."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from agents.base.status import State
from agents.window.answers import VISITOR, answer, parameters
from agents.window.follow import Follow
from agents.window.office import Office
from contracts.envelope import format_time

#: Seconds between two samples, and how many are kept: one hour.
STEP, SAMPLES = 10, 360


class Sample(NamedTuple):
    """``age`` in seconds, None while it is not known; ``events`` since the sample before; ``state`` None
    where nobody looked, as while the machine slept."""

    age: float | None
    events: int
    state: State | None


class Hour:
    """The samples of every contract shown, in memory."""

    def __init__(self, follows: Mapping[str, Follow]) -> None:
        self._follows = follows
        self._samples: dict[str, deque[Sample]] = {}
        #: Of each contract, its hop's ``events`` at the last sample.
        self._events: dict[str, int] = {}
        #: Of the last sample, in seconds since 1970 UTC; 0 before the first.
        self.until = 0.0

    def look(self, now: float) -> None:
        """Take a sample of each contract at ``now``, seconds since 1970 UTC, and mark what was missed."""
        missed = round((now - self.until) / STEP) - 1 if self.until else 0
        self.until = now
        shown = {name: follow for name, follow in self._follows.items() if follow.shown}
        for name in self._samples.keys() - shown.keys():
            del self._samples[name], self._events[name]
        for name, follow in shown.items():
            hop = follow.hop
            samples = self._samples.setdefault(name, deque(maxlen=SAMPLES))
            if samples:
                samples.extend([Sample(None, 0, None)] * min(missed, SAMPLES))
            age = max(0.0, round(now - hop.complete / 1e6, 2)) if hop.complete else None
            # A part that began anew counts from nothing.
            grown = hop.events - self._events.get(name, hop.events)
            samples.append(Sample(age, grown if grown >= 0 else hop.events, hop.state))
            self._events[name] = hop.events

    def of(self, name: str) -> dict[str, Any]:
        """``age_s`` and ``events`` of ``name``, oldest first, and its ``states`` as runs of so many
        samples."""
        samples = self._samples.get(name, ())
        states: list[tuple[State | None, int]] = []
        for sample in samples:
            if states and states[-1][0] == sample.state:
                states[-1] = (sample.state, states[-1][1] + 1)
            else:
                states.append((sample.state, 1))
        return {
            "age_s": [sample.age for sample in samples],
            "events": [sample.events for sample in samples],
            "states": states,
        }


def add_charts(app: web.Application, office: Office) -> None:
    """Add ``/v1/freshness`` to ``app``, and sample for as long as it runs."""
    hour = Hour(office.follows)

    async def freshness(request: web.Request) -> web.Response:
        parameters(request)
        visitor = request[VISITOR]
        return answer(
            {
                "step_s": STEP,
                "until": format_time(int(hour.until * 1e6)) if hour.until else None,
                "contracts": {
                    name: hour.of(name)
                    for name, follow in office.follows.items()
                    if follow.shown and visitor.sight(name)
                },
            }
        )

    async def sampling(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_sample(hour), name="freshness")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.router.add_get("/v1/freshness", freshness)
    app.cleanup_ctx.append(sampling)


async def _sample(hour: Hour) -> None:
    while True:
        hour.look(time.time())
        await asyncio.sleep(STEP)
