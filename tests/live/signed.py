"""Three signed hops from an owner to a window, and a line on which somebody alters what is read."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from agents.base.proof import Trust
from agents.base.statement import Seal, Statement, read, sealed
from agents.base.status import Hop, Status
from agents.base.stream import Record
from agents.base.watermark import TYPE, Watermark
from agents.kafka.batches import Batch, Builder, split
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.messages import Answer, Part
from agents.kafka.topics import DATA, Topic
from agents.kafka.wire import Claim, Connection
from agents.kafka.writers import Signatures, writer_of
from agents.relay.relay import Relay
from agents.relay.terms import Rule, Terms
from agents.relay.view import View
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.store import Store
from contracts.envelope import header
from contracts.subjects import CONTRACTS
from tests.agents.base.keys import Signs
from tests.agents.window.scripted import LOOSE
from tests.live.streams import PARTITIONS, Running, Writer, event, until_true

#: Some of the records of one batch, and what is read instead; none for nothing.
Alter = Callable[[list[Record]], Sequence[Record] | None]


class Levels:
    """Province, city and county of one contract on one broker.

    ``owned`` → view ``to`` → link ``from.37`` of the city → link ``from.3701`` of the county, which was
    given the whole of it → window. Everybody signs, and trusts who is above and itself.
    """

    def __init__(self, cluster: Cluster, subject: str, folder: Path) -> None:
        name = self.name = f"{subject}.v2"
        self.cluster, self.folder = cluster, folder
        self.signs = {node: Signs(node) for node in ("37", "3701", "370102")}
        self.trusts = {node: Trust(node, self.keys()) for node in self.signs}
        self.owned, self.to = name, f"{name}.to.3701"
        self.city, self.county = f"{name}.from.37", f"{name}.from.3701"
        self.writer = Writer(cluster, self.owned, signer=self.signs["37"])
        #: The hops by the topic each reads.
        self.hops: dict[str, Hop] = {}
        self.store = Store(folder / "window.sqlite")
        self._told = 0

    def keys(self) -> dict[str, tuple[str, ...]]:
        return {node: (signs.public,) for node, signs in self.signs.items()}

    def signatures(self, node: str, holder: str) -> Signatures:
        return Signatures(self.trusts[node], lambda topic: writer_of(topic, holder))

    def relay(
        self,
        node: str,
        holder: str,
        source: str,
        target: str,
        view: Callable[[], View] | None = None,
        resync: int = 0,
    ) -> Relay:
        hop = self.hops[source] = Hop("view" if view else "link", self.name, source, target)
        return Relay(
            hop,
            upstream=self.cluster,
            downstream=self.cluster,
            sources=lambda: frozenset({source}),
            target=Topic(target, PARTITIONS, DATA),
            identity=f"signed-{target}",
            state=self.folder,
            view=view,
            resync=resync,
            signer=self.signs[node],  # type: ignore[arg-type]
            signatures=self.signatures(node, holder),
        )

    def view(self) -> View:
        rule = Rule(Terms(scope="370102"), CONTRACTS["resident.v2"], to="3701")
        return View(self.name, rule, self.folder / "view.sqlite")

    def follow(self) -> Follow:
        follow = Follow(
            Status("370102", "test"),
            contract=msgspec.structs.replace(LOOSE, subject=self.name.partition(".")[0]),
            cluster=self.cluster,
            store=self.store,
            feed=Feed(self.store),
            sources=lambda: frozenset({self.county}),
            signatures=self.signatures("370102", "370102"),
        )
        self.hops[self.county] = follow.hop
        return follow

    async def tell(self, count: int = 12) -> None:
        """Let the owner tell so many more events, and draw a watermark."""
        first = self._told
        self._told += count
        await self.writer.write([event(n, f"k{n}") for n in range(first, first + count)])

    async def arrived(self) -> None:
        """Wait until all told so far is at the window, which is complete up to it."""
        last = event(self._told - 1).time
        await until_true(lambda: self.window.complete >= last or self.stopped, 30.0)
        assert not self.stopped, self.stopped
        assert self.store.total(self.name) == self._told

    @property
    def window(self) -> Hop:
        return self.hops[self.county]

    @property
    def stopped(self) -> list[str | None]:
        return [hop.error for hop in self.hops.values() if hop.state == "stopped"]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Levels"]:
        async with (
            self.writer,
            Running(self.relay("37", "37", self.owned, self.to, self.view)),
            Running(self.relay("3701", "37", self.to, self.city)),
            Running(self.relay("370102", "3701", self.city, self.county)),
            Running(self.follow()),
        ):
            await self.tell()
            await self.arrived()
            yield self
        self.store.close()


# ---- a hostile line ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def altered(topic: str, alter: Alter) -> AsyncIterator[None]:
    """Whoever reads ``topic`` in this process reads it so, as from a broker that somebody else has."""
    with pytest.MonkeyPatch.context() as patch:
        fetch = Connection.fetch

        async def hostile(
            self: Connection, node: int, wanted: Mapping[Part, int], *, wait_ms: int = 500
        ) -> list[Answer]:
            answers = await fetch(self, node, wanted, wait_ms=wait_ms)
            return [
                msgspec.structs.replace(each, buffer=_rewritten(each.buffer, alter))
                if each.part[0] == topic
                else each
                for each in answers
            ]

        patch.setattr(Connection, "fetch", hostile)
        await asyncio.sleep(0.7)  # until what was asked before is answered
        yield


def _rewritten(buffer: memoryview, alter: Alter) -> memoryview:
    return memoryview(b"".join(_altered(batch, alter) for batch in split(buffer)))


def _altered(batch: Batch, alter: Alter) -> bytes:
    records = batch.records()
    found = alter(list(records))
    if found is None:
        return bytes(batch.data)
    if not found:
        return b""
    builder = Builder(16 * 1024 * 1024, batch.codec)
    for record in found:
        assert builder.append(record.key, record.value, record.headers, record.timestamp)
    data = bytearray(builder.build().data)
    struct.pack_into(">q", data, 0, batch.base)
    return bytes(data)


def is_mark(record: Record) -> bool:
    return header(record.headers, "ce_type") == TYPE


def one_changed(key: bytes) -> Alter:
    """The value of one event is another."""

    def alter(records: list[Record]) -> list[Record] | None:
        if not any(each.key == key for each in records):
            return None
        return [each._replace(value=b'{"n":0}') if each.key == key else each for each in records]

    return alter


def one_dropped(key: bytes) -> Alter:
    """The batch with an event is not there."""
    return lambda records: [] if any(each.key == key for each in records) else None


def swapped(records: list[Record]) -> list[Record] | None:
    """Events of a batch stand in another order."""
    return records[::-1] if len(records) > 1 else None


def marks(change: Callable[[Watermark], Watermark]) -> Alter:
    """Watermarks say something else."""

    def alter(records: list[Record]) -> list[Record] | None:
        if not is_mark(records[0]):
            return None
        mark = msgspec.json.decode(records[0].value or b"", type=Watermark)
        return [records[0]._replace(value=msgspec.json.encode(change(mark)))]

    return alter


def unsigned(mark: Watermark) -> Watermark:
    return msgspec.structs.replace(mark, seal=None, carries=None)


def signed_by(other: Signs, node: str) -> Callable[[Watermark], Watermark]:
    """As whoever has another key would sign them in the name of ``node``."""

    def change(mark: Watermark) -> Watermark:
        if mark.seal is None:
            return mark
        said: Statement = msgspec.structs.replace(read(mark.seal), key=other.public, node=node)
        assert other.key
        seal: Seal = sealed(said, other.key)
        return msgspec.structs.replace(mark, seal=seal)

    return change


async def intrude(cluster: Cluster, topic: str) -> None:
    """Write an event into a topic that is somebody else's, as its ACL should forbid."""
    parts = [(topic, partition) for partition in range(PARTITIONS)]
    copy = Copy(cluster, Claim(f"intruder-{topic}"), parts)
    try:
        await copy.open()
        copy.add(parts[0], b"intruder", b"{}", [("ce_id", b"intruder")], 1)
        await copy.drain()
    finally:
        await copy.close()
