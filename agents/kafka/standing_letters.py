"""How many dead letters stand in the topics of an agent's hops, counted as they come and go."""

import asyncio
import contextlib

from agents.base.errors import LevelsyncError
from agents.base.status import Hop, Status
from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.messages import Part
from agents.kafka.reader import scan
from agents.kafka.topics import dead
from agents.kafka.wire import Connection
from contracts.envelope import header

#: Seconds between two looks.
EVERY = 10.0
#: Letters that are told apart; beyond it the figure stays where it is, and is large enough to be seen.
MOST = 100_000
#: The hops that refuse events. Each has a topic of letters of its own.
REFUSING = ("capture", "view", "link")


class StandingLetters:
    """Keeps ``dead_letters_waiting`` of each hop that refuses events; ``here`` is where letters stand."""

    def __init__(self, here: Cluster, status: Status) -> None:
        self._here = here
        self._status = status
        #: By partition: where reading goes on, and a hash of the id of each letter there.
        self._next: dict[Part, int] = {}
        self._letters: dict[Part, set[int]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled. While Kafka is away the figures stay as they were."""
        while True:
            with contextlib.suppress(LevelsyncError):
                async with Connection(self._here) as connection:
                    while True:
                        await self.look(connection)
                        await asyncio.sleep(EVERY)
            await asyncio.sleep(EVERY)

    async def look(self, connection: Connection) -> None:
        """Read what came since the last look. Raises Unavailable, NotAllowed."""
        hops = {dead(hop.to): hop for hop in self._status.hops if hop.hop in REFUSING}
        there = await connection.topics() if hops else {}
        parts = [(topic, n) for topic in hops if topic in there for n in range(there[topic])]
        for part in self._next.keys() - set(parts):
            del self._next[part], self._letters[part]
        for part, (first, end) in (await connection.ends(parts) if parts else {}).items():
            await self._read(connection, part, first, end)
        for topic, hop in hops.items():
            self._tell(topic, hop)

    async def _read(self, connection: Connection, part: Part, first: int, end: int) -> None:
        following = self._next.get(part, first)
        if following > end:  # the topic was made anew
            following = first
        if following == first:
            self._letters[part] = set()
        letters = self._letters[part]
        room = MOST - sum(map(len, self._letters.values()))
        async for record in scan(connection, part, max(first, following), end):
            if record.key is None or header(record.headers, "ce_type") in (TYPE, FENCE):
                continue
            name = hash(record.key)
            if record.value is None:
                room += name in letters
                letters.discard(name)
            elif name not in letters and room > 0:
                room -= 1
                letters.add(name)
        self._next[part] = end

    def _tell(self, topic: str, hop: Hop) -> None:
        standing = sum(
            len(letters) for (name, _), letters in self._letters.items() if name == topic
        )
        hop.gauges["dead_letters_waiting"] = float(standing)
