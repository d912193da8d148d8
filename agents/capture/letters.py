"""Reading the dead letters of a node."""

from collections.abc import Iterable
from typing import Any

import msgspec

from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.reader import scan
from agents.kafka.topics import dead
from agents.kafka.wire import Connection
from contracts.envelope import header


async def read_letters(
    cluster: Cluster, contracts: Iterable[str], *, key: str | None = None
) -> list[dict[str, Any]]:
    """Every dead letter of ``contracts`` (or of one ``key``), in the order of time.

    Each is a :class:`agents.capture.intake.DeadLetter` as plain data. Raises Unavailable.
    """
    async with Connection(cluster) as connection:
        there = await connection.topics()
        parts = [
            (dead(name), partition)
            for name in contracts
            for partition in range(there.get(dead(name), 0))
        ]
        bounds = await connection.ends(parts) if parts else {}
        letters: list[dict[str, Any]] = [
            msgspec.json.decode(record.value)
            for part, (start, end) in bounds.items()
            async for record in scan(connection, part, start, end)
            if record.value and header(record.headers, "ce_type") not in (TYPE, FENCE)
        ]
    found = [letter for letter in letters if key is None or letter["key"] == key]
    return sorted(found, key=lambda letter: str(letter["time"]))
