"""What PostgreSQL's types are as plain values: the same from the copy and from either plugin.

Values come as the text that PostgreSQL writes (see :data:`PLAINLY`), and most are left so: a contract
reads numbers, dates and true or false from text, and text loses no digit. What is not its own text:

==================== ==========================================================================
boolean              true or false
bytea                base64
json, jsonb, hstore  what stands in it
arrays               a list, nested as they are, of what their elements become
timestamptz          RFC 3339 in UTC, ``2024-05-01T02:00:00Z``
timestamp            RFC 3339 with the offset that the source's ``timezone`` had at that moment
timetz               ``10:00:00+08:00``
interval             ISO 8601, ``P1Y2DT3H``
money                the number, ``-1234.50``
character(n)         without the blanks that fill it up, which SQL gives no meaning
==================== ==========================================================================

Domains are what they are made over; enums, ranges, composites and everything else are text. What a
contract cannot hold (infinity, a year before Christ or beyond 9999) stays as PostgreSQL writes it, so
that the contract's check refuses it by path and rule. Text that is not valid UTF-8, from a database
without an encoding, stays ``bytes``, which no contract takes.
"""

import base64
import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

#: From the text that PostgreSQL writes to a plain value; never raises, None where the text is it.
Convert = Callable[[str], Any] | None

#: How a session must write values for the converters here.
PLAINLY = (
    "client_encoding = 'UTF8'",
    "datestyle = 'ISO'",
    "timezone = 'UTC'",
    "intervalstyle = 'iso_8601'",
    "bytea_output = 'hex'",
    "lc_monetary = 'C'",
    "extra_float_digits = 1",
)
#: The zone of a ``timestamp`` without one, unless the source says another.
CHINA = "Asia/Shanghai"

#: The types of some OIDs, and all they are made of: a row for :meth:`Types.take`.
LOOK_UP = """
WITH RECURSIVE kinds AS (
    SELECT oid::int8, typname, typdelim::text, format_type(oid, NULL) AS name,
           CASE WHEN typtype = 'd' THEN typbasetype::int8 ELSE 0 END AS base,
           CASE WHEN typinput = 'array_in'::regproc THEN typelem::int8 ELSE 0 END AS item
    FROM pg_type
), wanted AS (
    SELECT * FROM kinds WHERE oid = ANY (%s::int8[])
    UNION
    SELECT kinds.* FROM wanted JOIN kinds ON kinds.oid IN (wanted.base, wanted.item)
)
SELECT oid, typname, name, base, item, typdelim FROM wanted
"""


class Type(NamedTuple):
    """``family`` is what its plain values are: ``integer``, ``number``, ``boolean``, ``text`` (of
    any kind), ``word`` (text of PostgreSQL's own making), ``date``, ``moment``, ``bytes``, ``json``,
    ``map``, ``array``; ``item`` is the type of an array's elements."""

    name: str
    family: str
    convert: Convert = None
    item: "Type | None" = None


class _Connection(Protocol):
    async def execute(self, query: Any, params: Any = None) -> Any: ...


class Types:
    """The types of one database; those of the server itself are known from the start.

    ``timezone`` is where the clocks stand by which a ``timestamp`` without zone was written.
    """

    def __init__(self, timezone: str = CHINA) -> None:
        self._known = {
            oid: Type(name, family, _CONVERT.get(name))
            for family, types in _FAMILIES.items()
            for oid, name in types.items()
        }
        local = "timestamp without time zone"
        self._known[1114] = Type(local, "moment", _local(ZoneInfo(timezone)))

    def __getitem__(self, oid: int) -> Type:
        """The type of ``oid``; one that was never learned of is text."""
        return self._known.get(oid) or Type(f"type {oid}", "word")

    def unknown(self, oids: Iterable[int]) -> list[int]:
        """Those of ``oids`` that are still to be learned of."""
        return sorted(set(oids) - self._known.keys())

    async def learn(self, connection: _Connection, oids: Iterable[int]) -> None:
        """Look up the types of ``oids``. Raises psycopg.Error."""
        if wanted := self.unknown(oids):
            self.take(await (await connection.execute(LOOK_UP, (wanted,))).fetchall())

    def take(self, rows: Iterable[Sequence[Any]]) -> None:
        """Learn from rows of :data:`LOOK_UP`."""
        found = {row[0]: row for row in rows}

        def type_of(oid: int) -> Type:
            if oid in self._known or oid not in found:
                return self[oid]
            _, plain, name, base, item, delimiter = found[oid]
            if base:
                made = type_of(base)._replace(name=name)
            elif item:
                inside = type_of(item)
                made = Type(name, "array", array(inside.convert, delimiter), inside)
            elif plain == "hstore":
                made = Type(name, "map", _hstore)
            else:
                made = Type(name, "text" if plain == "citext" else "word")
            self._known[oid] = made
            return made

        for oid in found:
            type_of(oid)


