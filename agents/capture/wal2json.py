"""The wal2json plugin's messages, format version 2: bytes → the values of :mod:`pgoutput`. No I/O.

For servers that have no pgoutput, as PostgreSQL's relatives. What differs from pgoutput:

- Tables have names, not numbers, and there is no message that describes one: the first row of a table,
  and the first that has other columns or types, is answered by a :class:`Relation`; handle that and
  decode the same bytes again.
- Large columns that did not change are left out of an update's row, also of the first by which a table
  is known: columns that are not told of yet are for the catalogue to find.
- NaN and Infinity of numbers come as null, and cannot be told from it.
"""

import datetime
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from agents.capture.pgoutput import (
    EPOCH,
    UNCHANGED,
    Begin,
    Commit,
    Decoded,
    Delete,
    Insert,
    Message,
    Reading,
    Relation,
    Row,
    Truncate,
    Update,
)

#: What to ask the plugin for; a table's name and the prefix of messages are added by the caller.
OPTIONS = {
    "format-version": "2",
    "include-xids": "true",
    "include-timestamp": "true",
    "include-lsn": "true",
    "include-types": "true",
    "include-pk": "true",
}


class _Column(msgspec.Struct, gc=False):
    name: str
    type: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Change(msgspec.Struct):
    action: Literal["B", "C", "I", "U", "D", "T", "M"]
    xid: int = 0
    timestamp: str = ""
    lsn: str = "0/0"
    nextlsn: str = "0/0"
    schema: str = ""
    table: str = ""
    columns: list[_Column] = []
    identity: list[_Column] = []
    pk: list[_Column] = []
    prefix: str = ""
    content: str = ""


_DECODER = msgspec.json.Decoder(_Change)
_TEXT = msgspec.json.Decoder(str)


class Decoder:
    """Decodes one stream. ``readings`` says how to read the rows of each table told of by a
    :class:`Relation`, whose ``types`` are names here."""

    def __init__(self, readings: Mapping[int, Reading]) -> None:
        self._readings = readings
        self._tables: dict[tuple[str, str], Relation] = {}

    def decode(self, data: bytes) -> Decoded | None:
        """One message; None for kinds that carry nothing for us. Raises ValueError for bytes that
        are no such message."""
        try:
            change = _DECODER.decode(data)
            match change.action:
                case "B":
                    return Begin(_lsn(change.lsn), _time(change.timestamp), change.xid)
                case "C":
                    return Commit(_lsn(change.lsn), _lsn(change.nextlsn))
                case "M":
                    return Message(change.prefix, change.content.encode())
                case "T":
                    return Truncate((), ((change.schema, change.table),))
                case _:
                    return self._row_change(change)
        except (msgspec.DecodeError, UnicodeError, ValueError, KeyError) as error:
            raise ValueError(f"Expected a wal2json message, got {data[:60]!r}: {error}") from None

    def _row_change(self, change: _Change) -> Decoded:
        relation = self._known(change)
        if (other := self._other(relation, change)) is not None:
            self._tables[change.schema, change.table] = other
            return other
        reading = dict(zip(relation.columns, self._readings[relation.id].columns, strict=True))
        if change.action == "D":
            return Delete(relation.id, _row(change.identity, reading))
        new = _row(change.columns, reading)
        if change.action == "I":
            return Insert(relation.id, new)
        for field, _ in reading.values():
            if field is not None:
                new.setdefault(field, UNCHANGED)
        old = _row(change.identity, reading) if change.identity else None
        whole = {one.name for one in change.identity} >= set(relation.columns)
        return Update(relation.id, old, whole, new)

    def _known(self, change: _Change) -> Relation:
        name = (change.schema, change.table)
        if name not in self._tables:
            self._tables[name] = Relation(
                len(self._tables), change.schema, change.table, (), (), None
            )
        return self._tables[name]

    def _other(self, relation: Relation, change: _Change) -> Relation | None:
        """The table as this change shows it, None when that is how it is known."""
        known = dict(zip(relation.columns, relation.types, strict=True))
        told: dict[str, Any] = {one.name: one.type for one in change.columns or change.identity}
        inserted = change.action == "I"
        columns = told if inserted else known | told
        if change.action == "U" and told.keys() - known.keys():
            # Beside a column that is new, one that is missing is more likely gone than unchanged.
            columns = told
        identity = relation.identity
        if not inserted:
            identity = frozenset(one.name for one in change.identity)
        if columns == known and identity == relation.identity:
            return None
        return relation._replace(
            columns=tuple(columns), types=tuple(columns.values()), identity=identity
        )


def escaped(name: str) -> str:
    """A name as the plugin's lists of tables have it."""
    return re.sub(r"([\\\s',.*])", r"\\\1", name)


def _row(columns: list[_Column], reading: Mapping[str, Any]) -> Row:
    row: Row = {}
    for column in columns:
        field, convert = reading[column.name]
        if field is None:
            continue
        raw = bytes(column.value)
        if raw == b"null":
            row[field] = None
            continue
        # Numbers keep their digits; a text's quotes go.
        text = _TEXT.decode(raw) if raw.startswith(b'"') else raw.decode()
        row[field] = text if convert is None else convert(text)
    return row


def _lsn(text: str) -> int:
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def _time(text: str) -> int:
    """Microseconds since 1970 UTC of ``2026-11-25 04:09:32.589+00``."""
    moment = datetime.datetime.fromisoformat(text)
    since = moment - datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1) + EPOCH
