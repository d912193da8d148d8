"""Dead letters: what could not be accepted, kept with its reason until someone replays or drops it.

A letter's Kafka key is the id of the change it keeps; it stands in the partition of the record's key. The
topic is compacted: a letter that was replayed
or dropped is a tombstone, and what it held, which may be about a person, goes from the disk with it.
"""

import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from agents.base.stream import Record
from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy, Done
from agents.kafka.messages import Part
from agents.kafka.reader import scan
from agents.kafka.topics import Topic, all_dead, dead_topic, ensure
from agents.kafka.wire import Claim, Connection
from contracts.envelope import Header, header

DEAD_LETTER = "levelsync.dead-letter"

#: Why a change is kept that is itself in order: an earlier one of its key is not.
WAITS = "waits"
#: Bytes of what came that are kept with a letter.
RAW_BYTES = 1024 * 1024


class DeadLetter(msgspec.Struct, omit_defaults=True):
    """A change that was refused, with the place and the rule. ``time`` is RFC 3339 text.

    ``fields`` are the record's where it could be read and is small enough to be kept here;
    ``deleted`` is True where the change is a deletion. ``origin`` says where it came from, ``raw`` are
    the bytes as they came, in base64, where there are such, cut after a megabyte. ``traceparent`` is
    the change's, so that what is replayed goes on in its trace.
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
    deleted: bool = False
    copied: bool = False
    origin: str = ""
    raw: str = ""
    traceparent: str = ""

    @property
    def replayable(self) -> bool:
        """Is there a change in it that could be accepted as it is?"""
        return self.deleted or self.fields is not None


class Kept(msgspec.Struct, frozen=True):
    """A letter and the partition in which it stands."""

    part: Part
    letter: DeadLetter


def encoded_raw(raw: bytes) -> str:
    """Bytes as a letter keeps them."""
    return base64.b64encode(raw[:RAW_BYTES]).decode()


def put(
    copy: Copy, part: Part, letter: DeadLetter, timestamp: int, done: Done | None = None
) -> None:
    """Write a letter at the end of ``part``; one of the same id gives way to it. Raises TooLarge."""
    value = msgspec.json.encode(letter)
    copy.add(part, letter.id.encode(), value, _headers(letter, letter.id), timestamp, done=done)


def resolve(copy: Copy, kept: Kept, timestamp: int) -> None:
    """Write that a letter was replayed or dropped: it is gone."""
    letter = kept.letter
    headers = _headers(letter, f"{letter.id}.resolved")
    copy.add(kept.part, letter.id.encode(), None, headers, timestamp)


def _headers(letter: DeadLetter, name: str) -> Sequence[Header]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", DEAD_LETTER.encode()),
        ("ce_id", name.encode()),
        ("ce_subject", letter.key.encode()),
        ("ce_time", letter.time.encode()),
        ("ce_sequence", letter.sequence.encode()),
    )


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
        for name in ("id", "type", "subject", "time", "sequence", "traceparent")
    }
    async with _own(here, part) as copy:
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
                origin=f"{target.name}/{partition}",
                raw=encoded_raw(record.value or b""),
                traceparent=named["traceparent"],
            )
            put(copy, part, letter, record.timestamp)


@contextlib.asynccontextmanager
async def _own(here: Cluster, part: Part) -> AsyncIterator[Copy]:
    """The one writer of a partition of letters which no agent's capture writes."""
    topic, partition = part
    copy = Copy(here, Claim(f"levelsync-{topic}-{partition}"), [part])
    try:
        await copy.open()
        yield copy
        await copy.drain()
    finally:
        await copy.close()


async def drop_received(here: Cluster, letters: Iterable[Kept]) -> None:
    """Drop letters that links of this node buried: their topics have no standing writer.

    Raises Unavailable, NotAllowed.
    """
    by_part: dict[Part, list[Kept]] = {}
    for kept in letters:
        by_part.setdefault(kept.part, []).append(kept)
    for part, several in by_part.items():
        async with _own(here, part) as copy:
            for kept in several:
                resolve(copy, kept, 0)


async def find_letters(
    cluster: Cluster,
    contracts: Iterable[str] | None = None,
    wanted: Callable[[DeadLetter], bool] = lambda letter: True,
    topics: Collection[str] | None = None,
) -> list[Kept]:
    """The letters on a cluster that are ``wanted``, of these contracts or all, in these topics or all;
    those of one key in the order of their changes. Raises Unavailable."""
    found: list[Kept] = []
    async with Connection(cluster) as connection:
        there = await connection.topics()
        parts = [
            (topic, partition)
            for topic in all_dead(there, contracts)
            if topics is None or topic in topics
            for partition in range(there[topic])
        ]
        bounds = await connection.ends(parts) if parts else {}
        for part, (start, end) in bounds.items():
            found += await _letters_in(connection, part, start, end, wanted)
    return sorted(found, key=lambda kept: kept.letter.sequence)


async def _letters_in(
    connection: Connection,
    part: Part,
    start: int,
    end: int,
    wanted: Callable[[DeadLetter], bool],
) -> list[Kept]:
    found: dict[str, Kept] = {}
    async for record in scan(connection, part, start, end):
        if header(record.headers, "ce_type") in (TYPE, FENCE):
            continue
        if record.value is None:
            found.pop((record.key or b"").decode(), None)
            continue
        letter = msgspec.json.decode(record.value, type=DeadLetter)
        found[letter.id] = Kept(part, letter)
    return [kept for kept in found.values() if wanted(kept.letter)]


async def read_letters(
    cluster: Cluster, contracts: Iterable[str] | None = None, *, key: str | None = None
) -> list[dict[str, Any]]:
    """Every dead letter at this node, of these contracts or all, in the order of time.

    Each is a :class:`DeadLetter` as plain data. Raises Unavailable.
    """
    kept = await find_letters(cluster, contracts, lambda letter: key is None or letter.key == key)
    letters: list[dict[str, Any]] = [msgspec.to_builtins(each.letter) for each in kept]
    return sorted(letters, key=lambda letter: str(letter["time"]))
