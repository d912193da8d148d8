"""Who on a cluster was given what, in which topic: the topic ``levelsync.grants``.

The agent that gives away announces it here, on its own cluster; a child's link and the neighbours of
its own level learn from it what to read, within a second and without configuration of their own.
"""

from collections.abc import Iterable

import msgspec
import structlog

from agents.base.errors import LevelsyncError
from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster
from contracts.model import Mask

log = structlog.get_logger()

TOPIC = "levelsync.grants"


class TopicTaken(LevelsyncError):
    """Another node already fills this topic."""

    hint = "Let one of the two give the contract away: take the grant out of the other's node file."


class Announcement(msgspec.Struct, frozen=True):
    """``giver`` lets ``to`` read ``contract`` in ``topic``.

    ``topic`` is empty while there is nothing to read yet. One that has ``ended`` gives nothing: who
    has a copy empties it. ``fields`` are those given, all when empty, and ``mask`` those given less than
    whole, with what the giver itself was given only so. ``purpose``, ``rows`` and ``until`` are for
    people.
    """

    contract: str
    giver: str
    to: str
    topic: str = ""
    ended: bool = False
    purpose: str = ""
    rows: str = ""
    fields: tuple[str, ...] = ()
    mask: dict[str, Mask] = {}
    until: str = ""

    @property
    def key(self) -> str:
        return f"{self.contract} {self.giver} {self.to}"


async def read_grants(cluster: Cluster) -> list[Announcement]:
    """Every announcement on ``cluster``. Raises Unavailable."""
    grants = Grants(cluster)
    await grants.bulletin.read_once()
    return grants.all()


class Grants:
    """The announcements of one cluster, kept fresh by its ``bulletin``."""

    def __init__(self, cluster: Cluster, bulletin: Bulletin | None = None) -> None:
        self.bulletin = bulletin or Bulletin(cluster, TOPIC)
        self._read = 0
        self._told: dict[str, Announcement] = {}

    @property
    def known(self) -> bool:
        """Has the cluster been read once?"""
        return self.bulletin.known

    def all(self) -> list[Announcement]:
        if self._read != self.bulletin.version:
            self._read = self.bulletin.version
            self._told = {
                told.key: told for told in map(_decoded, self.bulletin.told.values()) if told
            }
        return list(self._told.values())

    def given(self, to: str) -> list[Announcement]:
        """What the node ``to`` may read here, what has ended too."""
        return [told for told in self.all() if told.to == to]

    def by(self, giver: str) -> list[Announcement]:
        """What ``giver`` has announced so far."""
        return [told for told in self.all() if told.giver == giver]

    def find(self, contract: str, giver: str, to: str) -> Announcement | None:
        self.all()
        return self._told.get(Announcement(contract, giver, to).key)

    def filled_by_another(self, topic: str, giver: str) -> str:
        """The node other than ``giver`` that fills ``topic``, empty when there is none."""
        return next(
            (
                told.giver
                for told in self.all()
                if told.topic == topic and told.giver != giver and not told.ended
            ),
            "",
        )

    def announce(self, mine: Iterable[Announcement]) -> None:
        """These are ours from now on; written as soon as the cluster answers."""
        self.bulletin.post({told.key: msgspec.json.encode(told) for told in mine})


def _decoded(raw: bytes) -> Announcement | None:
    try:
        return msgspec.json.decode(raw, type=Announcement)
    except msgspec.DecodeError as error:
        log.warning("an announcement of a grant cannot be read", error=str(error))
        return None
