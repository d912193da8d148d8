"""A window's records on the node's MQTT broker: retained state by key, and every change as it comes.

    <prefix>/status                        retained: ``online`` or ``offline``
    <prefix>/<contract>/state/<key>        retained: the record; nothing when it is gone
    <prefix>/<contract>/changes            every change, at least once
    <prefix>/<contract>/watermark          retained, each second: how complete all of it is

The watermark also names how far the broker was told, and comes after everything it speaks of was
acknowledged. So a broker that comes back with an older memory, or none, says so itself.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec
import structlog

from agents.base.errors import SourceMismatch
from agents.base.mqtt_address import Address, place_of, tls_of
from agents.base.status import Hop
from agents.base.window import MqttOut
from agents.window.delivery import BEAT, Delivery, Position, Progress, Work
from agents.window.feed import described
from agents.window.mqtt_publisher import Post, Publisher
from agents.window.mqtt_told import Told
from agents.window.office import Office
from agents.window.rights import Sight, Visitor, sights_of
from agents.window.store import Change
from contracts.envelope import format_time

log = structlog.get_logger()

#: Seconds for the broker to tell what it retains of us.
_PATIENCE = 2.0


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a watermark topic."""

    contract: str
    #: RFC 3339; None while the state is not whole there.
    complete_as_of: str | None
    #: Where a subscriber of the window's own feed would go on: its ``Last-Event-ID``.
    token: str
    #: Event id of the last change, of any contract, that was told.
    id: str
    #: Another one whenever everything is told anew.
    state: str
    progress: Progress


def level_of(key: str) -> str:
    """``key`` as the last level of a topic: what would be a level, a wildcard or a control character
    is percent-encoded, and so is ``%``."""
    return "".join(quote(each, safe="") if _special(each) else each for each in key)


def _special(each: str) -> bool:
    code = ord(each)
    return (
        each in "/+#%"
        or code < 0x20
        or 0x7F <= code <= 0x9F
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
    )


def address_of(table: MqttOut, client_id: str, version: int) -> Address:
    """Where the broker is. Raises SourceMismatch where a file for TLS cannot be used."""
    host, port, tls = place_of(table.url)

    def file(path: Path) -> str:
        return "" if path == Path() else str(path)

    files = (file(table.ca), file(table.certificate), file(table.key))
    return Address(
        host=host,
        port=port,
        client_id=client_id,
        version=version,
        username=table.username or None,
        password=table.password or None,
        tls=tls_of(*files) if tls else None,
        expiry=0,
        receive=100,
    )


class MqttDelivery:
    """The delivery to one broker, as a part of the agent (:class:`agents.base.run.Part`). ``state`` is
    its file."""

    def __init__(self, office: Office, table: MqttOut, hop: Hop, state: Path) -> None:
        self.hop = hop
        self._office = office
        self._table = table
        self._path = state
        self._version = 5
        self._sights = sights_of(table, office.secret)
        self._visitor = Visitor(
            "mqtt", table.url, purpose=table.purpose, sights=self._sights, corrections=False
        )

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        table, office = self._table, self._office
        address = address_of(table, f"levelsync_{office.node}_out", self._version)
        status = f"{table.prefix}/status"
        told = Told(self._path)
        try:
            async with Publisher(address, Post(status, b"offline", True)) as session:
                sink = Broker(session, told, table, self._sights, self.hop)
                await sink.open(status)
                for name in self._sights:
                    office.journal.tell(self._visitor, "follow", name, f"{table.prefix}/{name}/#")
                delivery = Delivery(
                    office.store, office.feed, office.follows, self._sights, self.hop,
                    lambda name: follow.contract if (follow := office.follows.get(name)) else None,
                )  # fmt: skip
                await delivery.run(sink, stop)
                await session.tell([Post(status, b"offline", True)])
        except SourceMismatch as error:
            said = str(error.facts.get("said", "")).lower()
            if self._version != 5 or "protocol" not in said:
                raise
            log.info("the broker knows MQTT 3.1.1 alone", broker=table.url)
            self._version = 4
        finally:
            told.close()


