"""Pages of records in the order of their keys, on indexes also where divisions or a field narrow them.

A division's records lie together in an index, in the order of their keys, and so do those of a division
that have one value in a field. A page over several is merged: from each division the first key that
is left, then only those divisions are read on from which the page takes something. So a page costs
what is on it and a look for each division, however many records there are.
"""

import heapq
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from agents.window.store_rows import Entry
from agents.window.store_schema import Content, value_of

ENTRY = "key, scope, value, id, time, sequence, source, dataschema, seq"

Match = tuple[str, str]


def page_of(
    base: sqlite3.Connection,
    content: Content,
    scopes: Sequence[str],
    after: str,
    limit: int,
    match: Match | None,
) -> list[Entry]:
    """Up to ``limit`` records within the divisions ``scopes``, of every one when empty or ``0`` is among
    them, whose field ``match[0]`` is ``match[1]``, with keys after ``after``.

    Raises KeyError when records cannot be searched by that field.
    """
    everywhere = not scopes or "0" in scopes
    if match and match[0] not in content.fields:
        raise KeyError(match[0])
    if everywhere and not match:
        query = f"SELECT {ENTRY} FROM {content.table} WHERE key > ? ORDER BY key LIMIT ?"
        return _entries(content, base.execute(query, (after, limit)))
    prefixes = ("",) if everywhere else tuple(scopes)
    divisions = [name for name in content.divisions if name.startswith(prefixes)]
    base.execute("BEGIN")  # one state of things for all that is looked up
    try:
        return _entries(content, _merged(base, content, divisions, after, limit, match))
    finally:
        base.execute("COMMIT")


def _entries(content: Content, rows: Iterator[tuple[Any, ...]]) -> list[Entry]:
    return [Entry(content.contract, *row) for row in rows]


def queries(content: Content, match: Match | None) -> tuple[str, str]:
    """SQL for the first key left in each of the divisions in a JSON array, and for one division's
    records."""
    found = f"{value_of(match[0])} = ? AND " if match else ""
    left = f"FROM {content.table} WHERE {found}scope = {{}} AND key > ? ORDER BY key"
    first = f"SELECT key {left.format('division.value')} LIMIT 1"
    firsts = (
        f"SELECT ({first}) AS first, division.value FROM json_each(?) AS division"
        " ORDER BY first NULLS LAST LIMIT ?"
    )
    return firsts, f"SELECT {ENTRY} {left.format('?')}"


def _merged(
    base: sqlite3.Connection,
    content: Content,
    divisions: list[str],
    after: str,
    limit: int,
    match: Match | None,
) -> Iterator[tuple[Any, ...]]:
    firsts, records = queries(content, match)
    value = [match[1]] if match else []
    if len(divisions) == 1:
        yield from base.execute(f"{records} LIMIT ?", (*value, divisions[0], after, limit))
        return
    rows = base.execute(firsts, (*value, after, json.dumps(divisions), limit)).fetchall()
    # No other division has anything on this page.
    heap = [(first, number) for number, (first, _) in enumerate(rows) if first is not None]
    cursors: dict[int, sqlite3.Cursor] = {}
    waiting: dict[int, tuple[Any, ...]] = {}
    try:
        while heap and limit:
            _, number = heapq.heappop(heap)
            if number not in cursors:
                cursors[number] = base.execute(records, (*value, rows[number][1], after))
                waiting[number] = cursors[number].fetchone()
            yield waiting[number]
            limit -= 1
            following = cursors[number].fetchone()
            if following is not None:
                waiting[number] = following
                heapq.heappush(heap, (following[0], number))
    finally:
        for cursor in cursors.values():
            cursor.close()
