"""What was looked at in the world around an agent, what was found, and what to do about it."""

from typing import Literal

import msgspec

Judgement = Literal["ok", "warning", "wrong"]


class Finding(msgspec.Struct, frozen=True):
    """``about`` is what was looked at, ``found`` what came of it, ``do`` what a person should do.

    ``wrong`` keeps the agent from working, or will; ``warning`` should be known.
    """

    judgement: Judgement
    about: str
    found: str
    do: str = ""


def ok(about: str, found: str) -> Finding:
    """As it should be."""
    return Finding("ok", about, found)


def warning(about: str, found: str, do: str) -> Finding:
    """It works, and a person should know."""
    return Finding("warning", about, found, do)


def wrong(about: str, found: str, do: str) -> Finding:
    """It does not work so, or will not for long."""
    return Finding("wrong", about, found, do)
