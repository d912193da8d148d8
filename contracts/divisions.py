"""The country's administrative divisions, provinces to streets: real codes and names.

Source and licence: ``contracts/data/SOURCE.md``.
"""

import functools
import lzma
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from contracts.identifiers import level_of
from contracts.model import Level


class Division(NamedTuple):
    """One division; ``parent`` is None for a province."""

    code: str
    name: str
    level: Level
    parent: str | None


def divisions(scope: str = "0") -> Iterator[Division]:
    """All divisions within ``scope``, parents before their children."""
    for line in _text().splitlines():
        code, name = line.split("\t")
        if scope == "0" or code.startswith(scope):
            yield Division(code, name, level_of(code), parent_of(code))


def parent_of(code: str) -> str | None:
    """``370102001`` → ``370102``; None for a province. Raises ValueError."""
    lengths = {"province": 0, "city": 2, "county": 4, "township": 6, "village": 9}
    return code[: lengths[level_of(code)]] or None


def full_name(code: str) -> str:
    """``370102`` → 山东省济南市历下区. Raises KeyError for a code that is not there."""
    names = _names()
    return "".join(names[code[:length]] for length in (2, 4, 6, 9) if length <= len(code))


@functools.cache
def _names() -> dict[str, str]:
    return dict(line.split("\t") for line in _text().splitlines())


def _text() -> str:
    packed = (files("contracts") / "data" / "divisions.tsv.xz").read_bytes()
    return lzma.decompress(packed).decode()
