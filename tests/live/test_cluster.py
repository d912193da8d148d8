"""A link on a cluster of three brokers: leaders die, hang, come back and move, and all is there once.

Topics are on all three, and two must have what counts as written (``min.insync.replicas``).
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from agents.base.errors import Unavailable
from agents.demo.servers import KafkaServer
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Connection
from tests.live.brokers import Three
from tests.live.flow import Follower, Source, difference, following, usurped
from tests.live.hop import HopProcess
from tests.live.streams import PARTITIONS, until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]

#: Seconds until events flow again, on a busy machine: the brokers need 3 to miss one of them.
ASSERTED = 30.0


class Flow:
    """A source and a link on the same three brokers."""

    def __init__(self, folder: Path, name: str, three: Three, events: int, rate: float) -> None:
        self.three = three
        self.target = f"{name}.copy"
        self.parts = Topic(self.target, PARTITIONS, DATA).parts
        self._events = events
        self._rate = rate
        self._began = 0.0
        cluster = three.cluster
        self._source = Source(cluster, name, events, pace=self._pace, sizes=(1, 30, 300))
        self.there, self.here = Follower(cluster, name), Follower(cluster, self.target)
        self._link = HopProcess(folder, name, cluster, name, cluster, self.target)

    async def _pace(self, told: float) -> None:
        self._began = self._began or time.monotonic()
        while told * self._events > (time.monotonic() - self._began) * self._rate:
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The link runs and the source tells; at the end both topics are equal."""
        topics = [self._source.topic, Topic(self.target, PARTITIONS, DATA)]
        await ensure(self.three.cluster, topics)
        try:
            async with following(self.there, self.here), asyncio.TaskGroup() as group:
                self._link.start()
                telling = group.create_task(self._source.tell(), name="source")
                await until_true(lambda: self.here.count > 100, 30.0)
                yield
                self._rate = float("inf")
                await telling
                await until_true(lambda: self.here.count >= self._events, 60.0)
        finally:
            await self._link.kill()
        await self.there.finish()
        await self.here.finish()
        assert self.there.count == self._events
        assert not difference(self.there, self.here)
        assert not usurped(self.here)

    async def leader(self, number: int = 0) -> KafkaServer:
        """The broker that leads a partition of the copy."""
        return self.three.brokers[await self._leader(number)]

    async def _leader(self, number: int) -> int:
        async with asyncio.timeout(30):
            while True:
                try:
                    async with Connection(self.three.cluster) as connection:
                        (node,) = await connection.leaders([self.parts[number]])
                        return node
                except Unavailable:
                    await asyncio.sleep(0.2)

    async def flows(self, what: str) -> None:
        """Wait for the next event in every partition of the copy, and say how long it took."""
        began = time.monotonic()
        before = [len(events) for events in self.here.events.values()]
        await until_true(
            lambda: all(
                len(events) > count
                for events, count in zip(self.here.events.values(), before, strict=True)
            ),
            ASSERTED,
        )
        print(f"\n    {what}: every partition flows after {time.monotonic() - began:.1f} s", end="")

    async def prefer(self) -> list[int]:
        """Elect the preferred leader of every partition; answers who led before and who leads now."""
        wanted = [
            (topic, list(range(PARTITIONS))) for topic in (self._source.topic.name, self.target)
        ]
        before = [await self._leader(number) for number in range(PARTITIONS)]
        async with Connection(self.three.cluster) as connection:
            client = connection._open
            await client.send(client.get_random_node(), _Elect(wanted, 10_000))
        return [*before, *[await self._leader(number) for number in range(PARTITIONS)]]


class _Elected(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 43, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", String("utf-8")),
                    ),
                ),
            ),
        ),
    )


class _Elect(RequestStruct):  # type: ignore[misc]
    """ElectLeaders, version 0: the preferred ones."""

    API_KEY, API_VERSION = 43, 0
    RESPONSE_TYPE = _Elected
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
        ("timeout_ms", Int32),
    )

    def prepare(self, versions: Any) -> "_Elect":
        return self


async def test_a_link_keeps_once_while_leaders_die_come_back_and_move(
    tmp_path: Path, three: Three
) -> None:
    flow = Flow(tmp_path, "leaders", three, events=30_000, rate=250)
    async with flow.running():
        leader = await flow.leader()
        await leader.kill()
        await flow.flows("a leader killed")
        await leader.start()
        await flow.flows("it is back")
        await asyncio.sleep(3.0)  # in sync again
        print(f"\n    leaders before and after the election: {await flow.prefer()}", end="")
        await flow.flows("leaders elected")
        leader = await flow.leader(1)
        await leader.kill()
        await flow.flows("another leader killed")
        await leader.start()


async def test_a_link_leaves_a_leader_that_hangs_for_the_one_elected_in_its_place(
    tmp_path: Path, three: Three
) -> None:
    """Red when the bytes that move on all connections are counted together, as they once were: then
    a broker that answers hides one that does not."""
    flow = Flow(tmp_path, "hung", three, events=40_000, rate=400)
    async with flow.running():
        leader = await flow.leader()
        os.killpg(leader.pid, signal.SIGSTOP)
        try:
            await flow.flows("a leader hangs")
        finally:
            os.killpg(leader.pid, signal.SIGCONT)
        await flow.flows("it goes on")
