"""Which topics of a cluster belong to this node, by contract, and who gave them to it."""

import asyncio
import contextlib
from collections.abc import Iterable

from agents.base.config import department_of, is_below, scope_of
from agents.base.errors import LevelsyncError
from agents.kafka.cluster import Cluster
from agents.kafka.grants import Grants
from agents.kafka.topics import parse_received
from agents.kafka.wire import Connection

#: Looks in a row without a topic before it counts as gone: a broker that starts may not know it yet.
_ABSENT = 10


class Holdings:
    """What ``node`` holds: its own, what its links brought, and what neighbours granted it.

    A cluster may be shared by the departments of one place: what is another's is not held.
    """

    def __init__(
        self, cluster: Cluster, grants: Grants, node: str, parent: str | None, every: float = 1.0
    ) -> None:
        self.cluster = cluster
        #: Contracts this node owns.
        self.owns: frozenset[str] = frozenset()
        #: Has the cluster been read once?
        self.known = False
        self._grants = grants
        #: Those of them that every node tells of itself.
        self.everywhere: frozenset[str] = frozenset()
        self._node = node
        self._parent = parent
        self._every = every
        self._missed: dict[str, int] = {}
        #: By contract, each topic's giver; None for our own.
        self._held: dict[str, dict[str, str | None]] = {}

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
        there = set(topics)
        for topic in there:
            self._missed[topic] = 0
        for topic in self._missed.keys() - there:
            self._missed[topic] += 1
            if self._missed[topic] >= _ABSENT:
                del self._missed[topic]
        held: dict[str, dict[str, str | None]] = {}
        for topic in self._missed:
            if topic in self.owns:
                held.setdefault(topic, {})[topic] = None
            elif (found := parse_received(topic)) and self._receives(*found):
                held.setdefault(found[0], {})[topic] = None if found[1] == self._node else found[1]
        for told in self._grants.given(self._node):
            if told.topic in self._missed and not told.ended:
                held.setdefault(told.contract, {})[told.topic] = told.giver
        self._held = held
        self.known = True

    def _receives(self, contract: str, giver: str) -> bool:
        if (
            contract in self.everywhere
            and giver != self._parent
            and scope_of(giver) == scope_of(self._node)
        ):
            return giver == self._node or not department_of(self._node)
        return giver == self._parent or is_below(giver, self._node)

    def exists(self, topic: str) -> bool:
        """Does the cluster have ``topic``, whoever's it is?"""
        return topic in self._missed

    def held(self, contract: str, *, without: str | None = None) -> frozenset[str]:
        """The topics of ``contract`` this node holds, but for what came from ``without``."""
        return frozenset(
            topic
            for topic, giver in self._held.get(contract, {}).items()
            if without is None or giver != without
        )
