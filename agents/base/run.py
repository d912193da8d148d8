"""The run loop: parts run side by side, fail alone, and stop in the order of the data."""

import asyncio
import gc
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from agents.base.errors import LevelsyncError, Policy
from agents.base.secret import hidden
from agents.base.status import Hop

log = structlog.get_logger()
T = TypeVar("T")

#: Seconds between attempts: grows from the first to the last while the world is away. The last is short:
#: on a line of 300 ms there and back opening takes another 3 s, and 5 s are promised.
BACKOFF = (0.2, 1.5)
#: An attempt that ran this long was a success; the next failure starts again at the first wait.
SETTLED = 10.0


class Part(Protocol):
    """One step of one contract: a capture, a view, a link or a window."""

    hop: Hop

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then drain and return. Sets ``hop.state`` to running.

        Everything is opened at the start and closed at the end, so that running again after any
        failure resumes where the last run really ended.
        """
        ...


async def supervise(part: Part, stop: asyncio.Event) -> None:
    """Run ``part`` until ``stop``, as the policy of its errors says.

    Raises the errors whose policy is to end the agent; every other ends or pauses this part alone.
    A loss is said once, and the return once (:meth:`Hop.running`).
    """
    hop = part.hop
    bound = log.bind(hop=hop.hop, contract=hop.contract, topic=hop.to)
    wait, said = BACKOFF[0], ""
    while not stop.is_set():
        started = time.monotonic()
        try:
            await part.run(stop)
            continue  # the part asked to begin again, or stop is set
        except Exception as caught:
            error = _innermost(caught)
        if time.monotonic() - started > SETTLED:
            wait, said = BACKOFF[0], ""
        policy = error.policy if isinstance(error, LevelsyncError) else Policy.RETRY
        hop.error = hidden(str(error)) or type(error).__name__
        hop.gaps += isinstance(error, LevelsyncError) and error.gap
        if policy is not Policy.RETRY:
            hop.state = "stopped"
            bound.error("stopped", error=hop.error)
            if policy is Policy.EXIT:
                raise error
            return
        hop.state = "retrying"
        hop.lost_at = hop.lost_at or started
        if type(error).__name__ != said:
            said = type(error).__name__
            unexpected = not isinstance(error, LevelsyncError)
            bound.warning("lost", error=hop.error, exc_info=error if unexpected else None)
        # What was in hand when it failed, which may be a backlog, is not kept over the pause.
        traceback.clear_frames(error.__traceback__)
        del error
        await until(stop, asyncio.sleep(wait * random.uniform(0.8, 1.2)))
        wait = min(wait * 2, BACKOFF[1])


def _innermost(error: Exception) -> Exception:
    """The one error that matters of a task group's: any that is not a retry, else the first."""
    if not isinstance(error, ExceptionGroup):
        return error
    errors = [_innermost(inner) for inner in error.exceptions]
    for inner in errors:
        if isinstance(inner, LevelsyncError) and inner.policy is not Policy.RETRY:
            return inner
    return errors[0]


async def until(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of ``work``, or None when ``stop`` was set first; ``work`` is then cancelled."""
    async with Until(stop) as watched:
        return await watched(work)


class Until:
    """As :func:`until`, for one work after the other: ``stop`` is waited for once, not with each."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    async def __aenter__(self) -> "Until":
        self._stopping = asyncio.create_task(self._stop.wait(), name="stop")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.cancel()
        await asyncio.gather(self._stopping, return_exceptions=True)

    async def __call__(self, work: Awaitable[T]) -> T | None:
        """The result of ``work``, or None when it was cancelled because of ``stop``."""
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait((working, self._stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)


def collect_rarely() -> None:
    """Have the garbage collector look at what lives long rarely, for this whole process.

    What an agent makes by the thousand, records and their headers, has no cycles and dies by itself;
    with Python's own thresholds looking through it doubles the time to decode a batch.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class Job(NamedTuple):
    """A part there is to be. ``stage`` is its place in the order of the data; when ``spec`` changes
    the part is made anew by ``make``."""

    stage: int
    spec: Any
    make: Callable[[], Part]


class Crew:
    """Parts that run side by side, come and go, and stop in the order of the data.

    ``async with Crew(grace) as crew`` ends with all of them stopped, stage by stage, ``grace`` seconds
    for each. Raises what :func:`supervise` raises, after the others were cancelled.
    """

    def __init__(self, grace: float, gone: Callable[[Hop], None]) -> None:
        self._grace = grace
        self._gone = gone
        self._group = asyncio.TaskGroup()
        self._running: dict[str, _Running] = {}

    async def __aenter__(self) -> "Crew":
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            await self.assign({})
        await self._group.__aexit__(kind, error, trace)

    async def assign(self, jobs: Mapping[str, Job], *, again: bool = False) -> list[str]:
        """From now on there are these jobs, by name; the answer names those that were begun.

        With ``again`` parts that have stopped are begun once more.
        """
        leaving = [
            name
            for name, running in self._running.items()
            if name not in jobs
            or jobs[name].spec != running.job.spec
            or (again and running.task.done())
        ]
        for stage in sorted({self._running[name].job.stage for name in leaving}):
            await self._end([name for name in leaving if self._running[name].job.stage == stage])
        for name in leaving:
            self._gone(self._running.pop(name).part.hop)
        begun = [name for name in jobs if name not in self._running]
        for name in begun:
            job = jobs[name]
            part, stop = job.make(), asyncio.Event()
            task = self._group.create_task(supervise(part, stop), name=name)
            self._running[name] = _Running(job, part, stop, task)
        return begun

    async def _end(self, names: list[str]) -> None:
        for name in names:
            self._running[name].stop.set()
        _, late = await asyncio.wait(
            [self._running[name].task for name in names], timeout=self._grace
        )
        for task in late:
            log.warning(
                "not drained in time; what is missing follows on restart",
                part=task.get_name(),
                grace_s=self._grace,
            )
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


class _Running(NamedTuple):
    job: Job
    part: Part
    stop: asyncio.Event
    task: asyncio.Task[None]
