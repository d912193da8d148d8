"""What a field may hold, as data: the part of a contract that decoders and exports are made from.

Everything here is a record's JSON seen from outside: a decimal is a string of digits, a date a string
by RFC 3339. There are no unions but with null, since a window's program should not have to guess.
"""

from typing import Any

import msgspec

from contracts.text import Text


class _Shape(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=str.lower
):
    #: May it be null?
    nullable: bool = False


class String(_Shape, frozen=True):
    """Text; lengths in Unicode characters. ``pattern`` is one of :mod:`contracts.pattern`, found
    anywhere in the text unless anchored; ``format`` names one of :mod:`contracts.formats`."""

    min_length: int = 0
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None


class Integer(_Shape, frozen=True):
    """A whole number from ``ge`` to ``le``, both included and within 64 bits, signed."""

    ge: int = -(2**63)
    le: int = 2**63 - 1


class Number(_Shape, frozen=True):
    """A finite IEEE 754 double; ``ge``/``gt`` and ``le``/``lt`` as in msgspec."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


class Decimal(_Shape, frozen=True):
    """An exact number as a string such as ``"-12.50"``: at most ``digits`` digits, of which at most
    ``places`` behind the point; no exponent, no leading zeros, no ``+``."""

    digits: int = 18
    places: int = 2
    #: Neither below zero nor ``-0``.
    positive: bool = False


class Boolean(_Shape, frozen=True):
    """True or false."""


class Date(_Shape, frozen=True):
    """A day, ``2026-11-25``."""


class DateTime(_Shape, frozen=True):
    """A moment with its offset from UTC, ``2026-11-25T08:00:00+08:00``."""


class Enum(_Shape, frozen=True):
    """One of ``values``. ``labels`` say what each means, ``standard`` whose code table it is
    (``GB/T 2261.1``), empty when it is the contract's own."""

    values: tuple[str, ...]
    standard: str = ""
    labels: dict[str, Text] = {}


class Array(_Shape, frozen=True):
    """A list."""

    items: "Shape"
    min_length: int = 0
    max_length: int | None = None


class Map(_Shape, frozen=True):
    """Names, which the contract does not fix, to values."""

    values: "Shape"
    max_length: int | None = None


class Object(_Shape, frozen=True):
    """A record within the record."""

    fields: "tuple[Field, ...]"


Shape = (
    String | Integer | Number | Decimal | Boolean | Date | DateTime | Enum | Array | Map | Object
)


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named field. One that is not ``required`` may be left out and is then ``default``, which is
    given as in JSON."""

    name: str
    title: Text
    shape: Shape
    description: Text | None = None
    required: bool = True
    default: Any = None
