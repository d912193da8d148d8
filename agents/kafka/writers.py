"""Who writes which topic, and so whose signature it must have: the name says so."""

from collections.abc import Callable

from agents.base.config import is_below
from agents.base.proof import Proof, Trust
from agents.base.status import Hop
from agents.kafka.ends import look_back
from agents.kafka.messages import Part
from agents.kafka.topics import parse_received
from agents.kafka.wire import Connection


def writer_of(topic: str, holder: str) -> str:
    """The node that writes ``topic`` on the cluster of ``holder``: itself, but for what those below push
    up and departments beside it tell."""
    received = parse_received(topic)
    if received is None or is_below(holder, received[1]):
        return holder
    return received[1]


class Signatures:
    """How the signatures of topics are read: whose keys count, and ``writer`` of a topic."""

    def __init__(self, trust: Trust, writer: Callable[[str], str]) -> None:
        self._trust = trust
        self._writer = writer

    def proof(self, part: Part, hop: Hop, *, opened: bool = False, shown: bool = False) -> Proof:
        """What ``part`` must prove. Where events are ``shown``, the word of who made them counts, and so
        it does where they are ``opened`` anyway and nothing is known of who wrote the topic."""
        writer = self._writer(part[0])
        received = parse_received(part[0])
        giver = received[1] if received else ""
        events = shown or (opened and self._trust.knows(giver) and not self._trust.knows(writer))
        return Proof(self._trust, part, writer, hop, giver=giver, events=events)


async def look_since(
    connection: Connection, part: Part, bounds: tuple[int, int], proof: Proof
) -> None:
    """Have ``proof`` know since when ``part`` is signed, by its end; ``bounds`` are its first offset and
    that after its last. Raises Unavailable, Corrupt."""
    end = await look_back(connection, part, *bounds)
    if end.mark:
        proof.ends(end.mark.seal)
