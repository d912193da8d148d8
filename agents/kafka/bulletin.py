"""A topic in which the agents of one cluster tell each other something, by key: always read whole,
and written until what is ours stands there."""

import asyncio
import contextlib
from collections.abc import Mapping

import aiokafka.errors as kafka_errors

from agents.base.errors import LevelsyncError
from agents.kafka.cluster import Cluster, failures, plain_producer
from agents.kafka.reader import scan
from agents.kafka.topics import Topic, ensure
from agents.kafka.trouble import Trouble
from agents.kafka.wire import Connection


class Bulletin:
    """What stands in ``topic``, which has one partition and is compacted, kept fresh."""

    def __init__(self, cluster: Cluster, name: str, every: float = 1.0) -> None:
        self.cluster = cluster
        self.topic = Topic(name, 1, {"cleanup.policy": "compact"})
        #: The newest value of each key; a key that was read again is the last.
        self.told: dict[str, bytes] = {}
        #: Has the cluster been read once?
        self.known = False
        #: Counts what was read, so that a look without news costs nothing.
        self.version = 0
        #: Why it cannot be read or written.
        self.trouble = Trouble(name)
        self._every = every
        self._mine: dict[str, bytes] = {}
        self._changed = asyncio.Event()

    def post(self, mine: Mapping[str, bytes]) -> None:
        """These are ours from now on; written as soon as the cluster answers."""
        if mine != self._mine:
            self._mine = dict(mine)
            self._changed.set()

    async def run(self) -> None:
        """Read, and write what is ours, until cancelled; while the cluster is away all stands."""
        while True:
            try:
                await self._follow()
            except (LevelsyncError, kafka_errors.KafkaError) as error:
                self.trouble.met(error)
            await asyncio.sleep(self._every)

    async def _follow(self) -> None:
        following = 0
        async with Connection(self.cluster) as connection:
            while True:
                following = await self.read(connection, following)
                self.known = True
                self._changed.clear()
                await self.write(
                    {key: raw for key, raw in self._mine.items() if self.told.get(key) != raw}
                )
                self.trouble.over()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every):
                        await self._changed.wait()

    async def read_once(self) -> dict[str, bytes]:
        """Everything that stands there now. Raises Unavailable."""
        async with Connection(self.cluster) as connection:
            await self.read(connection, 0)
        return self.told

    async def read(self, connection: Connection, following: int) -> int:
        """Take in what stands from offset ``following`` on; where it ends. Raises Unavailable."""
        if self.topic.name not in await connection.topics():
            await connection.permitted([self.topic.name])
            return following
        (bounds,) = (await connection.ends(self.topic.parts)).values()
        if following > bounds[1]:
            following = 0  # it was deleted and made again
        async for record in scan(
            connection, self.topic.parts[0], max(following, bounds[0]), bounds[1]
        ):
            self.enter((record.key or b"").decode(errors="replace"), record.value)
        return bounds[1]

    def enter(self, key: str, value: bytes | None) -> None:
        """``value`` was read under ``key``; None that it was taken down."""
        self.version += 1
        self.told.pop(key, None)
        if value is not None:
            self.told[key] = value

    async def write(self, told: Mapping[str, bytes]) -> None:
        """Write these. Raises Unavailable, NotAllowed."""
        if not told:
            return
        await ensure(self.cluster, [self.topic])
        producer = plain_producer(self.cluster)
        with failures(self.cluster, "Write", topic=self.topic.name):
            try:
                await producer.start()
                for key, raw in told.items():
                    await producer.send_and_wait(self.topic.name, raw, key.encode())
            finally:
                await producer.stop()
