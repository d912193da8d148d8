"""What a node itself has to tell, as a source: corrections, their answers and accesses.

It waits in the agent's :class:`agents.base.outgoing.Outgoing` until Kafka has it. An event's id is
that of the file and the record's number in it, so that what is told again after a crash is recognised.
"""

import time
from typing import Any

from agents.base.errors import SourceMismatch
from agents.base.outgoing import MOST, Outgoing, Waiting
from agents.base.status import Hop
from agents.capture.source import Change, Changes, Place, SourceSettings, Unreadable
from contracts.check import Checker
from contracts.rejected import Rejected

#: Records after which a read ends, and seconds an idle one waits.
ENOUGH, IDLE = 1_000, 0.8
#: A person should know after so many seconds that something waits, and see to it after so many.
LATE, TOO_LATE = 60.0, 24 * 3600.0


class OutgoingRecords(SourceSettings, frozen=True, kw_only=True, tag="outgoing"):
    """It is written in no node file: it follows from ``[window]`` and ``[corrections]``."""

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return "this node itself"

    @property
    def implied(self) -> bool:
        """See :class:`agents.base.config.SourceTable`."""
        return True

    def source(self, place: Place) -> "OutgoingSource":
        """See :class:`agents.capture.source.SourceSettings`."""
        return OutgoingSource(place)


class OutgoingSource:
    """A :class:`agents.capture.source.Source` of what waits. Its position is
    ``{"store": …, "seq": …}``: which file, and the last record of it that was told."""

    def __init__(self, place: Place) -> None:
        if place.outgoing is None:
            raise SourceMismatch("This agent keeps nothing that is to be told")
        self._outgoing = place.outgoing
        self._contract = place.contract.name
        self._checker = Checker(place.contract)
        self._hop = place.hop
        self._at = 0
        #: The last number that the topic holds without a watermark below it.
        self._bound = 0

    async def __aenter__(self) -> "OutgoingSource":
        return self

    async def __aexit__(self, *_: object) -> None:
        """What was not confirmed waits where it is."""

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        mine = f"{self._outgoing.id}."
        if position is not None and position["store"] == self._outgoing.id:
            self._at = int(position["seq"])
            self._outgoing.drop(self._contract, self._at)
        # What a file that is lost by now has told is never told again.
        numbers = (int(name.removeprefix(mine)) for name in held if name.startswith(mine))
        self._bound = max(numbers, default=0)

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        outgoing, contract = self._outgoing, self._contract
        if not (waiting := outgoing.after(contract, self._at, ENOUGH)):
            await outgoing.news(contract, IDLE)
            waiting = outgoing.after(contract, self._at, ENOUGH)
        changes = [self._change(each) for each in waiting]
        if waiting:
            self._at = waiting[-1].seq
        tell_waiting(outgoing, contract, self._hop)
        full = len(waiting) == ENOUGH
        return Changes(
            changes=changes,
            position={"store": outgoing.id, "seq": self._at},
            complete=waiting[-1].time if full else outgoing.now(),
            passed=self._at >= self._bound,
        )

    def _change(self, each: Waiting) -> Change | Unreadable:
        name, order = f"{self._outgoing.id}.{each.seq}", f"{each.time:020}"
        key, trace = each.key, each.traceparent
        try:
            fields = None if each.value is None else self._checker.accept(each.value)
        except Rejected as refused:
            raw = each.value or b""
            return Unreadable(name, order, each.time, key, refused, raw=raw, traceparent=trace)
        return Change(name, order, each.time, key, fields, traceparent=trace)

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        self._outgoing.drop(self._contract, int(position["seq"]))


def tell_waiting(outgoing: Outgoing, contract: str, hop: Hop) -> None:
    """Say in ``hop`` how much of ``contract`` waits, and since when; an alarm where that is too much or
    too long."""
    waiting = outgoing.waiting(contract)
    first = outgoing.after(contract, 0, 1) if waiting else ()
    age = time.time() - first[0].time / 1e6 if first else 0.0
    hop.gauges["outgoing_waiting_events"] = waiting
    hop.gauges["outgoing_waiting_seconds"] = round(age, 1)
    for told in (hop.warnings, hop.alarms):
        told.pop("outgoing", None)
    if not first or age < LATE:
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first[0].time / 1e6))
    text = f"{waiting} records wait to be sent up since {since}"
    if age >= TOO_LATE or waiting >= MOST // 2:
        hop.alarms["outgoing"] = f"{text}; at {MOST} no more are taken. Mend the line."
    else:
        hop.warnings["outgoing"] = text
