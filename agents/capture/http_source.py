"""Records that programs send over HTTP, as a source: answered once Kafka has them, and told once.

The sender holds what is under way: it sends again what was not answered, and the :class:`Ledger` knows by
the id what was told already. So a position here holds only the order's last number, and nothing that the
copy holds is ever told again by this source of itself.
"""

import asyncio
import time
import uuid
from collections import deque
from typing import Any

import msgspec

from agents.base.errors import SourceMismatch
from agents.base.findings import Finding, ok, warning
from agents.capture.http_answer import Problem, Ticket
from agents.capture.http_parse import Item
from agents.capture.ledger import Entry, Ledger, digest_of
from agents.capture.sequence import Arrivals
from agents.capture.source import Change, Changes, Outcome, Place, SourceSettings
from contracts.check import Checker
from contracts.rejected import Rejected

#: Changes after which a read ends.
ENOUGH = 2_000
#: Seconds an idle read waits.
IDLE = 0.8
#: Records, and bytes of them, that wait for Kafka at most; above it bodies are not read.
MOST, MOST_BYTES = 20_000, 32 * 1024 * 1024


class HttpRecords(SourceSettings, frozen=True, kw_only=True, tag="http"):
    """Records that the senders of ``[intake]`` send."""

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return "HTTP intake"

    @property
    def needs(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return "intake"

    def source(self, place: Place) -> "HttpSource":
        """See :class:`agents.capture.source.SourceSettings`."""
        return HttpSource(place)

    async def examine(self, place: Place) -> list[Finding]:
        """See :class:`agents.capture.source.SourceSettings`."""
        assert place.desk
        table, name = place.desk.table, place.contract.name
        senders = [each.name for each in table.sender if name in each.contracts]
        found = [
            ok("senders", ", ".join(senders))
            if senders
            else warning(
                "senders",
                "none may send it",
                f"Name `{name}` among the `contracts` of an [[intake.sender]].",
            )
        ]
        host = table.listen.rpartition(":")[0].strip("[]")
        if not table.certificate.name and host not in ("127.0.0.1", "::1", "localhost"):
            found.append(
                warning(
                    f"intake.listen {table.listen}",
                    "tokens and records cross the network as they are",
                    "Name a `certificate` and its `key`, or put what speaks TLS in front of it.",
                )
            )
        return found


class _Waiting(msgspec.Struct):
    """A change on its way to Kafka, and whoever waits to hear of it."""

    change: Change
    digest: bytes
    named: bool
    size: int
    #: Ticket and line; the first is who brought it, the others sent the same meanwhile.
    tickets: list[tuple[Ticket, int, str]]


class HttpSource:
    """A :class:`agents.capture.source.Source` of what comes in at the desk. Not for use
    after an error."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._checker = Checker(place.contract)
        self._ledger: Ledger | None = None
        self._order = Arrivals()
        self._queue: deque[_Waiting] = deque()
        #: By id: everything that waits, in the queue or at Kafka.
        self._waiting: dict[str, _Waiting] = {}
        self._bytes = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> "HttpSource":
        if self._place.desk is None:
            raise SourceMismatch("There is no [intake] at which records could come in")
        return self

    async def __aexit__(self, *_: object) -> None:
        desk = self._place.desk
        assert desk
        desk.close(self._place.contract.name, self)
        waiting, self._waiting = self._waiting, {}
        self._queue.clear()
        for each in waiting.values():
            for waiter in each.tickets:
                waiter[0].fail("The capture began anew before Kafka had confirmed it")
        self._room.set()
        if self._ledger is not None:
            self._ledger.close()

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        place = self._place
        topic = place.topic or place.contract.name
        self._ledger = Ledger(place.state / "ledger.sqlite", topic)
        read = await self._ledger.complete(place.published)
        place.hop.gauges["intake_ledger_read_events"] = read
        told = (position or {}).get("sequence", 0)
        self._order = Arrivals([int(told), self._ledger.sequence])
        assert place.desk
        place.desk.open(place.contract.name, self)

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        if not self._queue:
            self._news.clear()
            try:
                async with asyncio.timeout(IDLE):
                    await self._news.wait()
            except TimeoutError:
                pass
        now = time.time_ns() // 1000
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), ENOUGH))]
        gauges = self._place.hop.gauges
        gauges["intake_waiting_events"] = len(self._waiting)
        # What is still in the queue came before now, and is not told yet.
        complete = self._queue[0].change.time if self._queue else now
        return Changes(
            changes=[each.change for each in taken],
            position={"sequence": self._order.last},
            complete=complete,
            passed=True,
            outcome=lambda index, outcome: self._stands(taken[index], outcome),
        )

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        assert self._ledger
        self._ledger.flush()

    # ---- what the gate asks --------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Does so much wait for Kafka that nothing more should be read?"""
        return len(self._waiting) >= MOST or self._bytes >= MOST_BYTES

    async def room(self, seconds: float) -> None:
        """Wait until there is room for more. Raises Problem."""
        while self.full:
            self._room.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._room.wait()
            except TimeoutError:
                raise Problem(
                    503,
                    "Kafka is too slow at this moment",
                    expected=f"room among {MOST} records under way",
                    found="none",
                    do="Send the same again, with the same ids or Idempotency-Key.",
                    retry=5,
                ) from None

    def take(self, ticket: Ticket, sender: str, line: int, item: Item) -> bool:
        """Take one record; ``ticket`` hears what becomes of it. False where it is refused at once.

        The sender's id makes the change's own, by which it is found again in the topic.
        """
        named = bool(item.id)
        try:
            key, size, digest = item.key, 0, b""
            fields = None if item.value is None else self._checker.accept(item.value)
            if fields is not None:
                if key and key != fields.key:
                    raise Rejected(
                        "$.subject", "key-mismatch", "Expected the record's key, got another"
                    )
                key, size = fields.key, len(fields.value)
            if named:
                name = f"{sender}{item.id}"
                digest = digest_of(key, fields.value if fields else None)
                if self._known(ticket, line, item.id, name, digest):
                    return True
            else:
                name = f"{sender}/r {uuid.uuid4().hex}"
        except Rejected as refused:
            ticket.refuse(line, _shown(item.id), refused)
            self.refused()
            return False
        change = Change(
            id=name,
            sequence=self._order.next(),
            time=item.time or time.time_ns() // 1000,
            key=key,
            fields=fields,
            origin=f"{sender} {line}",
            traceparent=item.traceparent,
        )
        waiting = _Waiting(change, digest, named, size, [(ticket, line, item.id)])
        self._waiting[name] = waiting
        self._queue.append(waiting)
        self._bytes += size
        ticket.waits()
        self._news.set()
        return True

    def refused(self) -> None:
        """A record could not even be read."""
        self._place.hop.rejected += 1

    def _known(self, ticket: Ticket, line: int, shown: str, name: str, digest: bytes) -> bool:
        """Was it told already, or is it on its way? Raises Rejected."""
        assert self._ledger
        waiting = self._waiting.get(name)
        if waiting is not None:
            _same(waiting.digest, digest)
            waiting.tickets.append((ticket, line, shown))
            ticket.waits()
            return True
        entry = self._ledger.find(name)
        if entry is None:
            return False
        if entry.partition < 0:
            raise Rejected("$", "kept", "This change is a dead letter; operators replay or drop it")
        _same(entry.digest, digest)
        ticket.stands(entry.partition, entry.offset, again=True)
        return True

    def _stands(self, waiting: _Waiting, outcome: Outcome) -> None:
        """Brokers have it: everyone who waits is told."""
        assert self._ledger
        change = waiting.change
        if self._waiting.pop(change.id, None) is None:
            return
        full = self.full
        self._bytes -= waiting.size
        if full or not self._waiting:
            self._room.set()
        partition, offset, refused = outcome
        if offset >= 0:
            entry = Entry(-1 if refused else partition, offset, waiting.digest)
            self._ledger.add(change.id if waiting.named else "", entry, int(change.sequence))
        for index, (ticket, line, shown) in enumerate(waiting.tickets):
            if refused:
                ticket.refuse(line, _shown(shown), _kept(refused))
            else:
                ticket.stands(partition, offset, again=index > 0 or offset < 0)
            ticket.settled()


def _same(known: bytes, digest: bytes) -> None:
    if known and known != digest:
        raise Rejected(
            "$", "id-reused", "Expected the same record under the same id, got another one"
        )


def _kept(why: Rejected) -> Rejected:
    return Rejected(why.path, why.rule, f"{why.message}; it is kept as a dead letter")


def _shown(name: str) -> str:
    """The sender's own words of an id: ``/e source id`` → ``id``."""
    return name.rpartition(" ")[2] if name.startswith("/e ") else ""
