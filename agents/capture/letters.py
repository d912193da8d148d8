"""Reading the dead letters of a node."""

from collections.abc import Iterable
from typing import Any

import msgspec

from agents.base.watermark import FENCE, TYPE
from agents.kafka.batches import records_of
from agents.kafka.cluster import Cluster
from agents.kafka.topics import dead
from agents.kafka.wire import Connection
from contracts.envelope import header


async def read_letters(
    cluster: Cluster, contracts: Iterable[str], *, key: str | None = None
) -> list[dict[str, Any]]:
    """Every dead letter of ``contracts`` (or of one ``key``), in the order of time.

    Each is a :class:`agents.capture.intake.DeadLetter` as plain data. Raises Unavailable.
    """
    letters: list[dict[str, Any]] = []
    async with Connection(cluster) as connection:
        there = await connection.topics()
        parts = [
            (dead(name), partition)
            for name in contracts
            for partition in range(there.get(dead(name), 0))
        ]
        for part, (start, end) in (await connection.ends(parts)).items() if parts else ():
            following = start
            while following < end:
                (node,) = await connection.leaders([part])
                (answer,) = await connection.fetch(node, {part: following})
                records, following = records_of(answer.buffer, following, answer.aborted)
                letters.extend(
                    msgspec.json.decode(record.value)
                    for record in records
                    if record.value and header(record.headers, "ce_type") not in (TYPE, FENCE)
                )
    found = [letter for letter in letters if key is None or letter["key"] == key]
    return sorted(found, key=lambda letter: str(letter["time"]))
