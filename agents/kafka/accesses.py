"""Accesses as they stand in topics: who looked at one record, and whether each chain is whole."""

import datetime
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import msgspec

from agents.base.watermark import FENCE, TYPE
from agents.kafka.cluster import Cluster
from agents.kafka.reader import scan
from agents.kafka.topics import contract_of
from agents.kafka.wire import Connection
from contracts.envelope import header
from contracts.subjects.access import ACCESS, hash_of


class Access(NamedTuple):
    """One record of the journal as plain data, and where it stands. ``old`` is True where the topic's
    beginning is gone, since its days are over."""

    topic: str
    offset: int
    record: dict[str, Any]
    old: bool


class Look(NamedTuple):
    """One look at one record: ``at`` and the rest as in the contract."""

    at: str
    who: str
    kind: str
    node: str
    purpose: str
    action: str
    what: str
    id: str


class Break(NamedTuple):
    """Where a chain is not whole. A ``note`` is for a person to know; all else is a break."""

    node: str
    chain: str
    number: int
    topic: str
    offset: int
    why: str
    note: bool = False


async def accesses(cluster: Cluster, since: float = 0.0) -> AsyncIterator[Access]:
    """Every access in this cluster's own and received topics, each topic in its order; with ``since``,
    seconds since 1970 UTC, about those written from then on. Raises Unavailable."""
    async with Connection(cluster) as connection:
        there = await connection.topics()
        for topic in sorted(there):
            if contract_of(topic) != ACCESS.name or topic.endswith(".dead") or ".to." in topic:
                continue
            for partition in range(there[topic]):
                part = (topic, partition)
                first, end = (await connection.ends([part]))[part]
                begin: int | None = first
                if since:
                    begin = await connection.first_since(part, int(since * 1000))
                if begin is None:
                    continue
                async for record in scan(connection, part, begin, end):
                    if header(record.headers, "ce_type") in (TYPE, FENCE) or not record.value:
                        continue
                    yield Access(topic, record.offset, msgspec.json.decode(record.value), first > 0)


def looks_at(
    access: Access, contract: str, key: str, since: datetime.datetime, until: datetime.datetime
) -> list[Look]:
    """The looks of one record of the journal at ``key`` of ``contract`` by its key."""
    record = access.record
    if record["contract"] != contract or record["action"] != "look-up":
        return []
    return [
        Look(
            each["at"], record["who"], record["kind"], record["node"], record["purpose"],
            record["action"], each["what"], record["id"],
        )
        for each in record["what"]
        if each["what"] == key and since <= datetime.datetime.fromisoformat(each["at"]) <= until
    ]  # fmt: skip


class Chains:
    """Follows each node's chain through one topic after the other."""

    def __init__(self) -> None:
        #: By topic and chain: number and hash of its last record.
        self._last: dict[tuple[str, str], tuple[int, str]] = {}
        #: By topic and node: the chains that were seen.
        self._chains: dict[tuple[str, str], list[str]] = {}
        self.records = 0

    def next(self, access: Access) -> list[Break]:
        """What is wrong with this record where it stands."""
        record, found = access.record, []
        self.records += 1
        node, chain, number = record["node"], record["chain"], record["number"]

        def broken(why: str, *, note: bool = False) -> None:
            found.append(Break(node, chain, number, access.topic, access.offset, why, note))

        if hash_of(record) != record["hash"]:
            broken("the record was changed: its hash is not of what it says")
        last = self._last.get((access.topic, chain))
        if last is None:
            known = self._chains.setdefault((access.topic, node), [])
            if number != 1 and not access.old:
                broken(f"records 1 to {number - 1} are missing")
            if known:
                broken("a new chain begins: the node's state was lost, or taken away", note=True)
            known.append(chain)
        elif number <= last[0]:
            broken(f"out of its order: it stands after record {last[0]}")
        elif number > last[0] + 1:
            broken(f"records {last[0] + 1} to {number - 1} are missing before it")
        elif record["previous"] != last[1]:
            broken("another record stood before it: its `previous` is not that one's hash")
        if last is None or number > last[0]:
            self._last[access.topic, chain] = (number, record["hash"])
        return found

    def ended(self, topic: str, node: str, chain: str, number: int) -> list[Break]:
        """What is missing at the end, where ``chain`` is known to have come to ``number``."""
        last = self._last.get((topic, chain), (0, ""))[0]
        if last >= number:
            return []
        return [
            Break(node, chain, number, topic, -1, f"records {last + 1} to {number} are missing")
        ]


def verified(all_: Iterable[Access]) -> list[Break]:
    """What is wrong with ``all_``, of each topic in its order."""
    chains = Chains()
    return [each for access in all_ for each in chains.next(access)]
