"""A bulletin of another's cluster that is known also while that is away: a node without Kafka begins
from what it last read."""

import contextlib
import os
from pathlib import Path

import msgspec
import structlog

from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection

log = structlog.get_logger()


class RememberedBulletin(Bulletin):
    """A :class:`Bulletin` that is only read, and kept in the file ``path``."""

    def __init__(self, cluster: Cluster, name: str, path: Path, every: float = 1.0) -> None:
        super().__init__(cluster, name, every)
        self._path = path
        try:
            self.told = msgspec.msgpack.decode(path.read_bytes(), type=dict[str, bytes])
            self.known, self.version = True, 1
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.warning("what was remembered cannot be read", file=str(path), error=str(error))

    async def read(self, connection: Connection, following: int) -> int:
        """See :meth:`Bulletin.read`; what stands from the top takes the place of what was remembered."""
        if following:
            before = self.version
            following = await super().read(connection, following)
            if self.version != before:
                self._keep()
            return following
        anew = Bulletin(self.cluster, self.topic.name)
        following = await anew.read(connection, 0)
        # A broker that has only just started may not know its topics yet.
        if following and anew.told != self.told:
            self.told, self.version = anew.told, self.version + 1
            self._keep()
        return following

    def _keep(self) -> None:
        """Whole or not at all. Where it cannot be kept the agent works on without."""
        made = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.msgpack.encode(self.told))
            made.replace(self._path)
        except OSError as error:
            log.warning("what was read cannot be kept", file=str(self._path), error=str(error))
            with contextlib.suppress(OSError):
                made.unlink()