class Broker:
    """A broker as a :class:`agents.window.delivery.Sink`."""

    def __init__(
        self,
        session: Publisher,
        told: Told,
        table: MqttOut,
        sights: Mapping[str, Sight],
        hop: Hop,
    ) -> None:
        self._session = session
        self._told = told
        self._table = table
        self._sights = sights
        self._hop = hop
        self._marked = 0.0
        #: Contracts of which there may be something at the broker.
        self._names = set(sights)

    async def open(self, status: str) -> None:
        """Say that we are here. Raises OutRefused."""
        await self._session.tell([Post(status, b"online", True)])

    async def where(self) -> Position | None:
        """See :class:`agents.window.delivery.Sink`; what the broker says of itself counts."""
        kept = self._told.position(self._table.url)
        if kept is None:
            return None
        self._names |= kept.contracts.keys()
        marks: list[Mark] = []
        for name in kept.contracts:
            try:
                mark = await self._retained(name)
            except SourceMismatch as error:
                # It may not be read: what the broker forgets by itself is then not seen.
                self._hop.warnings["retained"] = (
                    f"{error.message}: {error.facts.get('topic')}. What the broker loses in a crash"
                    " is not noticed: allow this user to read its own topics"
                )
                return kept
            if mark is None or mark.state != self._told.state:
                log.warning("the broker does not have what it was told", broker=self._session.where)
                self._told.begin(self._table.url)
                return Position("", 0, "", kept.contracts)
            marks.append(mark)
        oldest = min(marks, key=lambda mark: int(mark.token.rpartition(".")[2]), default=None)
        if oldest is None:
            return kept
        store, _, seq = oldest.token.rpartition(".")
        progress = {mark.contract: mark.progress for mark in marks}
        return Position(store, int(seq), oldest.id, progress)

    async def _retained(self, name: str) -> Mark | None:
        """What the broker retains as the watermark of contract ``name``. Raises SourceMismatch where we
        may not read it, Unavailable."""
        session, topic = self._session, self._topic(name, "watermark")
        await session.listen(topic)
        found: Mark | None = None
        try:
            async with asyncio.timeout(_PATIENCE):
                while found is None:
                    while session.waiting:
                        message = session.take()
                        session.acknowledge([message])
                        if message.topic == topic:
                            found = _mark(message.payload)
                    if found is None:
                        session.check()
                        session.news.clear()
                        await session.news.wait()
        except TimeoutError:
            pass
        await session.forget(topic)
        return found

    async def enter(self, work: Work) -> Collection[tuple[str, str]]:
        """See :class:`agents.window.delivery.Sink`."""
        there = [(each.contract, each.key) for each in work.items if each.entry]
        gone = [(each.contract, each.key) for each in work.items if not each.entry]
        posts = [
            Post(
                self._topic(each.contract, f"state/{level_of(each.key)}"),
                msgspec.json.encode(described(each.entry, self._sights[each.contract]))
                if each.entry
                else b"",
                True,
            )
            for each in work.items
        ]
        posts += [
            Post(self._topic(each.contract, "changes"), self._body(each), False)
            for each in work.changes
        ]
        over = self._names - work.position.contracts.keys()
        posts += [Post(self._topic(name, "watermark"), b"", True) for name in over]
        self._names -= over
        if there:
            self._told.enter(there)
        if posts:
            self._refused(await self._session.tell(posts))
        if posts or self._due:
            self._told.done(work.position, gone)
        if self._due:
            await self._mark(work)
        return ()

    @property
    def _due(self) -> bool:
        return asyncio.get_running_loop().time() - self._marked >= BEAT

    def _refused(self, refused: Mapping[int, str]) -> None:
        if not refused:
            return
        self._hop.rejected += len(refused)
        why = next(iter(refused.values()))
        log.error(
            "the broker refuses messages",
            hop=self._hop.hop,
            contract=self._hop.contract,
            topic=self._hop.to,
            count=len(refused),
            error=why,
        )
        self._hop.warnings["refused"] = (
            f"{self._hop.rejected} messages were refused by the broker and are missing there: {why}"
        )

    async def _mark(self, work: Work) -> None:
        position = work.position
        marks = [
            Mark(
                contract=name,
                complete_as_of=format_time(at) if (at := work.complete.get(name, 0)) else None,
                token=f"{position.store}.{position.seq}",
                id=position.id,
                state=self._told.state,
                progress=progress,
            )
            for name, progress in position.contracts.items()
        ]
        posts = [
            Post(self._topic(mark.contract, "watermark"), msgspec.json.encode(mark), True)
            for mark in marks
        ]
        await self._session.tell(posts)
        self._marked = asyncio.get_running_loop().time()

    def _body(self, change: Change) -> bytes:
        sight = self._sights[change.contract]
        put = change.value is not None and sight.covers(change.scope)
        value = sight.shown(change.value) if put and change.value is not None else b"null"
        return msgspec.json.encode(
            {
                "op": "put" if put else "delete",
                "contract": change.contract,
                "key": change.key,
                "scope": change.scope if put else "",
                "record": msgspec.Raw(value),
                "id": change.id,
                "sequence": change.sequence,
                "time": format_time(change.time),
                "source": change.source,
            }
        )

    async def held(self, contract: str, after: str, limit: int) -> Sequence[str]:
        """See :class:`agents.window.delivery.Sink`."""
        return self._told.held(contract, after, limit)

    def _topic(self, contract: str, rest: str) -> str:
        return f"{self._table.prefix}/{contract}/{rest}"


def _mark(payload: bytes) -> Mark | None:
    try:
        return msgspec.json.decode(payload, type=Mark)
    except (msgspec.DecodeError, ValueError):
        return None


def shown_at(table: MqttOut) -> str:
    """The broker and the prefix, for a person."""
    host, port, _ = place_of(table.url)
    return f"mqtt {host}:{port} {table.prefix}"
