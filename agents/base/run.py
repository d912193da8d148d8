"""The run loop: parts run side by side, fail alone, and stop in the order of the data."""

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

import structlog

from agents.base.errors import LevelsyncError, Policy
from agents.base.status import Hop

log = structlog.get_logger()
T = TypeVar("T")

#: Seconds between attempts: grows from the first to the last while the world is away.
BACKOFF = (0.2, 3.0)
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
        hop.error = str(error) or type(error).__name__
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
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        for task in (working, stopping):
            if not task.done():
                task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def run_in_order(stages: Sequence[Sequence[Part]], stop: asyncio.Event, grace: float) -> None:
    """Run all parts; once ``stop`` is set, stop stage by stage, ``grace`` seconds for each.

    Raises what :func:`supervise` raises, after the others were stopped.
    """
    stops = [asyncio.Event() for _ in stages]
    async with asyncio.TaskGroup() as group:
        tasks = [
            [
                group.create_task(supervise(part, stage_stop), name=f"{part.hop.hop}-{part.hop.to}")
                for part in stage
            ]
            for stage, stage_stop in zip(stages, stops, strict=True)
        ]
        await stop.wait()
        for stage_tasks, stage_stop in zip(tasks, stops, strict=True):
            stage_stop.set()
            if not stage_tasks:
                continue
            _, late = await asyncio.wait(stage_tasks, timeout=grace)
            for task in late:
                log.warning(
                    "not drained in time; what is missing follows on restart",
                    part=task.get_name(),
                    grace_s=grace,
                )
                task.cancel()
