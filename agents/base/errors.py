"""Every error an agent can meet, and the one table that says what follows from each.

A docstring is the default message; facts are attributes; the text for a person is made from both.
"""

import enum
from typing import Any

from agents.base.secret import hidden


class Policy(enum.Enum):
    """What the run loop does with a part of the agent that failed."""

    RETRY = "retry"  # the world is away: try again with backoff, say it once
    STOP = "stop"  # this contract stops until a person acts; everything else goes on
    EXIT = "exit"  # the agent itself cannot go on


class LevelsyncError(Exception):
    """levelsync failed."""

    policy = Policy.STOP
    hint = ""
    #: What a command that meets it exits with.
    exit_code = 1
    #: Does it say that events are missing or repeated, or that the place to go on from is gone?
    gap = False

    def __init__(self, message: str = "", /, **facts: Any) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.facts = facts
        super().__init__(self.message)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        text = f"{self.message} ({facts})" if facts else self.message
        return hidden(f"{text} {self.hint}" if self.hint else text)


class ConfigError(LevelsyncError):
    """The node file is wrong."""

    policy = Policy.EXIT


class Unavailable(LevelsyncError):
    """A server does not answer."""

    policy = Policy.RETRY
    hint = "The agent tries again by itself; if this lasts, start the server or mend the line."


class Refused(LevelsyncError):
    """Kafka refuses a batch because of a record in it."""

    policy = Policy.RETRY
    hint = "The agent looks into every batch for a while, and keeps that record as a dead letter."


class Superseded(LevelsyncError):
    """Another agent of this node has taken over."""

    policy = Policy.EXIT
    hint = "Only one agent may run for a node; stop one of the two."
    #: One of its own, so that whoever starts agents does not start this one again: the two would take
    #: the node from each other for ever.
    exit_code = 3


class GapFound(LevelsyncError):
    """The count of a watermark does not match what arrived: something is missing."""

    gap = True
    hint = (
        "Nothing was passed on after it. Find out what happened upstream; `levelsync resync NODE.toml"
        " CONTRACT` then brings this copy in line with what upstream holds now."
    )


class NotProven(GapFound):
    """A signed stream is not what was signed."""

    hint = (
        "Nothing is passed on below this watermark. Find out who can write there; then have the topic"
        " brought in line where it is written, and after that here: `levelsync resync NODE.toml"
        " CONTRACT`. Keys: `levelsync keys list NODE.toml`."
    )


class Strangers(NotProven):
    """Somebody else has written to a topic that this node signs, after its last watermark."""

    hint = (
        "It is not signed, and nothing is passed on. Find out who can write there. `levelsync resync"
        " NODE.toml CONTRACT`, where this node owns the contract `levelsync backfill NODE.toml CONTRACT`,"
        " sets right what was written and goes on."
    )


class PositionGone(LevelsyncError):
    """The position to resume from no longer exists upstream."""

    gap = True
    hint = (
        "The agent does not jump. Restore the upstream, or let `levelsync resync NODE.toml CONTRACT`"
        " bring this copy in line with what upstream holds now."
    )


class StreamReplaced(LevelsyncError):
    """The upstream topic is another one than before: it was deleted and made again."""

    gap = True
    hint = PositionGone.hint


class SourceMismatch(LevelsyncError):
    """The source does not offer what the contract needs."""


class SlotLost(LevelsyncError):
    """The replication slot cannot continue from where the copy ends."""

    gap = True
    hint = (
        "Nothing was told after the copy's end, and the agent does not guess. There are two ways out:"
        " bring back the server, or the backup, whose slot reaches back to the copy's end; or run"
        " `levelsync backfill NODE.toml CONTRACT --anew`, which makes a new slot, copies the table"
        " again and deletes below what is gone from it."
    )


class Corrupt(LevelsyncError):
    """Bytes from Kafka are not what they say they are."""

    policy = Policy.RETRY
    hint = (
        "If it comes again at the same offset, the broker's disk holds it so: restore that topic."
    )
