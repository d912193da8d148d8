"""Columns and a few of their values, wherever they came from: what a draft is guessed from."""

from typing import Any

import msgspec

from contracts.shape import Shape

#: Rows that are looked at.
ROWS = 2_000
#: Columns at most: a contract may not have more fields.
MOST_COLUMNS = 1_000


class WrongSample(ValueError):
    """A source no contract can be drafted from: what was expected, what came and where."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column. ``values`` are those of the rows looked at, in their order, None where there is
    none: text, or what JSON holds."""

    name: str
    values: tuple[Any, ...] = ()
    comment: str = ""
    #: What the source itself says of the values; None where only they can tell.
    shape: Shape | None = None
    #: May it be empty, by what the source says; None where it says nothing.
    nullable: bool | None = None
    #: Alone the primary key; alone a unique one.
    primary: bool = False
    unique: bool = False
    #: What the source leaves open about it.
    questions: tuple[str, ...] = ()


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A table, or what looks like one. ``origin`` says where it is, without secrets."""

    origin: str
    columns: tuple[Column, ...]
    rows: int
    #: False when there are more rows than were looked at.
    whole: bool = True
    comment: str = ""
    #: What was found out on the way: the encoding, the delimiter.
    notes: tuple[str, ...] = ()
    #: What is open about it as a whole.
    questions: tuple[str, ...] = ()
    #: Does the agent take changes from here, value by value as they are?
    live: bool = False


def table(
    origin: str,
    names: list[str],
    rows: list[list[Any]],
    *,
    whole: bool = True,
    notes: tuple[str, ...] = (),
) -> Sample:
    """A sample of ``rows``, each as long as ``names``. Raises WrongSample."""
    if not names:
        raise WrongSample(f"Expected columns in {origin}, found none")
    if len(names) > MOST_COLUMNS:
        raise WrongSample(
            f"Expected at most {MOST_COLUMNS} columns in {origin}, found {len(names)}; draft a"
            " contract from a view that has what windows need"
        )
    columns = tuple(
        Column(name=name, values=tuple(row[at] for row in rows)) for at, name in enumerate(names)
    )
    return Sample(origin=origin, columns=columns, rows=len(rows), whole=whole, notes=notes)
