"""What a scorecard says, as data: the same for a terminal, a page, and a program."""

from typing import Literal

import msgspec

from contracts.text import Text

#: How a line's hop serves: taken in from a source, received from a neighbour, given to one, shown at the
#: window, delivered elsewhere by the window.
Way = Literal["collected", "received", "given", "shown", "delivered"]


class Age(msgspec.Struct, frozen=True):
    """Seconds, None where nothing is known. ``p50`` and ``p99`` are at most 19 % too large."""

    p50: float | None
    p99: float | None
    largest: float | None
    mean: float | None


class Day(msgspec.Struct, frozen=True):
    """One day in China of one line. Seconds are those that had passed when the report was made."""

    day: str
    seconds: int
    seen: int
    running: int
    known: int
    kept: int
    p99: float | None
    largest: float | None
    events: int
    refused: int
    gaps: int


class Line(msgspec.Struct, frozen=True):
    """One hop of one contract over the whole period.

    ``seen`` of its ``seconds`` were looked at; ``running`` of those it ran. In ``known`` seconds it was
    known how complete it was, and in ``kept`` of those the promise held.
    """

    node: str
    contract: str
    way: Way
    from_: str = msgspec.field(name="from")
    to: str
    title: Text
    owner: Text
    promised: float
    seconds: int
    seen: int
    running: int
    known: int
    kept: int
    availability: float | None
    promise_kept: float | None
    age: Age
    #: Milliseconds from commit: mean of the minutes' medians, largest 99th percentile of a minute.
    latency_p50: float | None
    latency_p99: float | None
    events: int
    refused: int
    refused_share: float | None
    gaps: int
    breaches: int
    days: tuple[Day, ...] = ()

    @property
    def unknown(self) -> int:
        """Seconds of which nothing is known."""
        return max(0, self.seconds - self.seen)


class Corrections(msgspec.Struct, frozen=True):
    """What was said to be wrong in a contract in the period, and what its owner answered by now."""

    contract: str
    title: Text
    filed: int
    open: int
    overdue: int
    accepted: int
    rejected: int
    #: Of those decided that had a day to be decided by, how many were in time.
    in_time: int
    with_due: int
    #: Hours from filing to the decision.
    median_hours: float | None
    longest_hours: float | None


class Use(msgspec.Struct, frozen=True):
    """How often one system, or all clerks with one purpose, looked at a contract. No person is named."""

    contract: str
    title: Text
    who: str
    kind: str
    purpose: str
    nodes: int
    look_ups: int
    pages: int
    follows: int


class Given(msgspec.Struct, frozen=True):
    """A grant of the node file."""

    contract: str
    title: Text
    to: str
    purpose: str
    until: str


class Report(msgspec.Struct, frozen=True):
    """A node's scorecard from the first to the last day, both counted, China Standard Time."""

    node: str
    name: str
    level: str
    from_: str = msgspec.field(name="from")
    to: str
    made: str
    lines: tuple[Line, ...]
    corrections: tuple[Corrections, ...] = ()
    uses: tuple[Use, ...] = ()
    given: tuple[Given, ...] = ()
    #: What could not be found out, in words.
    not_known: tuple[Text, ...] = ()
    version: int = 1
