"""Records as they lie in a topic partition, and the port through which they are read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from agents.base.proof import Proof
from agents.base.statement import event_chained
from agents.base.watermark import FENCE, TYPE, Continuity, Watermark
from contracts.envelope import Header, header


class Record(NamedTuple):
    """One record of a partition; ``timestamp`` is milliseconds since 1970 UTC."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


class Slice(msgspec.Struct):
    """Consecutive records of one partition, and where reading goes on.

    ``end`` is the offset one past the last record the broker had when it answered, so
    ``end - next`` is the lag.
    """

    topic: str
    partition: int
    records: list[Record]
    next: int
    end: int


class Reader(Protocol):
    """Reads partitions of one cluster from given offsets, in order, forever."""

    async def read(self) -> list[Slice]:
        """At least one slice, waiting for it; a slice may hold no records and only move ``end``.

        Raises Unavailable when the cluster does not answer, PositionGone when an offset is not
        there any more.
        """
        ...

    def grown(self, counts: Mapping[str, int]) -> bool:
        """Does a topic have more partitions by now than it had by ``counts``?"""
        ...


def take(record: Record, state: Continuity, proof: Proof | None = None) -> Watermark | bool:
    """Enter a record into ``state`` and say what it is.

    True for an event, False for a record that only agents read, or the watermark, of which ``proof``
    verifies what it signs. Raises GapFound or StreamReplaced as :class:`Continuity` does, and NotProven.
    """
    kind = header(record.headers, "ce_type")
    if kind == TYPE:
        mark = msgspec.json.decode(record.value or b"", type=Watermark)
        whole = state.follows(record.offset, mark)
        if proof:
            proof.verify(state, mark, record.offset, whole=whole)
        state.stand(record.offset, mark)
        return mark
    event = kind != FENCE
    state.passed(record.offset, event=event)
    if event and state.event_chain:
        state.event_chain = event_chained(
            state.event_chain, record.timestamp, record.key, record.value, record.headers
        )
    return event
