"""The port through which changes enter: a source, and what one kind of source is in a node file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from agents.base.config import SourceTable
from agents.base.findings import Finding
from agents.base.outgoing import Outgoing
from agents.base.requests import Requests
from agents.base.status import Hop
from contracts.check import Checked
from contracts.model import Contract
from contracts.rejected import Rejected

if TYPE_CHECKING:
    from agents.capture.http_desk import Desk
    from agents.capture.published import Published


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of one row, before any contract has looked at it.

    ``id`` is the same each time the source tells of this change; ``sequence`` orders changes of one
    key as plain text does; ``time`` is the commit time in microseconds since 1970 UTC; ``fields``
    holds the contract's field names and plain values, or what the contract's checker made of them
    already; None means deleted. ``copied`` is True for a row of a first copy or a backfill, whose
    ``time`` is that of the copy. ``origin`` is where the change came from, in a person's words (an
    MQTT topic, a file and its line), and ``raw`` the bytes as they came, where the source has them:
    both are kept with a dead letter.
    """

    id: str
    sequence: str
    time: int
    key: str
    fields: dict[str, Any] | Checked | None
    copied: bool = False
    origin: str = ""
    raw: bytes = b""
    #: W3C Trace Context, as its sender gave it; see :mod:`agents.base.tracing`.
    traceparent: str = ""


class Unreadable(msgspec.Struct, frozen=True):
    """Something came of which the source itself could make no change; it becomes a dead letter.

    ``key`` is the record's where it can be known, otherwise empty; the rest as in :class:`Change`.
    """

    id: str
    sequence: str
    time: int
    key: str
    refused: Rejected
    origin: str = ""
    raw: bytes = b""
    traceparent: str = ""


class Sweep(msgspec.Struct, frozen=True):
    """Every key that the topic holds from before the sequence ``before`` is deleted.

    What a TRUNCATE does, and the end of a copy that took the place of a lost history. Each deletion's
    id is ``id`` and the key; ``sequence`` and ``time`` are those of all of them.
    """

    id: str
    sequence: str
    time: int
    before: str


class Outcome(NamedTuple):
    """What became of one change once Kafka has committed it.

    ``partition`` and ``offset`` are those of the event, or of the dead letter when ``refused`` says why
    it is one; -1 for a change that was told before and stands already.
    """

    partition: int
    offset: int
    refused: Rejected | None = None


class Changes(msgspec.Struct, frozen=True):
    """What a source has in hand: changes, and the position after the last of them.

    ``position`` is plain data of the source's own, to be handed back to ``open`` and ``confirm``.
    ``complete`` is the time, in microseconds since 1970 UTC at the source, up to which every commit
    is at or before ``position``; 0 when that is not known. ``passed`` is True once the source has told
    again every change it was opened with as ``held``, but for those it will never tell again.
    ``settled`` is True when ``position`` is exactly after the last change told, in the middle of a
    transaction too where it can say so; False, as within a copied chunk, no watermark may be drawn.

    ``outcome`` is called with the index of each of ``changes`` and what became of it, once Kafka has
    committed that: for sources whose senders wait for an answer. Changes it is never called for, since
    the capture began anew before they were committed, must be told again or answered as not taken.
    """

    changes: Sequence[Change | Unreadable | Sweep]
    position: Any
    complete: int
    passed: bool
    settled: bool = True
    outcome: Callable[[int, Outcome], None] | None = None


class Source(Protocol):
    """Changes of one contract, in commit order, each told again until its position is confirmed.

    ``async with source`` connects and looks whether it fits, before anything is written anywhere;
    raises SourceMismatch, Unavailable.
    """

    async def __aenter__(self) -> "Source": ...

    async def __aexit__(self, *_: object) -> None: ...

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """Start after ``position`` (None: from a first copy).

        ``held`` are the ids of changes after ``position`` which the topic already holds; they may
        be told again, the caller leaves them out. Raises SlotLost, Unavailable.
        """
        ...

    async def read(self) -> Changes:
        """The next changes in hand, waiting at most about a second; may be none, with a newer
        position or ``complete``."""
        ...

    async def confirm(self, position: Any) -> None:
        """Everything up to ``position`` is safely in Kafka: the source may forget it."""
        ...


class Place(NamedTuple):
    """Where a source works: what its settings are turned into a source with.

    ``state`` is a folder of this source's own, which may be lost; ``published`` is what the contract's
    topic holds; ``requests`` are what operators ask of it; ``hop`` is where it may say how it is.
    ``desk`` is where senders come in over HTTP, None where the node file has no ``[intake]``; ``topic``
    where the source's changes are published, the contract's own unless said otherwise; ``outgoing`` is
    what the node itself has to tell, None where nobody opened it.
    """

    contract: Contract
    node: str
    state: Path
    requests: Requests
    published: "Published"
    hop: Hop
    desk: "Desk | None" = None
    topic: str = ""
    outgoing: Outgoing | None = None

    @property
    def name(self) -> str:
        """``levelsync_37_resident_v2``: by which this source is known elsewhere."""
        return f"levelsync_{self.node}_{self.contract.name}".replace(".", "_").replace("-", "_")


class SourceSettings(SourceTable, frozen=True, tag_field="kind"):
    """One ``[[source]]`` of a node file; each kind derives from it, with ``tag`` as its name.

    A kind checks itself in :meth:`agents.base.config.SourceTable.validate`.
    """

    def source(self, place: Place) -> Source:
        """The source these settings are of, not connected yet."""
        raise NotImplementedError

    async def examine(self, place: Place) -> list[Finding]:
        """What ``levelsync doctor`` finds where this source reads: can it be reached, has it the rights
        it needs, is it as the contract wants it? Changes nothing, and raises nothing that it can say
        as a finding; ``place.hop`` is nobody's."""
        return []
