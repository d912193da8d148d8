"""The window's following of real topics: another topic, everything again, and no change twice."""

import asyncio
from pathlib import Path

import pytest

from agents.base.run import supervise
from agents.base.status import Status
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.store import Store
from tests.agents.window.scripted import LOOSE
from tests.live.streams import Writer, event, until_true

pytestmark = pytest.mark.live


async def test_another_topic_and_a_resync_change_only_what_differs(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap)
    store = Store(tmp_path / "w.sqlite")
    topics = {"resident.v2.from.77"}
    follow = Follow(
        Status("370102", "test"),
        contract=LOOSE,
        cluster=cluster,
        store=store,
        feed=Feed(store),
        sources=lambda: frozenset(topics),
    )
    async with (
        Writer(cluster, "resident.v2.from.77") as one,
        Writer(cluster, "resident.v2.to.77") as two,
    ):
        await one.write([event(number, f"k{number}") for number in range(40)])
        await two.write([event(number, f"k{number}") for number in (*range(20), 50)])
        stop = asyncio.Event()
        task = asyncio.create_task(supervise(follow, stop), name="follow")
        await until_true(lambda: store.total("resident.v2") == 40)
        topics.clear()
        topics.add("resident.v2.to.77")
        await until_true(lambda: store.total("resident.v2") == 21)
        changes = store.changes_after(40, 1_000)
        assert [change.key for change in changes if change.value] == ["k50"]
        assert {change.key for change in changes if not change.value} == {
            f"k{number}" for number in range(20, 40)
        }
        stop.set()
        await task
        seen, follow.resync, stop = store.last, 7, asyncio.Event()
        task = asyncio.create_task(supervise(follow, stop), name="follow")
        await until_true(lambda: follow.hop.aligned == 7)
        assert (store.last, follow.repeated, follow.out_of_order) == (seen, 0, 0)
        stop.set()
        await task
