"""The only module that reaches inside aiokafka: plain fetches, and the fenced idempotent writer.

Both hold for aiokafka 0.14 alone (pinned) and are held by tests on a real broker.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiokafka.errors as kafka_errors
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from agents.base.errors import PositionGone, Unavailable
from agents.kafka.cluster import Cluster, failures
from contracts.envelope import Header

#: (topic, partition)
Part = tuple[str, int]

#: How long a broker may take for one answer before the connection counts as dead.
REQUEST_MS = 10_000
#: How long a batch may wait for its answer. A client that lost a broker does not always find back to
#: it: a new one, which costs a fence and a look at the copy's end, does.
STALL_S = 4.0
#: How long everything that opens a connection may take.
OPEN_S = 15.0
#: A batch closes at this size; one record may still be larger.
BATCH_BYTES = 512 * 1024
FETCH_BYTES = 8 * 1024 * 1024
FETCH_PART_BYTES = 1024 * 1024

_READ_COMMITTED = 1
_LATEST, _EARLIEST = -1, -2


class Answer(msgspec.Struct):
    """A broker's answer for one partition: raw batches, and the end of what may be read."""

    part: Part
    buffer: bytes
    end: int
    aborted: list[tuple[int, int]] | None


class Connection:
    """A client of one cluster that fetches raw batches from where it is told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._client: AIOKafkaClient | None = None

    async def __aenter__(self) -> "Connection":
        self._client = AIOKafkaClient(
            bootstrap_servers=self.cluster.bootstrap,
            client_id=self.cluster.client,
            request_timeout_ms=REQUEST_MS,
        )
        try:
            with failures(self.cluster):
                async with asyncio.timeout(OPEN_S):
                    await self._client.bootstrap()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(TimeoutError, kafka_errors.KafkaError):
                async with asyncio.timeout(OPEN_S):
                    await client.close()

    async def topics(self) -> dict[str, int]:
        """Every topic this user may see, with its number of partitions."""
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                seen = await self._open.fetch_all_metadata()
        return {topic: len(seen.partitions_for_topic(topic)) for topic in seen.topics()}

    async def ends(self, parts: Iterable[Part]) -> dict[Part, tuple[int, int]]:
        """First offset, and offset after the last record, of each partition."""
        found: dict[Part, list[int]] = {part: [] for part in parts}
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                for when in (_EARLIEST, _LATEST):
                    for node, mine in (await self.leaders(found)).items():
                        request = OffsetRequest(
                            -1, _READ_COMMITTED, _by_topic((part, (part[1], when)) for part in mine)
                        )
                        answer = await self._open.send(node, request)
                        for topic, partitions in answer.topics:
                            for partition, code, *_, offset in partitions:
                                _raise(code)
                                found[topic, partition].append(offset)
        return {part: (offsets[0], offsets[1]) for part, offsets in found.items()}

    async def leaders(self, parts: Iterable[Part]) -> dict[int, list[Part]]:
        """The partitions by the broker to ask. Raises Unavailable while one has no leader."""
        client = self._open
        parts = list(parts)
        missing: Part | None = None
        with failures(self.cluster):
            await client.set_topics({topic for topic, _ in parts})
            for attempt in range(5):
                by_node: dict[int, list[Part]] = {}
                missing = None
                for part in parts:
                    leader = client.cluster.leader_for_partition(TopicPartition(*part))
                    if leader is None or leader == -1:
                        missing = part
                        break
                    by_node.setdefault(leader, []).append(part)
                if missing is None:
                    return by_node
                await asyncio.sleep(0.1 * attempt)
                await client.force_metadata_update()
        raise Unavailable("A partition has no leader", partition=missing)

    async def fetch(
        self, node: int, wanted: Mapping[Part, int], *, wait_ms: int = 500
    ) -> list[Answer]:
        """Raw batches from each wanted offset on; answers at once when there is anything.

        Raises PositionGone when an offset is not there any more, Unavailable, NotAllowed.
        """
        request = FetchRequest(
            wait_ms,
            1,
            FETCH_BYTES,
            _READ_COMMITTED,
            _by_topic(
                (part, (part[1], offset, FETCH_PART_BYTES)) for part, offset in wanted.items()
            ),
        )
        with failures(self.cluster, topics=sorted({topic for topic, _ in wanted})):
            response = await self._open.send(node, request)
            answers = []
            for topic, partitions in response.topics:
                for partition, code, _, stable, *middle, buffer in partitions:
                    part = (topic, partition)
                    if code == kafka_errors.OffsetOutOfRangeError.errno:
                        raise PositionGone(
                            kafka=self.cluster.bootstrap,
                            topic=topic,
                            partition=partition,
                            offset=wanted[part],
                        )
                    _raise(code)
                    aborted = next((entry for entry in middle if isinstance(entry, list)), None)
                    answers.append(Answer(part, buffer or b"", stable, aborted))
        return answers

    @property
    def _open(self) -> AIOKafkaClient:
        if self._client is None:
            raise Unavailable("The connection is closed", kafka=self.cluster.bootstrap)
        return self._client


class FencedProducer:
    """The one writer under a transactional id, outside any transaction.

    ``InitProducerId`` under the fixed id gives the next epoch, so that brokers refuse the writer
    before; forgetting the id afterwards makes aiokafka send plain idempotent batches under it.
    """

    def __init__(self, cluster: Cluster, identity: str) -> None:
        self.cluster = cluster
        self.identity = identity
        self._producer: AIOKafkaProducer | None = None
        self._failed: asyncio.Future[None] | None = None
        #: When each batch still unanswered was queued, the oldest first.
        self._unanswered: dict[int, float] = {}
        self._sent = 0

    async def start(self) -> None:
        """Take over. Raises Unavailable, NotAllowed."""
        self._failed = asyncio.get_running_loop().create_future()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.cluster.bootstrap,
            client_id=self.cluster.client,
            transactional_id=self.identity,
            request_timeout_ms=REQUEST_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=64 * 1024 * 1024,
        )
        try:
            with failures(self.cluster, writer=self.identity):
                async with asyncio.timeout(OPEN_S):
                    await self._producer.start()
        except BaseException:
            await self.close()
            raise
        self._producer._txn_manager.transactional_id = None

    def builder(self) -> Any:
        """An empty batch; ``append`` answers None when it is full."""
        return self._open.create_batch()

    async def send(
        self, part: Part, builder: Any, done: Callable[[int], None] | None = None
    ) -> None:
        """Queue a batch; waits while the one before it is still waiting for its turn.

        ``done`` is called with the batch's base offset once brokers have it. After one batch
        failed for good nothing more is sent: see :meth:`check`.
        """
        self.check()
        builder.close()
        self._sent += 1
        number = self._sent
        self._unanswered[number] = time.monotonic()
        with failures(self.cluster, topic=part[0], partition=part[1]):
            future = await self._open.send_batch(builder, part[0], partition=part[1])

        def finished(sent: asyncio.Future[Any]) -> None:
            self._unanswered.pop(number, None)
            if sent.cancelled():
                self._fail(Unavailable("A batch was given up", topic=part[0]))
            elif error := sent.exception():
                self._fail(error)
            elif done is not None:
                done(sent.result().offset)

        future.add_done_callback(finished)

    def _fail(self, error: BaseException) -> None:
        assert self._failed is not None
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # looked at by check() only

    def check(self) -> None:
        """Raise what made the first batch fail, if one did, or that one waits for too long."""
        if self._failed is not None and self._failed.done():
            with failures(self.cluster, writer=self.identity):
                self._failed.result()
        oldest = next(iter(self._unanswered.values()), None)
        if oldest is not None and time.monotonic() - oldest > STALL_S:
            raise Unavailable(
                f"Kafka at {self.cluster.bootstrap} does not answer", writer=self.identity
            )

    async def flush(self) -> None:
        """Wait until everything queued is answered; raise if anything failed."""
        with failures(self.cluster, writer=self.identity):
            async with asyncio.timeout(2 * REQUEST_MS / 1000):
                await self._open.flush()
        self.check()

    async def close(self) -> None:
        """Let go of the connections; what is queued and unanswered is left unclaimed."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            with contextlib.suppress(TimeoutError, kafka_errors.KafkaError):
                async with asyncio.timeout(2.0):
                    await producer.stop()
            with contextlib.suppress(TimeoutError, kafka_errors.KafkaError):
                async with asyncio.timeout(2.0):
                    await producer._sender.close()
                    await producer.client.close()

    @property
    def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise Unavailable("The writer is closed", writer=self.identity)
        return self._producer


def append(
    builder: Any,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[Header],
    timestamp: int | None = None,
) -> bool:
    """Put one record into a batch; False when the batch is full and the record is not in it."""
    entry = builder.append(timestamp=timestamp, key=key, value=value, headers=list(headers))
    return entry is not None


def _raise(code: int) -> None:
    if code:
        raise kafka_errors.for_code(code)


def _by_topic(entries: Iterable[tuple[Part, Any]]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = {}
    for (topic, _), entry in entries:
        topics.setdefault(topic, []).append(entry)
    return list(topics.items())
