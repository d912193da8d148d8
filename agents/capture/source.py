"""The port through which changes enter: a source."""

from typing import Any, Protocol

import msgspec


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of one row, before any contract has looked at it.

    ``id`` is the same each time the source tells of this change; ``sequence`` orders changes of one
    key as plain text does; ``time`` is the commit time in microseconds since 1970 UTC; ``fields``
    holds the contract's field names and plain values (None for the whole means deleted). ``copied``
    is True for a row of a first copy, whose ``time`` is that of the copy.
    """

    id: str
    sequence: str
    time: int
    key: str
    fields: dict[str, Any] | None
    copied: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What a source has in hand: changes, and the position after the last of them.

    ``position`` is plain data of the source's own, to be handed back to ``open`` and ``confirm``.
    ``complete`` is the time, in microseconds since 1970 UTC at the source, up to which every commit
    is at or before ``position``; 0 when that is not known. ``passed`` is True once the source has told
    again every change it was opened with as ``held``, but for those it will never tell again.
    ``settled`` is True when ``position`` is after every change told so far, False in the middle of a
    transaction or of a copied chunk: no watermark may be drawn there.
    """

    changes: list[Change]
    position: Any
    complete: int
    passed: bool
    settled: bool = True


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
