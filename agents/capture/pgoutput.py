"""The pgoutput plugin's messages, protocol version 1 in text mode: bytes → values. No I/O.

Follows "Logical Replication Message Formats" of the PostgreSQL manual. LSNs are integers, times
microseconds since 1970 UTC.
"""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from agents.capture.postgres_types import Convert

#: Microseconds from 1970 to PostgreSQL's epoch, 2000-01-01.
EPOCH = 946_684_800_000_000

#: The new row does not tell this column's value, because it is large and did not change.
UNCHANGED = msgspec.UNSET

#: A row's fields and their plain values.
Row = dict[str, Any]


class Reading:
    """What to make of a table's ``columns``, in the order of its rows: the field that each fills, None
    for a column nobody needs, and how its text becomes a plain value."""

    __slots__ = (
        "_all", "_conversions", "_drop", "_fields", "_places", "_texts", "_turned", "columns"
    )  # fmt: skip

    def __init__(self, columns: Iterable[tuple[str | None, Convert]]) -> None:
        self.columns = list(columns)
        named = [(field, at) for at, (field, _) in enumerate(self.columns) if field is not None]
        self._places = named
        self._all = [field for field, _ in named] if len(named) == len(self.columns) else None
        self._conversions = [
            (field, convert)
            for field, convert in self.columns
            if field is not None and convert is not None
        ]
        self._fields = [field for field, _ in named]
        self._turned = [
            (place, convert)
            for place, (_, at) in enumerate(named)
            if (convert := self.columns[at][1]) is not None
        ]
        # The last text is always looked at: that of a message that is cut is too short.
        self._drop = bool(self.columns) and self.columns[-1][0] is None
        self._texts = _texts([field is not None for field, _ in self.columns])

    def texts(self, data: bytes, at: int) -> Row | None:
        """The row with which ``data`` ends, where each of its columns has a text; None for others.

        A text never holds a zero byte, and each column begins with ``t`` and its length in four bytes.
        So what stands after ``t\\0\\0`` and two bytes, up to the next of these, is a text below 65536
        bytes, and nothing else can be meant.
        """
        match = self._texts.match(data, at)
        if match is None:
            return None
        found = match.groups()
        last = len(found[-1])
        start = len(data) - last
        if data[start - 2] << 8 | data[start - 1] != last:
            return None
        try:
            values: list[Any] = b"\0".join(found).decode().split("\0")
        except UnicodeDecodeError:
            return None
        if self._drop:
            values.pop()
        for place, convert in self._turned:
            values[place] = convert(values[place])
        return dict(zip(self._fields, values, strict=True))

    def row(self, values: Sequence[Any]) -> Row:
        """The fields of a row of texts, None, :data:`UNCHANGED` and bytes that are no text."""
        if self._all is not None:
            row = dict(zip(self._all, values, strict=True))
        else:
            row = {field: values[at] for field, at in self._places}
        for field, convert in self._conversions:
            value = row[field]
            if value.__class__ is str:
                row[field] = convert(value)
        return row


class Begin(NamedTuple):
    commit_lsn: int
    time: int
    xid: int


class Commit(NamedTuple):
    commit_lsn: int
    end_lsn: int


class Relation(NamedTuple):
    """A table as it is from here on; ``columns`` in the order of its rows, each with its type's OID and
    modifier, or with its name. ``identity`` are the columns of its replica identity; None when that is
    not told."""

    id: int
    schema: str
    table: str
    columns: tuple[str, ...]
    types: tuple[tuple[int, int] | str, ...]
    identity: frozenset[str] | None


class Insert(NamedTuple):
    relation: int
    new: Row


class Update(NamedTuple):
    """``old`` is None, or the row before: whole, or only meaningful in its key columns."""

    relation: int
    old: Row | None
    whole: bool
    new: Row


class Delete(NamedTuple):
    relation: int
    old: Row


class Truncate(NamedTuple):
    """Of tables by number, or by schema and name."""

    relations: tuple[int, ...]
    names: tuple[tuple[str, str], ...] = ()


class Message(NamedTuple):
    prefix: str
    content: bytes


Decoded = Begin | Commit | Relation | Insert | Update | Delete | Truncate | Message

_BEGIN = struct.Struct(">qqI")
_COMMIT = struct.Struct(">bqqq")
_MESSAGE = struct.Struct(">bq")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_COLUMN = struct.Struct(">Ii")


