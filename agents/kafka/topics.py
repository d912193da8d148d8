"""What topics are called, and making those an agent needs.

The name says who may write: the owner's agent ``resident.v2``, this node's agent
``resident.v2.to.3701``, the link ``resident.v2.from.37``, whoever refused it ``resident.v2.dead``.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable

import aiokafka.errors as kafka_errors
import msgspec
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.base.errors import LevelsyncError, Unavailable
from agents.kafka.cluster import ADMIN_MS, Cluster, failures
from agents.kafka.wire import OPEN_S, Connection, Part
from contracts.model import Contract

log = structlog.get_logger()

#: Compacted: a new child reads the present state and then the changes from one place. The recent
#: past stays whole for a day, so that a copy is resumed with every event in its history.
DATA = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": str(24 * 3600 * 1000),
    "delete.retention.ms": str(7 * 24 * 3600 * 1000),
    "max.message.bytes": str(8 * 1024 * 1024),
    "message.timestamp.type": "CreateTime",
}
#: Kept until a person has looked.
DEAD = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "max.message.bytes": str(16 * 1024 * 1024),
}


class WrongPartitions(LevelsyncError):
    """A topic has another number of partitions than its contract."""

    hint = "A record keeps its partition number all the way: make the topic as the contract says."


class Topic(msgspec.Struct, frozen=True):
    name: str
    partitions: int
    config: dict[str, str]

    @property
    def parts(self) -> list[Part]:
        """All its partitions."""
        return [(self.name, number) for number in range(self.partitions)]


def view(contract: str, neighbour: str) -> str:
    """``resident.v2.to.3701``"""
    return f"{contract}.to.{neighbour}"


def received(contract: str, neighbour: str) -> str:
    """``resident.v2.from.37``"""
    return f"{contract}.from.{neighbour}"


def dead(topic: str) -> str:
    """``resident.v2.dead``, ``resident.v2.from.37.dead``: what was refused on its way into ``topic``."""
    return f"{topic}.dead"


def data_topic(contract: Contract, name: str) -> Topic:
    return Topic(name, contract.partitions, DATA)


def dead_topic(topic: Topic) -> Topic:
    return Topic(dead(topic.name), topic.partitions, DEAD)


_HELD = re.compile(r"(?P<contract>[a-z0-9_]+\.v\d+)(\.from\.(?P<neighbour>[0-9a-z-]+))?")


def held(topics: Iterable[str]) -> dict[str, set[str]]:
    """The topics a node holds as its own or received, by contract."""
    found: dict[str, set[str]] = {}
    for topic in topics:
        if match := _HELD.fullmatch(topic):
            found.setdefault(match["contract"], set()).add(topic)
    return found


def neighbour_of(topic: str) -> str | None:
    """``resident.v2.from.37`` → ``37``; None for the owner's own topic."""
    match = _HELD.fullmatch(topic)
    return match["neighbour"] if match else None


def all_dead(topics: Iterable[str], contracts: Iterable[str] | None = None) -> list[str]:
    """The topics of dead letters among ``topics``, of these contracts or all."""
    of = None if contracts is None else tuple(f"{name}." for name in contracts)
    return sorted(
        topic
        for topic in topics
        if topic.endswith(".dead") and (of is None or topic.startswith(of))
    )


async def ensure(cluster: Cluster, wanted: Iterable[Topic]) -> None:
    """Make the topics that are missing.

    Raises WrongPartitions when one is there with another number of partitions, NotAllowed,
    Unavailable.
    """
    wanted = list(wanted)
    async with Connection(cluster) as connection:
        there = await connection.topics()
    for topic in wanted:
        if topic.name in there and there[topic.name] != topic.partitions:
            raise WrongPartitions(
                topic=topic.name, expected=topic.partitions, found=there[topic.name]
            )
    missing = [topic for topic in wanted if topic.name not in there]
    if not missing:
        return
    admin = AIOKafkaAdminClient(
        bootstrap_servers=cluster.bootstrap,
        client_id=cluster.client,
        request_timeout_ms=ADMIN_MS,
    )
    with failures(cluster, topics=[topic.name for topic in missing]):
        try:
            await admin.start()
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name=topic.name,
                        num_partitions=topic.partitions,
                        replication_factor=cluster.replicas,
                        topic_configs=topic.config,
                    )
                    for topic in missing
                ],
                timeout_ms=int(OPEN_S * 1000),
            )
            for name, code, *_ in answer.topic_errors:
                if code not in (0, kafka_errors.TopicAlreadyExistsError.errno):
                    raise kafka_errors.for_code(code)(name)
        finally:
            await admin.close()
    await _served(cluster, [part for topic in missing for part in topic.parts])
    log.info("topics made", kafka=cluster.bootstrap, topics=[topic.name for topic in missing])


async def _served(cluster: Cluster, parts: list[Part]) -> None:
    """Wait until the leaders of new partitions know that they are: it takes them a moment."""
    async with Connection(cluster) as connection:
        deadline = time.monotonic() + OPEN_S
        while True:
            try:
                await connection.ends(parts)
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)


class Watch:
    """Keeps the list of a cluster's topics fresh, so that a new one is used within a second."""

    def __init__(self, cluster: Cluster, every: float = 1.0) -> None:
        self.cluster = cluster
        self._every = every
        self._held: dict[str, set[str]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled; while the cluster is away the last list stands."""
        while True:
            with contextlib.suppress(LevelsyncError):
                async with Connection(self.cluster) as connection:
                    while True:
                        self.see(await connection.topics())
                        await asyncio.sleep(self._every)
            await asyncio.sleep(self._every)

    def see(self, topics: Iterable[str]) -> None:
        """These are the topics there are now. Sorted here, once: hops ask at every step."""
        self._held = held(topics)

    def held(self, contract: str, *, without: str | None = None) -> frozenset[str]:
        """The topics of ``contract`` this node holds, but for what came from ``without``."""
        topics = self._held.get(contract, set())
        return frozenset(
            topic for topic in topics if without is None or neighbour_of(topic) != without
        )
