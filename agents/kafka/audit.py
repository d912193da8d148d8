"""Events about the promises themselves, in ``levelsync.audit``."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import Any

import aiokafka.errors as kafka_errors
import msgspec
import structlog

from agents.base.errors import LevelsyncError
from agents.kafka.cluster import Cluster, failures, plain_producer
from agents.kafka.topics import Topic, ensure
from agents.kafka.trouble import Trouble
from contracts.envelope import Event, headers_of

log = structlog.get_logger()

TOPIC = Topic(
    "levelsync.audit",
    1,
    {"cleanup.policy": "delete", "retention.ms": str(3 * 365 * 24 * 3600 * 1000)},
)
#: Events kept while Kafka is away; beyond that the newest are counted in the log only.
WAITING = 1_000


class KafkaAudit:
    """An :class:`agents.base.freshness.Audit`: never waits, writes when Kafka answers."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        self._left_out = 0
        #: Why it cannot be written.
        self.trouble = Trouble(TOPIC.name)

    def tell(self, kind: str, contract: str, facts: Mapping[str, Any]) -> None:
        """Queue one event about ``contract``."""
        event = Event(
            key=contract,
            value=msgspec.json.encode({"node": self._node, "contract": contract, **facts}),
            id=uuid.uuid4().hex,
            source=f"/{self._node}",
            type=kind,
            time=time.time_ns() // 1000,
            dataschema="levelsync.audit/1.0",
            sequence=f"{time.time_ns():020}",
        )
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._left_out += 1

    async def run(self) -> None:
        """Write what is told, until cancelled."""
        while True:
            try:
                await self._write()
            except (LevelsyncError, kafka_errors.KafkaError) as error:
                self.trouble.met(error)
            await asyncio.sleep(1.0)

    async def _write(self) -> None:
        first = await self._waiting.get()
        held: list[Event] = [first]
        producer = plain_producer(self._cluster)
        try:
            await ensure(self._cluster, [TOPIC])
            with failures(self._cluster, "Write", topic=TOPIC.name):
                await producer.start()
                while True:
                    event = held[0]
                    await producer.send_and_wait(
                        TOPIC.name, event.value, event.key.encode(), headers=headers_of(event)
                    )
                    held.clear()
                    self.trouble.over()
                    if self._left_out:
                        log.warning("audit events left out", count=self._left_out)
                        self._left_out = 0
                    held.append(await self._waiting.get())
        finally:
            for event in held:
                with contextlib.suppress(asyncio.QueueFull):
                    self._waiting.put_nowait(event)
            await producer.stop()
