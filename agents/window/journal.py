"""Accesses written down: gathered in memory off the request's path, and twice a second put on their way.

What is gathered goes into :class:`agents.base.outgoing.Outgoing` in one transaction with the end of this
node's chain of hashes. ``kill -9`` loses at most what was gathered since the last flush. Where nothing
can be kept any more, people's data is not shown any more.
"""

import asyncio
import datetime
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.base.outgoing import Outgoing, OutgoingFull
from agents.window.access import Action
from agents.window.answers import Problem
from agents.window.rights import Visitor
from contracts.model import Contract
from contracts.subjects.access import ACCESS, MOST_LOOKS, MOST_WHAT, hash_of

log = structlog.get_logger()

#: Looks after which they are flushed, and seconds.
ENOUGH, EVERY = 500, 0.5
#: Looks that wait in memory at most.
MOST = 10_000
#: Of every record but the first: the end of this node's chain.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS chain (
    one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER, hash TEXT
) WITHOUT ROWID;
"""

#: Who, kind, purpose, contract and action: looks with the same go into one record.
_Group = tuple[str, str, str, str, str]


class ChainedJournal:
    """A :class:`agents.window.access.Journal`; ``contracts`` say which hold personal data."""

    def __init__(
        self, outgoing: Outgoing, node: str, contracts: Mapping[str, Contract], most: int = MOST
    ) -> None:
        self._outgoing = outgoing
        self._node = node
        self._contracts = contracts
        self._most = most
        self._base = outgoing.beside(_SCHEMA)
        self._gathered: dict[_Group, list[tuple[int, str]]] = {}
        self._count = 0
        self._enough = asyncio.Event()
        #: Why nothing can be written down at this moment.
        self._full = ""
        self.written = self.refused = self.left_out = 0

    def tell(self, visitor: Visitor, action: Action, contract: str, what: str) -> None:
        """See :class:`agents.window.access.Journal`. Raises Problem where it cannot be written down and
        the contract holds personal data."""
        if self._full or self._count >= self._most:
            found = self._contracts.get(contract)
            if found is None or found.personal:
                self.refused += 1
                raise Problem(
                    503,
                    "Accesses cannot be written down",
                    "People's data is not shown while nobody could tell later who looked: "
                    + (self._full or f"{self._count} looks wait to be written"),
                    {"Retry-After": "5"},
                )
            if self._count >= self._most:
                self.left_out += 1
                return
        group = (visitor.name, visitor.kind, visitor.purpose, contract, action)
        self._gathered.setdefault(group, []).append((time.time_ns() // 1000, what[:MOST_WHAT]))
        self._count += 1
        if self._count >= ENOUGH:
            self._enough.set()

    async def run(self) -> None:
        """Flush what was gathered again and again, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(EVERY):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._enough.clear()
            self.flush()
            if self._full:
                await asyncio.sleep(EVERY)

    def flush(self) -> None:
        """Put what was gathered on its way; where that cannot be, it is kept and said."""
        if not self._count and not self._full:
            return
        number, last = self._end()
        rows: list[tuple[str, bytes]] = []
        for group, looks in self._gathered.items():
            for start in range(0, len(looks), MOST_LOOKS):
                number += 1
                record = self._record(group, looks[start : start + MOST_LOOKS], number, last)
                last = record["hash"]
                rows.append((record["id"], msgspec.json.encode(record)))

        def also(base: sqlite3.Connection) -> None:
            base.execute("INSERT OR REPLACE INTO chain VALUES (1, ?, ?)", (number, last))

        try:
            self._outgoing.put(ACCESS.name, rows, also)
        except (OutgoingFull, sqlite3.Error) as error:
            if not self._full:
                log.error("accesses cannot be written down; people's data is not shown until they can",
                          error=str(error))  # fmt: skip
            self._full = str(error)
            return
        if self._full:
            log.info("accesses are written down again")
        self.written += self._count
        self._full, self._count = "", 0
        self._gathered.clear()

    def _end(self) -> tuple[int, str]:
        row = self._base.execute("SELECT number, hash FROM chain").fetchone()
        return (row[0], row[1]) if row else (0, "")

    def _record(
        self, group: _Group, looks: Sequence[tuple[int, str]], number: int, previous: str
    ) -> dict[str, Any]:
        who, kind, purpose, contract, action = group
        chain = self._outgoing.id
        record = {
            "id": f"{chain}-{number:012}",
            "node": self._node,
            "division": self._node.partition("-")[0],
            "who": who[:200],
            "kind": kind,
            "purpose": purpose[:500],
            "contract": contract,
            "action": action,
            "what": [{"at": _moment(at), "what": what} for at, what in looks],
            "since": _moment(looks[0][0]),
            "until": _moment(looks[-1][0]),
            "chain": chain,
            "number": number,
            "previous": previous,
        }
        return {**record, "hash": hash_of(record)}

    def metrics(self) -> Iterator[Metric]:
        """For :attr:`agents.base.status.Status.more`."""
        for counter, value in (
            (CounterMetricFamily("levelsync_accesses", "Looks written down."), self.written),
            (
                CounterMetricFamily(
                    "levelsync_accesses_refused",
                    "Looks refused since they could not be written.",
                ),
                self.refused,
            ),
            (
                CounterMetricFamily(
                    "levelsync_accesses_left_out",
                    "Looks at no people's data that were not written.",
                ),
                self.left_out,
            ),
        ):
            counter.add_metric([], value)
            yield counter
        waiting = GaugeMetricFamily(
            "levelsync_accesses_waiting", "Looks gathered, not written yet."
        )
        waiting.add_metric([], self._count)
        yield waiting


def _moment(micros: int) -> str:
    """RFC 3339 as the contract's own checker writes it, so that the hash is of what arrives."""
    return _TIMES.encode(
        datetime.datetime.fromtimestamp(micros // 1_000_000, datetime.UTC).replace(
            microsecond=micros % 1_000_000
        )
    ).decode()[1:-1]


_TIMES = msgspec.json.Encoder()