# ---- values ----------------------------------------------------------------------------------


def array(convert: Convert, delimiter: str = ",") -> Callable[[str], Any]:
    """How an array's text becomes a list, of lists where it has more dimensions."""
    token = re.compile(rf'"((?:[^"\\]|\\.)*)"|([^"{{}}{re.escape(delimiter)}]+)|([{{}}])', re.S)

    def item(text: str) -> Any:
        return text if convert is None else convert(text)

    def items(text: str) -> Any:
        start = text.find("{")
        if start < 0:
            return text
        open_: list[list[Any]] = [[]]
        for quoted, bare, brace in token.findall(text, start):
            if brace == "{":
                open_.append([])
            elif brace:
                done = open_.pop()
                open_[-1].append(done)
            elif bare:
                open_[-1].append(None if bare == "NULL" else item(bare))
            else:
                open_[-1].append(item(_unescaped(quoted)))
        return open_[0][0]

    return items


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.S) if "\\" in text else text


_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)', re.S)


def _hstore(text: str) -> dict[str, str | None]:
    return {
        _unescaped(pair[1]): None if pair[2] is None else _unescaped(pair[2])
        for pair in _PAIR.finditer(text)
    }


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text  # numbers beyond a double, lone surrogates


def _bytes(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()


def _instant(text: str) -> str:
    return f"{text[:-3].replace(' ', 'T', 1)}Z" if text.endswith("+00") else text


def _local(zone: ZoneInfo) -> Callable[[str], str]:
    def moment(text: str) -> str:
        try:
            found = datetime.datetime.fromisoformat(text).replace(tzinfo=zone)
            told = found.isoformat()
            if len(told) - told.rindex(":") == 3 and told[-6] in "+-":
                return told
            # Local mean time, before there were zones, is off by seconds, which RFC 3339 cannot say.
            return found.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() + "Z"
        except (ValueError, OverflowError):
            return text

    return moment


def _time(text: str) -> str:
    return f"{text}:00" if text[-3] in "+-" else text


def _money(text: str) -> str:
    return text.replace("$", "").replace(",", "")


def _unfilled(text: str) -> str:
    return text.rstrip(" ")


_CONVERT: dict[str, Callable[[str], Any]] = {
    "boolean": lambda text: text in ("t", "true"),
    "bytea": _bytes,
    "json": _json,
    "jsonb": _json,
    "timestamp with time zone": _instant,
    "time with time zone": _time,
    "money": _money,
    "character": _unfilled,
}

#: The server's own types, by family and OID (``pg_type.dat``).
_FAMILIES: dict[str, dict[int, str]] = {
    "boolean": {16: "boolean"},
    "integer": {20: "bigint", 21: "smallint", 23: "integer", 26: "oid"},
    "number": {700: "real", 701: "double precision", 790: "money", 1700: "numeric"},
    "text": {19: "name", 25: "text", 1042: "character", 1043: "character varying"},
    "date": {1082: "date"},
    "moment": {1184: "timestamp with time zone"},
    "bytes": {17: "bytea"},
    "json": {114: "json", 3802: "jsonb"},
    "word": {
        18: '"char"',
        142: "xml",
        650: "cidr",
        829: "macaddr",
        869: "inet",
        1083: "time without time zone",
        1186: "interval",
        1266: "time with time zone",
        1560: "bit",
        1562: "bit varying",
        2950: "uuid",
    },
}