def decode(data: bytes, readings: Mapping[int, Reading]) -> Decoded | None:
    """One message; None for kinds that carry nothing for us (types, origins).

    ``readings`` says how to read the rows of each table told of so far by a :class:`Relation`. Raises
    ValueError for bytes that are no pgoutput message.
    """
    kind = data[0:1]
    try:
        if kind == b"I":
            relation = _U32.unpack_from(data, 1)[0]
            return Insert(relation, _last_row(data, 6, readings[relation]))
        if kind == b"U":
            return _update(data, readings)
        if kind == b"D":
            relation = _U32.unpack_from(data, 1)[0]
            return Delete(relation, _row(data, 6, readings[relation])[0])
        if kind == b"B":
            lsn, time, xid = _BEGIN.unpack_from(data, 1)
            return Begin(lsn, time + EPOCH, xid)
        if kind == b"C":
            _, lsn, end, _ = _COMMIT.unpack_from(data, 1)
            return Commit(lsn, end)
        if kind == b"R":
            return _relation(data)
        if kind == b"T":
            count = _U32.unpack_from(data, 1)[0]
            return Truncate(struct.unpack_from(f">{count}I", data, 6))
        if kind == b"M":
            prefix, at = _text(data, 1 + _MESSAGE.size)
            length = _U32.unpack_from(data, at)[0]
            return Message(prefix, data[at + 4 : at + 4 + length])
        if kind in (b"Y", b"O"):
            return None
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a whole pgoutput message, got {data[:40]!r}: {error}") from None
    raise ValueError(f"Expected a pgoutput message, got kind {kind!r}")


def inserted(data: bytes, readings: Mapping[int, Reading]) -> Row | None:
    """The row of a message that is an insert of texts alone, which most are; None for all others."""
    if data[0] != 0x49:  # I
        return None
    reading = readings.get(_U32.unpack_from(data, 1)[0])
    return None if reading is None else reading.texts(data, 6)


def _update(data: bytes, readings: Mapping[int, Reading]) -> Update:
    relation = _U32.unpack_from(data, 1)[0]
    reading = readings[relation]
    mark, old, at = data[5:6], None, 6
    if mark in (b"K", b"O"):
        old, at = _row(data, 6, reading)
        at += 1
    return Update(relation, old, mark == b"O", _last_row(data, at, reading))


def _row(data: bytes, at: int, reading: Reading) -> tuple[Row, int]:
    """The row at ``at``, and where it ends."""
    count = _count(data, at, reading)
    at += 2
    values: list[Any] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == 0x74:  # t
            start = at + 4
            at = start + _U32.unpack_from(data, at)[0]
            values.append(value_of(data[start:at], None))
        elif kind == 0x6E:  # n
            values.append(None)
        elif kind == 0x75:  # u
            values.append(UNCHANGED)
        else:
            raise IndexError(f"column kind {kind}")
    if at > len(data):
        raise IndexError("the message is cut")
    return reading.row(values), at


def _count(data: bytes, at: int, reading: Reading) -> int:
    count = int(_U16.unpack_from(data, at)[0])
    if count != len(reading.columns):
        raise IndexError("another number of columns than the table has")
    return count


def _last_row(data: bytes, at: int, reading: Reading) -> Row:
    """The row with which a message ends, in the quickest of three ways that fits."""
    row = reading.texts(data, at)
    if row is None:
        values = _pieced(data[at + 2 :])
        if len(values) != _count(data, at, reading):
            return _row(data, at, reading)[0]
        row = reading.row(values)
    return row


def _pieced(rest: bytes) -> list[Any]:
    """The values of a row, some of which have no text; fewer or more where that is not all."""
    kinds, *pieces = rest.split(b"t\0\0")
    try:
        values: list[Any] = [_NO_TEXT[kind] for kind in kinds]
        for each in pieces:
            end = (each[0] << 8 | each[1]) + 2
            if len(each) < end:
                return []
            values.append(each[2:end].decode())
            if len(each) > end:
                values += [_NO_TEXT[kind] for kind in each[end:]]
    except (IndexError, KeyError, UnicodeDecodeError):
        return []
    return values


#: Kinds of columns without a text: null, and unchanged.
_NO_TEXT = {0x6E: None, 0x75: UNCHANGED}


def _texts(wanted: Sequence[bool]) -> re.Pattern[bytes]:
    """A row of so many texts, and of nothing else; the last and those ``wanted`` are groups."""
    if not wanted:
        return re.compile(b"(?!)")
    columns = [rb"t\0\0..([^\0]*)" if each else rb"t\0\0..[^\0]*" for each in wanted[:-1]]
    head = re.escape(_U16.pack(len(wanted)))
    return re.compile(head + b"".join(columns) + rb"t\0\0..([^\0]*)\Z", re.DOTALL)


def value_of(raw: bytes, convert: Convert) -> Any:
    """The plain value of a column's text; ``raw`` itself where that is not UTF-8."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    return text if convert is None else convert(text)


def _relation(data: bytes) -> Relation:
    number = _U32.unpack_from(data, 1)[0]
    namespace, at = _text(data, 5)
    name, at = _text(data, at)
    count = _U16.unpack_from(data, at + 1)[0]
    at += 3
    columns, types, identity = [], [], []
    for _ in range(count):
        in_identity = data[at] & 1
        column, at = _text(data, at + 1)
        types.append(_COLUMN.unpack_from(data, at))
        at += _COLUMN.size
        columns.append(column)
        if in_identity:
            identity.append(column)
    return Relation(number, namespace, name, tuple(columns), tuple(types), frozenset(identity))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1
