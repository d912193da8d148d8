"""Parts fail alone, come back by themselves, and stop in the order of the data."""

import asyncio
import weakref
from functools import partial

import pytest
import structlog
from structlog.testing import capture_logs

from agents.base import run
from agents.base.errors import GapFound, Superseded, Unavailable
from agents.base.status import Hop


class Scripted:
    """A part that raises what it is told to, then works until it is stopped."""

    def __init__(self, name: str, *errors: Exception, ended: list[str] | None = None) -> None:
        self.hop = Hop("link", "resident.v2", "a", name)
        self.errors = list(errors)
        self.ended = ended if ended is not None else []
        self.runs = 0

    async def run(self, stop: asyncio.Event) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        self.hop.running()
        await stop.wait()
        await asyncio.sleep(0.01)
        self.ended.append(self.hop.to)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BACKOFF", (0.01, 0.02))
    structlog.reset_defaults()


def _same(part: Scripted) -> Scripted:
    return part


async def stopped_after(seconds: float, *stages: list[Scripted]) -> None:
    async with run.Crew(1.0, lambda hop: None) as crew:
        await crew.assign(
            {
                part.hop.to: run.Job(number, None, partial(_same, part))
                for number, stage in enumerate(stages)
                for part in stage
            }
        )
        await asyncio.sleep(seconds)


async def test_a_loss_is_said_once_and_the_return_once() -> None:
    part = Scripted("b", *(Unavailable() for _ in range(5)))
    with capture_logs() as logs:
        await stopped_after(0.4, [part])
    assert [line["event"] for line in logs] == ["lost", "back"]
    assert part.runs == 6
    assert part.hop.error is None


async def test_an_error_for_a_person_stops_one_part_and_no_other() -> None:
    broken, fine = Scripted("broken", GapFound()), Scripted("fine")
    await stopped_after(0.1, [broken, fine])
    assert broken.hop.state == "stopped"
    assert "missing" in (broken.hop.error or "")
    assert fine.hop.state == "running"


async def test_the_agent_ends_when_another_one_took_over() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await stopped_after(5.0, [Scripted("b", Superseded()), Scripted("c")])
    assert caught.group_contains(Superseded)


async def test_stages_drain_in_the_order_of_the_data() -> None:
    ended: list[str] = []
    await stopped_after(
        0.05,
        [Scripted("capture", ended=ended)],
        [Scripted("view", ended=ended)],
        [Scripted("link", ended=ended)],
    )
    assert ended == ["capture", "view", "link"]


async def test_a_part_that_does_not_drain_is_ended_after_its_grace() -> None:
    class Stuck(Scripted):
        async def run(self, stop: asyncio.Event) -> None:
            await asyncio.sleep(60)

    with capture_logs() as logs:
        async with run.Crew(0.05, lambda hop: None) as crew:
            await crew.assign({"b": run.Job(0, None, lambda: Stuck("b"))})
            await asyncio.sleep(0.05)
    assert any("not drained in time" in line["event"] for line in logs)


async def test_of_several_errors_the_one_that_needs_a_person_counts() -> None:
    part = Scripted("b", ExceptionGroup("", [Unavailable(), GapFound()]))
    await stopped_after(0.1, [part])
    assert part.hop.state == "stopped"


async def test_a_job_that_goes_is_stopped_and_one_that_changes_is_made_anew() -> None:
    gone: list[str] = []
    made = [Scripted("a"), Scripted("b"), Scripted("b")]
    async with run.Crew(1.0, lambda hop: gone.append(hop.to)) as crew:
        parts = iter(made[1:])
        jobs = {"a": run.Job(0, 1, lambda: made[0]), "b": run.Job(1, 1, lambda: next(parts))}
        assert await crew.assign(jobs) == ["a", "b"]
        assert await crew.assign(jobs) == [], "nothing changed"
        await asyncio.sleep(0.02)
        assert await crew.assign({"b": run.Job(1, 2, lambda: next(parts))}) == ["b"]
        assert gone == ["a", "b"]
        assert (made[0].ended, made[1].ended) == (["a"], ["b"]), "drained"
        await asyncio.sleep(0.02)
        assert made[2].runs == 1


async def test_a_part_that_stopped_is_begun_again_when_asked() -> None:
    parts = [Scripted("a", GapFound()), Scripted("a")]
    left = iter(parts)
    jobs = {"a": run.Job(0, None, lambda: next(left))}
    async with run.Crew(1.0, lambda hop: None) as crew:
        await crew.assign(jobs)
        await asyncio.sleep(0.02)
        assert await crew.assign(jobs) == []
        assert await crew.assign(jobs, again=True) == ["a"]
        await asyncio.sleep(0.02)
        assert parts[1].hop.state == "running"


class Backlog:
    """What a part has in hand."""


async def test_what_a_part_had_in_hand_when_it_failed_is_not_kept_over_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "BACKOFF", (60.0, 60.0))
    seen: list[weakref.ref[Backlog]] = []

    class Failing(Scripted):
        async def run(self, stop: asyncio.Event) -> None:
            backlog = Backlog()
            seen.append(weakref.ref(backlog))
            raise Unavailable(waiting=str(type(backlog)))

    stop = asyncio.Event()
    supervised = asyncio.create_task(run.supervise(Failing("b"), stop))
    async with asyncio.timeout(5):
        while not seen or seen[0]() is not None:
            await asyncio.sleep(0.01)
    stop.set()
    await supervised
