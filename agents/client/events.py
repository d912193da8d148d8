"""What a window tells: changes of records, where the state ends, and how complete everything is."""

import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

#: A contract's class, or a dict of fields.
R = TypeVar("R")
#: A record of a contract that is asked for by its name.
Fields: TypeAlias = dict[str, Any]


class Change(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One record as it is now (``put``), or that it is no longer there (``delete``).

    ``state`` is true for what was there already, false for what just happened. ``token`` is the
    position after this change, None within the state. ``time`` is the commit at the source.
    """

    op: Literal["put", "delete"]
    contract: str
    key: str
    #: None for a deletion.
    record: R | None
    scope: str
    time: datetime.datetime
    id: str
    sequence: str
    source: str
    state: bool = False
    token: str | None = None


class Reset(msgspec.Struct, frozen=True):
    """The whole state follows, up to :class:`Live`; what you hold and is not among it is gone.

    ``reason``: ``asked``, you began with the state; ``cut``, the line broke within the state, which
    has to begin again; ``gap``, the position is too old for the feed.
    """

    reason: Literal["asked", "cut", "gap"]


class Live(msgspec.Struct, frozen=True):
    """The state is whole; from here on come changes. ``token`` is the position."""

    token: str


class Watermark(msgspec.Struct, frozen=True):
    """Everything of ``contract`` committed up to ``complete_as_of`` has been told.

    ``complete_as_of`` None: not known yet. ``state`` is the window's word on itself: ``running``,
    ``waiting``, ``stopped``…; or ``unreachable``, the client's own while the line is cut, with the last
    time known. Comes about once a second, also when nothing changes.
    """

    contract: str
    complete_as_of: datetime.datetime | None
    state: str


Event: TypeAlias = Change[R] | Reset | Live | Watermark


class Found(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """What is known of one key. ``record`` None: there was none as of ``complete_as_of``."""

    contract: str
    key: str
    record: R | None
    #: Everything committed up to then is taken into account; None when not known.
    complete_as_of: datetime.datetime | None
    scope: str = ""
    time: datetime.datetime | None = None
    id: str = ""
    sequence: str = ""
    source: str = ""
    dataschema: str = ""
    #: Set when a newer change broke the contract and is not shown: path, rule, message, time.
    refused: Fields | None = None


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody proposed to correct, and what became of it."""

    id: str
    contract: str
    key: str
    field: str
    seen: Any = None
    proposed: Any = None
    evidence: str | None = None
    filed_at: str = ""
    filed_by: str = ""
    state: str = "sent"
    due: str | None = None
    overdue: bool = False
    note: str | None = None
    answered_at: str | None = None
