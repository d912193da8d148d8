"""What waits in the node's own outbox (:mod:`agents.base.outgoing`) as a source: told in the order in
which it was put, and dropped once Kafka has it."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from agents.base.outgoing import Outgoing, Waiting
from agents.capture.source import Change, Changes

#: Changes after which a read ends.
ENOUGH = 1_000
#: Seconds an idle read waits.
IDLE = 0.8


class OutgoingSource:
    """A :class:`agents.capture.source.Source` of what waits for ``contract``.

    A position names the outbox and the number of the last that was told. One of another outbox, which
    was lost, says only how far the sequences had come.
    """

    def __init__(self, outgoing: Outgoing, contract: str) -> None:
        self._outgoing = outgoing
        self._contract = contract
        self._told = 0
        #: The greatest number the copy holds already.
        self._held = 0
        #: The sequence of the last that was told.
        self._sequence = 0

    async def __aenter__(self) -> "OutgoingSource":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        known = position or {}
        self._sequence = int(known.get("sequence", 0))
        if known.get("store") == self._outgoing.id:
            self._told = int(known["seq"])
        numbers = (name.partition("-") for name in held)
        self._held = max(
            (int(n) for store, _, n in numbers if store == self._outgoing.id and n.isdigit()),
            default=0,
        )

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        waiting = self._outgoing.after(self._contract, self._told, ENOUGH)
        if not waiting:
            await self._outgoing.news(self._contract, IDLE)
            waiting = self._outgoing.after(self._contract, self._told, ENOUGH)
        now = time.time_ns() // 1000
        changes = self._changes(waiting)
        if waiting:
            self._told = waiting[-1].seq
        left = self._outgoing.after(self._contract, self._told, 1)
        return Changes(
            changes=changes,
            position={
                "store": self._outgoing.id, "seq": self._told, "sequence": self._sequence
            },
            complete=left[0].time if left else now,
            passed=self._told >= self._held,
        )  # fmt: skip

    def _changes(self, waiting: Sequence[Waiting]) -> list[Change]:
        """Told again after a crash they are the same: what they are numbered by is in the position and
        in the outbox."""
        changes = []
        for each in waiting:
            # Greater than any before, also where the clock has gone back.
            self._sequence = max(each.time, self._sequence + 1)
            changes.append(
                Change(
                    id=f"{self._outgoing.id}-{each.seq}",
                    sequence=f"{self._sequence:020d}",
                    time=each.time,
                    key=each.key,
                    fields=None if each.value is None else msgspec.json.decode(each.value),
                )
            )
        return changes

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        if position["store"] == self._outgoing.id:
            self._outgoing.drop(self._contract, position["seq"])
