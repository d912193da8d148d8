"""Who on a cluster was given what, in which topic: the topic ``levelsync.grants``.

The agent that gives away announces it here, on its own cluster; a child's link and the neighbours of
its own level learn from it what to read, within a second and without configuration of their own.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

import aiokafka.errors as kafka_errors
import msgspec
import structlog

from agents.base.errors import LevelsyncError
from agents.kafka.cluster import Cluster, failures, plain_producer
from agents.kafka.reader import scan
from agents.kafka.topics import Topic, ensure
from agents.kafka.wire import Connection

log = structlog.get_logger()

TOPIC = Topic("levelsync.grants", 1, {"cleanup.policy": "compact"})


class TopicTaken(LevelsyncError):
    """Another node already fills this topic."""

    hint = "Let one of the two give the contract away: take the grant out of the other's node file."


class Announcement(msgspec.Struct, frozen=True):
    """``giver`` lets ``to`` read ``contract`` in ``topic``.

    ``topic`` is empty while there is nothing to read yet. One that has ``ended`` gives nothing: who
    has a copy empties it. ``purpose``, ``rows``, ``fields``, ``masked`` and ``until`` are for people.
    """

    contract: str
    giver: str
    to: str
    topic: str = ""
    ended: bool = False
    purpose: str = ""
    rows: str = ""
    fields: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    until: str = ""

    @property
    def key(self) -> str:
        return f"{self.contract} {self.giver} {self.to}"


async def read_grants(cluster: Cluster) -> list[Announcement]:
    """Every announcement on ``cluster``. Raises Unavailable."""
    grants = Grants(cluster)
    async with Connection(cluster) as connection:
        await grants.read(connection, 0)
    return grants.all()


class Grants:
    """The announcements of one cluster, kept fresh."""

    def __init__(self, cluster: Cluster, every: float = 1.0) -> None:
        self.cluster = cluster
        self._every = every
        self._told: dict[str, Announcement] = {}
        #: Has the cluster been read once?
        self.known = False
        self._mine: dict[str, Announcement] = {}
        self._changed = asyncio.Event()

    def all(self) -> list[Announcement]:
        return list(self._told.values())

    def given(self, to: str) -> list[Announcement]:
        """What the node ``to`` may read here, what has ended too."""
        return [told for told in self._told.values() if told.to == to]

    def by(self, giver: str) -> list[Announcement]:
        """What ``giver`` has announced so far."""
        return [told for told in self._told.values() if told.giver == giver]

    def find(self, contract: str, giver: str, to: str) -> Announcement | None:
        return self._told.get(Announcement(contract, giver, to).key)

    def filled_by_another(self, topic: str, giver: str) -> str:
        """The node other than ``giver`` that fills ``topic``, empty when there is none."""
        return next(
            (
                told.giver
                for told in self._told.values()
                if told.topic == topic and told.giver != giver and not told.ended
            ),
            "",
        )

    def announce(self, mine: Iterable[Announcement]) -> None:
        """These are ours from now on; written as soon as the cluster answers."""
        wanted = {told.key: told for told in mine}
        if wanted != self._mine:
            self._mine = wanted
            self._changed.set()

    async def run(self) -> None:
        """Read, and write what is ours, until cancelled; while the cluster is away all stands."""
        while True:
            with contextlib.suppress(LevelsyncError, kafka_errors.KafkaError):
                await self._follow()
            await asyncio.sleep(self._every)

    async def _follow(self) -> None:
        following = 0
        async with Connection(self.cluster) as connection:
            while True:
                following = await self.read(connection, following)
                self.known = True
                await self._write(self._differing())
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every):
                        await self._changed.wait()

    async def read(self, connection: Connection, following: int) -> int:
        """Take in what stands from offset ``following`` on; where it ends. Raises Unavailable."""
        if TOPIC.name not in await connection.topics():
            return following
        (bounds,) = (await connection.ends(TOPIC.parts)).values()
        async for record in scan(connection, TOPIC.parts[0], max(following, bounds[0]), bounds[1]):
            self._enter(record.value)
        return bounds[1]

    def _enter(self, value: bytes | None) -> None:
        try:
            told = msgspec.json.decode(value or b"", type=Announcement)
        except msgspec.DecodeError as error:
            log.warning("an announcement of a grant cannot be read", error=str(error))
            return
        self._told[told.key] = told

    def _differing(self) -> Mapping[str, Announcement]:
        return {key: told for key, told in self._mine.items() if self._told.get(key) != told}

    async def _write(self, told: Mapping[str, Announcement]) -> None:
        if not told:
            return
        await ensure(self.cluster, [TOPIC])
        producer = plain_producer(self.cluster)
        with failures(self.cluster, topic=TOPIC.name):
            try:
                await producer.start()
                for key, each in told.items():
                    await producer.send_and_wait(
                        TOPIC.name, msgspec.json.encode(each), key.encode()
                    )
            finally:
                await producer.stop()
