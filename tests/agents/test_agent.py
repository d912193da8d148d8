"""One agent as a process: what runs beside its hops is looked after too."""

import asyncio

from structlog.testing import capture_logs

from agents.agent import Agent
from agents.base.status import Status


async def test_a_part_beside_the_hops_that_ends_is_seen_on_healthz_and_in_the_log() -> None:
    """Red without the callback: nobody awaits these tasks before the agent ends."""
    agent = object.__new__(Agent)
    agent._seen = Status("37", "test")

    async def breaks() -> None:
        raise ValueError("a table is not there")

    async def waits() -> None:
        await asyncio.sleep(60)

    broken = asyncio.create_task(breaks(), name="grants")
    ended = asyncio.create_task(waits(), name="accesses")
    for task in (broken, ended):
        task.add_done_callback(agent._ended)
    ended.cancel()
    with capture_logs() as logs:
        await asyncio.gather(broken, ended, return_exceptions=True)
        await asyncio.sleep(0)
    assert [(line["event"], line["part"]) for line in logs] == [
        ("a part beside the hops ended", "grants")
    ]
    assert agent._seen.trouble() == {
        "grants": "`grants` has ended: a table is not there. Start the agent anew."
    }
