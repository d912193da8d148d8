"""What topics are called, and making those an agent needs.

The name says who may write: the owner's agent ``resident.v2``, this node's agent
``resident.v2.to.3701``, the link ``resident.v2.from.37``, whoever refused it ``resident.v2.dead``.
"""

import asyncio
import re
import time
from collections.abc import Iterable

import aiokafka.errors as kafka_errors
import msgspec
import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from agents.base.errors import LevelsyncError, Unavailable
from agents.kafka.cluster import ADMIN_MS, Cluster, Denied, failures
from agents.kafka.messages import Part
from agents.kafka.wire import OPEN_S, Connection
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
#: A letter is kept until a person has replayed or dropped it; then it goes from the disk.
DEAD = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": str(3600 * 1000),
    "max.message.bytes": str(16 * 1024 * 1024),
}


_DENIED = kafka_errors.TopicAuthorizationFailedError.errno
#: Signed contracts by contract and revision.
CONTRACTS_TOPIC = "levelsync.contracts"


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


def own(contract: Contract, node: str) -> str:
    """The topic of what ``node`` itself tells of ``contract``: ``resident.v2``; of what every node tells,
    a department, which shares its Kafka, has its own: ``access.v1.from.3701-housing``."""
    shared = contract.level == "every" and "-" in node
    return received(contract.name, node) if shared else contract.name


def dead(topic: str) -> str:
    """``resident.v2.dead``, ``resident.v2.from.37.dead``: what was refused on its way into ``topic``."""
    return f"{topic}.dead"


def data_topic(contract: Contract, name: str) -> Topic:
    """A topic with events of ``contract``: state by key is compacted, a journal kept for its days."""
    if contract.journal is None:
        return Topic(name, contract.partitions, DATA)
    kept = str(contract.journal * 24 * 3600 * 1000)
    config = {
        name: value for name, value in DATA.items() if name.startswith(("max.", "message."))
    } | {"cleanup.policy": "delete", "retention.ms": kept}
    return Topic(name, contract.partitions, config)


def dead_topic(topic: Topic) -> Topic:
    return Topic(dead(topic.name), topic.partitions, DEAD)


_RECEIVED = re.compile(r"([a-z0-9_]+\.v\d+)\.from\.([0-9a-z-]+)")


def parse_received(topic: str) -> tuple[str, str] | None:
    """``resident.v2.from.37`` → ``("resident.v2", "37")``; None for any other topic."""
    match = _RECEIVED.fullmatch(topic)
    return (match[1], match[2]) if match else None


def contract_of(topic: str) -> str:
    """``resident.v2.from.37`` → ``resident.v2``"""
    return ".".join(topic.split(".")[:2])


def all_dead(topics: Iterable[str], contracts: Iterable[str] | None = None) -> list[str]:
    """The topics of dead letters among ``topics``, of these contracts or all."""
    of = None if contracts is None else tuple(f"{name}." for name in contracts)
    return sorted(
        topic
        for topic in topics
        if topic.endswith(".dead") and (of is None or topic.startswith(of))
    )


async def ensure(
    cluster: Cluster,
    wanted: Iterable[Topic],
    *,
    grow: bool = False,
    connection: Connection | None = None,
) -> dict[str, int]:
    """Make the topics that are missing; the answer is how many partitions each has.

    With ``grow`` one that has too few is given more: only for topics whose partitions somebody else
    numbers, since keys move otherwise. More than wanted are no harm: receivers grow first. An open
    ``connection`` spares making one to ask.

    Raises WrongPartitions, NotAllowed, Unavailable.
    """
    wanted = list(wanted)
    if connection:
        there = await connection.topics()
    else:
        async with Connection(cluster) as asked:
            there = await asked.topics()
    found = {topic.name: max(topic.partitions, there.get(topic.name, 0)) for topic in wanted}
    missing = [topic for topic in wanted if topic.name not in there]
    short = [
        topic for topic in wanted if there.get(topic.name, topic.partitions) < topic.partitions
    ]
    if short and not grow:
        raise WrongPartitions(
            topic=short[0].name, expected=short[0].partitions, found=there[short[0].name]
        )
    if not missing and not short:
        return found
    admin = AIOKafkaAdminClient(
        bootstrap_servers=cluster.bootstrap,
        client_id=cluster.client,
        request_timeout_ms=ADMIN_MS,
        **cluster.access.arguments(),
    )
    with failures(cluster, topics=[topic.name for topic in (*missing, *short)]):
        try:
            await admin.start()
            if missing:
                await _make(admin, missing, cluster.replicas)
            if short:
                more = {topic.name: NewPartitions(topic.partitions) for topic in short}
                answer = await admin.create_partitions(more)
                for name, code, *_ in answer.topic_errors:
                    if code == _DENIED:
                        raise Denied("Alter", "topic", name)
                    if code != 0:
                        raise kafka_errors.for_code(code)(name)
        finally:
            await admin.close()
    await _served(cluster, [part for topic in (*missing, *short) for part in topic.parts])
    if missing:
        log.info("topics made", kafka=cluster.bootstrap, topics=[topic.name for topic in missing])
    for topic in short:
        log.info(
            "topic has grown", kafka=cluster.bootstrap, topic=topic.name,
            partitions=topic.partitions, before=there[topic.name],
        )  # fmt: skip
    return found


async def _make(admin: AIOKafkaAdminClient, topics: list[Topic], replicas: int) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(
                name=topic.name,
                num_partitions=topic.partitions,
                replication_factor=replicas,
                topic_configs=topic.config,
            )
            for topic in topics
        ],
        timeout_ms=int(OPEN_S * 1000),
    )
    for name, code, *_ in answer.topic_errors:
        if code == _DENIED:
            # Without Describe one that is there looks as if it were not.
            raise Denied("Create (or Describe, where it is there already)", "topic", name)
        if code not in (0, kafka_errors.TopicAlreadyExistsError.errno):
            raise kafka_errors.for_code(code)(name)


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
