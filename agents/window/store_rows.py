"""What the window's store gives and takes, and the ways it can fail."""

from collections.abc import Callable

import msgspec

from agents.base.errors import LevelsyncError, Policy


class StoreFull(LevelsyncError):
    """The disk of the window's store is full."""

    policy = Policy.RETRY
    hint = "Make room; nothing is lost meanwhile, and the agent goes on by itself."


class StoreDamaged(LevelsyncError):
    """The file of the window's store is damaged."""

    hint = (
        "Stop the agent and run `levelsync window rebuild NODE.toml`: it throws the file away, and"
        " started again the agent reads everything from Kafka once more. Look at the disk too."
    )


class StoreNewer(LevelsyncError):
    """The window's store is of a newer release."""

    policy = Policy.EXIT
    hint = (
        "Start the newer release again; or run `levelsync window rebuild NODE.toml` with this one, and"
        " everything is read from Kafka once more."
    )


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record as it is now. ``time`` is the commit in microseconds since 1970 UTC; ``seq`` that of
    the change which made it so."""

    contract: str
    key: str
    scope: str
    value: bytes
    id: str
    time: int
    sequence: str
    source: str
    dataschema: str
    seq: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change as it was applied; ``value`` None is a deletion, ``was`` the scope before it and
    ``old`` the value, empty and None when there was none.

    A change of before the store kept ``old`` has a scope in ``was`` and None here: it is not known.
    """

    seq: int
    contract: str
    key: str
    scope: str
    was: str
    value: bytes | None
    id: str
    time: int
    sequence: str
    source: str
    old: bytes | None = None
    #: Known only when it is applied: a row of a first copy, not a change somebody just made.
    copied: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """The newest change of a key did not keep its contract: what is shown of the key is older."""

    id: str
    time: int
    path: str
    rule: str
    message: str


class Judge(msgspec.Struct, frozen=True):
    """What every value must pass before it is shown: ``check`` raises Rejected; ``name`` tells one
    contract, revision and grant from another."""

    name: str
    check: Callable[[bytes], object]


class Applied(msgspec.Struct):
    """What one slice did. ``changes`` are those the feed has, ``skipped`` counts those it has not."""

    changes: list[Change]
    skipped: int = 0
    #: Events that were there already or were older than what is there; 0 unless a promise broke.
    repeated: int = 0
    out_of_order: int = 0
    #: Changes that did not keep their contract.
    refused: int = 0
