"""Records that programs send over HTTP to a leaf: taken at once, whether the line is there or not.

They are checked against the contract, put into the node's outbox, and answered as kept once they are on
disk; :class:`agents.capture.outgoing.OutgoingSource` tells them from there. Ids are kept beside them, in
the same transaction, so that what is sent again is known also after a kill -9.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agents.base.outgoing import Outgoing, OutgoingFull
from agents.base.status import Hop
from agents.capture.http_answer import Problem, Ticket
from agents.capture.http_parse import Item
from agents.capture.ledger import KEEP, digest_of
from contracts.check import Checker
from contracts.model import Contract
from contracts.rejected import Rejected

#: Records and bytes of them that are put at once at most, in one transaction.
TOGETHER, TOGETHER_BYTES = 2_000, 8 * 1024 * 1024
#: Seconds after which to try again when the outbox is full.
_RETRY = 30
#: Seconds between looks for ids that are old, and how many go at once.
_SWEEP, _PIECE = 10.0, 20_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS taken (
    number INTEGER PRIMARY KEY, contract TEXT NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL,
    seconds INTEGER NOT NULL, UNIQUE (contract, id)
);
"""


class _Row(msgspec.Struct):
    """One record on its way to the disk, and whoever waits to hear that it is there."""

    key: str
    value: bytes | None
    #: Empty where the sender gave none.
    id: str
    digest: bytes
    traceparent: str
    tickets: list[Ticket]


class Kept:
    """What takes the records of one contract in at the desk of a leaf, for as long as the agent lives.

    ``path`` is the file of ``outgoing``.
    """

    def __init__(self, outgoing: Outgoing, path: Path, contract: Contract) -> None:
        self._outgoing = outgoing
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)
        #: Where it is counted what was refused.
        self.hop: Hop | None = None
        self._rows: list[_Row] = []
        self._named: dict[str, _Row] = {}
        self._bytes = 0
        self._soon: asyncio.Handle | None = None
        self._full_until = 0.0
        self._swept = 0.0
        self.use(contract)

    def use(self, contract: Contract) -> None:
        """From now on records are checked against ``contract``."""
        self.contract = contract
        self._checker = Checker(contract)

    def close(self) -> None:
        """Put what is in hand on disk, and let go."""
        self._flush()
        self._base.close()

    # ---- what the gate asks --------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Never said here: what is full is said by :meth:`room`, and why."""
        return False

    async def room(self, seconds: float) -> None:
        """Have what was taken put on disk. Raises Problem while there is no room for more."""
        self._flush()
        if time.monotonic() < self._full_until:
            raise _no_room()
        await asyncio.sleep(0)

    def take(self, ticket: Ticket, sender: str, line: int, item: Item) -> bool:
        """Take one record; ``ticket`` hears when it is on disk. False where it is refused at once.

        Raises Problem while there is no room.
        """
        if time.monotonic() < self._full_until:
            raise _no_room()
        try:
            key = item.key
            fields = None if item.value is None else self._checker.accept(item.value)
            if fields is not None:
                if key and key != fields.key:
                    raise Rejected(
                        "$.subject", "key-mismatch", "Expected the record's key, got another"
                    )
                key = fields.key
            value = fields.value if fields else None
            name = f"{sender}{item.id}" if item.id else ""
            digest = digest_of(key, value) if name else b""
            if name and self._known(ticket, name, digest):
                return True
        except Rejected as refused:
            shown = item.id.rpartition(" ")[2] if item.id.startswith("/e ") else ""
            ticket.refuse(line, shown, refused)
            self.refused()
            return False
        row = _Row(key, value, name, digest, item.traceparent, [ticket])
        ticket.waits()
        self._rows.append(row)
        self._bytes += len(value or b"")
        if name:
            self._named[name] = row
        if len(self._rows) >= TOGETHER or self._bytes >= TOGETHER_BYTES:
            self._flush()
        elif self._soon is None:
            # Whatever comes in this turn of the loop is put together.
            self._soon = asyncio.get_running_loop().call_soon(self._flush)
        return True

    def refused(self) -> None:
        """A record could not even be read."""
        if self.hop:
            self.hop.rejected += 1

    def _known(self, ticket: Ticket, name: str, digest: bytes) -> bool:
        """Was it taken already? Raises Rejected."""
        row = self._named.get(name)
        known = row.digest if row else self._digest(name)
        if known is None:
            return False
        if known != digest:
            raise Rejected(
                "$", "id-reused", "Expected the same record under the same id, got another one"
            )
        if row:
            ticket.waits()
            row.tickets.append(ticket)
        else:
            ticket.keeps(again=True)
        return True

    def _digest(self, name: str) -> bytes | None:
        found = self._base.execute(
            "SELECT digest FROM taken WHERE contract = ? AND id = ?", (self.contract.name, name)
        ).fetchone()
        return bytes(found[0]) if found else None

    def _flush(self) -> None:
        """Put what was taken on disk, and say so to everyone who waits."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        rows, self._rows, self._bytes = self._rows, [], 0
        self._named.clear()
        if not rows:
            return
        try:
            self._outgoing.put(
                self.contract.name,
                [(row.key, row.value) for row in rows],
                self._enter(rows),
                [row.traceparent for row in rows],
            )
        except OutgoingFull as error:
            self._full_until = time.monotonic() + 1.0
            for row in rows:
                for ticket in row.tickets:
                    ticket.fail(str(error), retry=_RETRY)
            return
        for row in rows:
            for index, ticket in enumerate(row.tickets):
                ticket.keeps(again=index > 0)
                ticket.settled()

    def _enter(self, rows: list[_Row]) -> Callable[[sqlite3.Connection], None]:
        """Enters the ids of ``rows``, and now and then throws away what is old."""
        name, now = self.contract.name, int(time.time())

        def also(base: sqlite3.Connection) -> None:
            base.executemany(
                "INSERT INTO taken (contract, id, digest, seconds) VALUES (?, ?, ?, ?)",
                [(name, row.id, row.digest, now) for row in rows if row.id],
            )
            if time.monotonic() - self._swept < _SWEEP:
                return
            self._swept = time.monotonic()
            # The id of what still waits is known for as long as it does.
            oldest = self._outgoing.after(name, 0, 1)
            before = min(now - int(KEEP), oldest[0].time // 1_000_000 if oldest else now)
            base.execute(
                "DELETE FROM taken WHERE number IN"
                " (SELECT number FROM taken WHERE contract = ? ORDER BY number LIMIT ?)"
                " AND seconds < ?",
                (name, _PIECE, before),
            )

        return also


def _no_room() -> Problem:
    return Problem(
        503,
        "No room for more",
        expected="room among what waits to be sent up",
        found="none: the line is away, or the disk is full",
        do="Send the same again, with the same ids or Idempotency-Key.",
        retry=_RETRY,
    )
