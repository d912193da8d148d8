"""The pgoutput plugin's messages, protocol version 1 in text mode: bytes → values. No I/O.

Follows "Logical Replication Message Formats" of the PostgreSQL manual. LSNs are integers, times
microseconds since 1970 UTC.
"""

import base64
import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

#: Microseconds from 1970 to PostgreSQL's epoch, 2000-01-01.
EPOCH = 946_684_800_000_000

#: The new row does not tell this column's value, because it is large and did not change.
UNCHANGED = msgspec.UNSET

Row = list[Any]


class Begin(NamedTuple):
    commit_lsn: int
    time: int
    xid: int


class Commit(NamedTuple):
    commit_lsn: int
    end_lsn: int


class Relation(NamedTuple):
    """A table as it is from here on; ``columns`` in the order of its rows."""

    id: int
    table: str
    columns: tuple[str, ...]
    types: tuple[int, ...]


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
    relations: tuple[int, ...]


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


def decode(data: bytes, relations: dict[int, Relation]) -> Decoded | None:
    """One message; None for kinds that carry nothing for us (types, origins).

    ``relations`` holds the tables told of so far and is kept up to date. Raises ValueError for
    bytes that are no pgoutput message.
    """
    kind = data[0:1]
    try:
        if kind == b"I":
            relation = _U32.unpack_from(data, 1)[0]
            return Insert(relation, _last_row(data, 6, relations[relation]))
        if kind == b"U":
            return _update(data, relations)
        if kind == b"D":
            relation = _U32.unpack_from(data, 1)[0]
            return Delete(relation, _row(data, 6, relations[relation])[0])
        if kind == b"B":
            lsn, time, xid = _BEGIN.unpack_from(data, 1)
            return Begin(lsn, time + EPOCH, xid)
        if kind == b"C":
            _, lsn, end, _ = _COMMIT.unpack_from(data, 1)
            return Commit(lsn, end)
        if kind == b"R":
            found = _relation(data)
            relations[found.id] = found
            return found
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


def _update(data: bytes, relations: dict[int, Relation]) -> Update:
    relation = _U32.unpack_from(data, 1)[0]
    table = relations[relation]
    mark, old, at = data[5:6], None, 6
    if mark in (b"K", b"O"):
        old, at = _row(data, 6, table)
        at += 1
    return Update(relation, old, mark == b"O", _last_row(data, at, table))


def _row(data: bytes, at: int, table: Relation) -> tuple[Row, int]:
    """The row at ``at``, and where it ends."""
    count = _U16.unpack_from(data, at)[0]
    at += 2
    row: Row = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == 0x74:  # t
            length = _U32.unpack_from(data, at)[0]
            at += 4
            raw = data[at : at + length]
            if len(raw) != length:
                raise IndexError("the message is cut")
            at += length
            row.append(raw.decode())
        elif kind == 0x6E:  # n
            row.append(None)
        elif kind == 0x75:  # u
            row.append(UNCHANGED)
        else:
            raise IndexError(f"column kind {kind}")
    return _converted(row, table), at


def _last_row(data: bytes, at: int, table: Relation) -> Row:
    """The row with which a message ends.

    A text never holds a zero byte, and each column begins with ``t`` and its length in four bytes. So
    between two ``t\\0\\0\\0`` stand a length below 256 and its text; where that holds for all of
    them, nothing else can be meant, and it is found in a few steps instead of some for each column.
    Between two ``t\\0\\0`` it is so for lengths below 65536.
    """
    count = _U16.unpack_from(data, at)[0]
    rest = data[at + 2 :]
    found: list[bytes] = []
    # The first piece is what stands before the first column: nothing, in both.
    pieces = rest.split(b"t\0\0\0")
    try:
        if len(pieces) == count + 1:
            found = [each[1:] for each in pieces[1:] if len(each) == each[0] + 1]
        if len(found) != count and len(pieces := rest.split(b"t\0\0")) == count + 1:
            found = [each[2:] for each in pieces[1:] if len(each) == each[0] * 256 + each[1] + 2]
    except IndexError:
        return _row(data, at, table)[0]
    if not count or len(found) != count or pieces[0]:
        return _row(data, at, table)[0]
    row: Row = b"\0".join(found).decode().split("\0")
    return _converted(row, table)


def _converted(row: Row, table: Relation) -> Row:
    for index, convert in _conversions(table.types):
        value = row[index]
        if value.__class__ is str:
            row[index] = convert(value)
    return row


@functools.lru_cache(64)
def _conversions(types: tuple[int, ...]) -> list[tuple[int, Callable[[str], Any]]]:
    """The columns whose values are not their own text, and what they are made into."""
    return [(index, CONVERT[type_]) for index, type_ in enumerate(types) if type_ in CONVERT]


def _relation(data: bytes) -> Relation:
    number = _U32.unpack_from(data, 1)[0]
    namespace, at = _text(data, 5)
    name, at = _text(data, at)
    count = _U16.unpack_from(data, at + 1)[0]
    at += 3
    columns, types = [], []
    for _ in range(count):
        column, at = _text(data, at + 1)
        type_, _ = _COLUMN.unpack_from(data, at)
        at += _COLUMN.size
        columns.append(column)
        types.append(type_)
    return Relation(number, f"{namespace}.{name}", tuple(columns), tuple(types))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _array(text: str) -> Any:
    """A one-dimensional array of text as a list; anything else stays text."""
    if not text.startswith("{") or text.startswith("{{"):
        return text
    items: list[str | None] = []
    item, quoted, at = "", False, 1
    in_quotes = False
    while at < len(text):
        character = text[at]
        if in_quotes:
            if character == "\\":
                at += 1
                item += text[at]
            elif character == '"':
                in_quotes = False
            else:
                item += character
        elif character == '"':
            in_quotes = quoted = True
        elif character in ",}":
            if item or quoted:
                items.append(None if item == "NULL" and not quoted else item)
            item, quoted = "", False
        else:
            item += character
        at += 1
    return items


#: What is not its own text, by type OID (``pg_type.dat``). The session speaks ISO dates and UTC.
CONVERT: dict[int, Callable[[str], Any]] = {
    16: "t".__eq__,  # bool
    17: lambda text: base64.b64encode(bytes.fromhex(text[2:])).decode(),  # bytea
    114: msgspec.json.decode,  # json
    3802: msgspec.json.decode,  # jsonb
    1184: lambda text: text[:-3] + "Z" if text.endswith("+00") else text,  # timestamptz
    1000: _array,  # bool[]
    1005: _array,  # int2[]
    1007: _array,  # int4[]
    1009: _array,  # text[]
    1015: _array,  # varchar[]
    1016: _array,  # int8[]
    1231: _array,  # numeric[]
    2951: _array,  # uuid[]
}
