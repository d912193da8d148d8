"""Dead letters: what could not be accepted, kept with its reason until someone looks."""

from collections.abc import Iterable
from typing import Any

import msgspec

from agents.base.stream import Record
from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.reader import scan
from agents.kafka.topics import Topic, all_dead, dead_topic, ensure
from agents.kafka.wire import Claim, Connection
from contracts.envelope import header

DEAD_LETTER = "levelsync.dead-letter"


class DeadLetter(msgspec.Struct):
    """A change that was refused, with the place and the rule. ``time`` is RFC 3339 text.

    ``fields`` are the record's where it could be read and is small enough to be kept here.
    """

    contract: str
    key: str
    path: str
    rule: str
    message: str
    id: str
    time: str
    sequence: str
    fields: dict[str, Any] | None


async def bury(
    here: Cluster, target: Topic, partition: int, record: Record, *, rule: str, message: str
) -> None:
    """Keep ``record``, which ``target`` cannot take, as a dead letter of this node, once.

    Returns when brokers have it. Raises Unavailable, NotAllowed.
    """
    topic = dead_topic(target)
    topic = msgspec.structs.replace(topic, partitions=max(topic.partitions, partition + 1))
    await ensure(here, [topic], grow=True)
    part = (topic.name, partition)
    named = {
        name: (header(record.headers, f"ce_{name}") or b"").decode(errors="replace")
        for name in ("id", "type", "subject", "time", "sequence")
    }
    copy = Copy(here, Claim(f"levelsync-{topic.name}-{partition}"), [part])
    try:
        await copy.open()
        told = await copy.look_back(part, lambda mark: False)
        if named["id"] not in told.held:
            letter = DeadLetter(
                contract=named["type"].rpartition(".")[0],
                key=named["subject"],
                path="$",
                rule=rule,
                message=message,
                id=named["id"],
                time=named["time"],
                sequence=named["sequence"],
                fields=None,
            )
            headers = [("ce_id", named["id"].encode()), ("ce_type", DEAD_LETTER.encode())]
            copy.add(part, record.key, msgspec.json.encode(letter), headers, record.timestamp)
            await copy.drain()
    finally:
        await copy.close()


async def read_letters(
    cluster: Cluster, contracts: Iterable[str] | None = None, *, key: str | None = None
) -> list[dict[str, Any]]:
    """Every dead letter at this node, of these contracts or all, in the order of time.

    Each is a :class:`DeadLetter` as plain data. Raises Unavailable.
    """
    async with Connection(cluster) as connection:
        there = await connection.topics()
        parts = [
            (topic, partition)
            for topic in all_dead(there, contracts)
            for partition in range(there[topic])
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
