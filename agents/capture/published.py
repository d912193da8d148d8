"""What a contract's topic holds at this moment: the newest event of each key that is not deleted."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import msgspec

from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.letters import DEAD_LETTER
from agents.kafka.messages import Part
from agents.kafka.reader import scan
from agents.kafka.topics import dead
from agents.kafka.wire import Connection
from contracts.envelope import header
from contracts.model import Contract


class Standing(msgspec.Struct, frozen=True):
    """What the topic says of one key; ``value`` is its record's JSON."""

    key: str
    sequence: str
    value: bytes


class Told(NamedTuple):
    """One event, or one dead letter, as it was written; ``value`` None where a key was deleted."""

    part: Part
    offset: int
    id: str
    key: str
    sequence: str
    value: bytes | None
    letter: bool


#: How far back the first look for a moment goes; each further look goes eight times as far.
_LOOK_BACK = 4_096


class Published:
    """The owner's topic of ``contract``, its own unless ``topic`` says otherwise, as one can look things
    up in it, up to its present end."""

    def __init__(self, cluster: Cluster, contract: Contract, topic: str = "") -> None:
        self._cluster = cluster
        self._topic = topic or contract.name

    async def live(self) -> AsyncIterator[Standing]:
        """Every key that is there, partition by partition, in no order a reader should rely on.

        Each partition is read twice, first to learn where each key's newest event stands, so that
        memory holds one partition's keys and no records. None where there is no topic yet. Raises
        Unavailable.
        """
        async with Connection(self._cluster) as connection:
            there = await connection.topics()
            for partition in range(there.get(self._topic, 0)):
                part = (self._topic, partition)
                start, end = (await connection.ends([part]))[part]
                newest: dict[bytes, int] = {}
                async for record in scan(connection, part, start, end):
                    if record.key is None or header(record.headers, "ce_type") in (TYPE, FENCE):
                        continue
                    if record.value is None:
                        newest.pop(record.key, None)
                    else:
                        newest[record.key] = record.offset
                async for record in scan(connection, part, start, end):
                    key = record.key or b""
                    if record.value is not None and newest.get(key) == record.offset:
                        sequence = header(record.headers, "ce_sequence") or b""
                        yield Standing(key.decode(), sequence.decode(), record.value)

    async def newest(self, keys: frozenset[str]) -> dict[str, str]:
        """The newest sequence of each of ``keys`` that was ever told, deleted or not. Raises
        Unavailable."""
        found: dict[str, str] = {}
        async with Connection(self._cluster) as connection:
            there = await connection.topics()
            for partition in range(there.get(self._topic, 0)):
                part = (self._topic, partition)
                start, end = (await connection.ends([part]))[part]
                async for record in scan(connection, part, start, end):
                    key = (record.key or b"").decode()
                    if key in keys:
                        sequence = (header(record.headers, "ce_sequence") or b"").decode()
                        found[key] = max(found.get(key, ""), sequence)
        return found

    async def told(self, start: Mapping[Part, int], since: int) -> AsyncIterator[Told]:
        """Every event and every dead letter from the offsets of ``start`` on; in partitions that are
        not in it, from a watermark at or before ``since`` on, in milliseconds since 1970 UTC, or from
        the beginning. A partition's own come in their order. Raises Unavailable.
        """
        async with Connection(self._cluster) as connection:
            there = await connection.topics()
            parts = [
                (topic, partition)
                for topic in (self._topic, dead(self._topic))
                for partition in range(there.get(topic, 0))
            ]
            bounds = await connection.ends(parts) if parts else {}
            for part, (first, end) in bounds.items():
                begin = start.get(part, -1)
                if not first <= begin <= end:
                    begin = await _before(connection, part, first, end, since)
                async for record in scan(connection, part, begin, end):
                    kind = header(record.headers, "ce_type")
                    name = header(record.headers, "ce_id")
                    letter = kind == DEAD_LETTER.encode()
                    if kind in (TYPE, FENCE) or name is None or (letter and record.value is None):
                        continue
                    key = header(record.headers, "ce_subject") or record.key or b""
                    sequence = header(record.headers, "ce_sequence") or b""
                    yield Told(
                        part, record.offset, name.decode(), key.decode(), sequence.decode(),
                        record.value, letter,
                    )  # fmt: skip


async def _before(connection: Connection, part: Part, first: int, end: int, since: int) -> int:
    """The offset of a watermark or fence of ``part`` written before ``since``, else ``first``."""
    step = _LOOK_BACK
    while end - step > first:
        async for record in scan(connection, part, end - step, end):
            if header(record.headers, "ce_type") in (TYPE, FENCE):
                if record.timestamp < since:
                    return record.offset
                break
        step *= 8
    return first
