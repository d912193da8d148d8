"""What a contract's topic holds at this moment: the newest event of each key that is not deleted."""

from collections.abc import AsyncIterator

import msgspec

from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.reader import scan
from agents.kafka.wire import Connection
from contracts.envelope import header
from contracts.model import Contract


class Standing(msgspec.Struct, frozen=True):
    """What the topic says of one key; ``value`` is its record's JSON."""

    key: str
    sequence: str
    value: bytes


class Published:
    """The owner's topic of ``contract`` as one can look things up in it, up to its present end."""

    def __init__(self, cluster: Cluster, contract: Contract) -> None:
        self._cluster = cluster
        self._topic = contract.name

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
