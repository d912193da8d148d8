"""The table the capture bench fills, and how a copy of it is compared row by row.

A row has the twelve fields of ``resident.v2`` and 285 bytes of text as PostgreSQL writes it; its contract
holds for every one, check digit and rules included. A copy is compared by a digest that does not depend on
order: every row, brought back to the text PostgreSQL itself gives for it, is hashed, and the hashes
are added up. A row that is missing, told twice or different anywhere changes the sum.
"""

import datetime
import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from contracts.identifiers import citizen_check
from contracts.subjects import CONTRACTS

CONTRACT = CONTRACTS["resident.v2"]
FIELDS = CONTRACT.field_names
TABLE = "population.resident"
#: Bytes of a row's values together.
SIZE = 285

MAKE = (
    "CREATE SCHEMA population",
    f"CREATE TABLE {TABLE} ("
    + ", ".join(
        f"{field} {kind}"
        for field, kind in zip(
            FIELDS,
            ["text PRIMARY KEY", *["text"] * 2, "date", *["text"] * 6, "timestamptz", "text"],
            strict=True,
        )
    )
    + ")",
)

_FIRST = datetime.date(1935, 1, 1)
_DAYS = 32_500
_NAMES = ("李建国", "欧阳静", "张伟", "王秀英", "刘洋", "陈思远", "赵敏", "买买提江·吐尔逊")
_STREETS = ("370102001", "370102002", "370103005", "370112009", "370202003")
_RELATIONS = ("head", "spouse", "child", "parent", "other")
_ROAD = "泉城路历山东街小区号楼单元室花园经十文化解放阁甸柳新村山大南"
_EPOCH = datetime.date(1970, 1, 1)


def row(number: int) -> tuple[str, ...]:
    """The values of resident ``number``, different for every one below 32 million."""
    order, day = divmod(number * 7_919 % (_DAYS * 1000), _DAYS)
    born = _date(day)
    first = f"370102{born[:4]}{born[5:7]}{born[8:]}{order:03}"
    values = [
        first + citizen_check(first),
        _NAMES[number % len(_NAMES)],
        "21"[order % 2],
        born,
        "01" if number % 10 else "03",
        _STREETS[number % len(_STREETS)],
        "",
        f"{number % 1_000_000_000:09}",
        _RELATIONS[number % len(_RELATIONS)],
        "active",
        f"2026-{number % 12 + 1:02}-{number % 28 + 1:02} {number % 24:02}:{number % 60:02}:30+00",
        f"13{number % 1_000_000_000:09}",
    ]
    left = SIZE - sum(len(value.encode()) for value in values)
    at = number % len(_ROAD)
    # Three bytes each, and digits to fill up.
    road = (_ROAD[at:] + _ROAD * 3)[: left // 3 - 2]
    values[6] = f"{road}{number % 10**9:09}"[: len(road) + left - 3 * len(road)]
    return tuple(values)


@functools.lru_cache(_DAYS)
def _date(day: int) -> str:
    return (_FIRST + datetime.timedelta(days=day)).isoformat()


def blocks(numbers: range) -> Iterator[bytes]:
    """Rows in the text form of COPY, some thousands to a block."""
    for start in range(0, len(numbers), 5_000):
        yield "".join(
            "\t".join(row(each)) + "\n" for each in numbers[start : start + 5_000]
        ).encode()


class Sum:
    """A digest of rows in any order."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, line: bytes) -> None:
        """Enter a row: its values in PostgreSQL's text form, tabs between them."""
        self.count += 1
        self._sum += int.from_bytes(hashlib.blake2b(line, digest_size=16).digest())

    @property
    def value(self) -> tuple[int, int]:
        """Number and digest: equal where the rows are."""
        return self.count, self._sum % (1 << 128)


def of_lines(lines: Iterable[bytes]) -> Sum:
    """The digest of a table as COPY gives it, in pieces that end anywhere."""
    found, rest = Sum(), b""
    for piece in lines:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            found.add(line)
    return found


def line_of(record: dict[str, Any]) -> bytes:
    """A record as either side tells it, brought back to PostgreSQL's text.

    Debezium's dates are days since 1970; both write moments as RFC 3339, with more or fewer
    digits.
    """
    born = record["birth_date"]
    if isinstance(born, int):
        record["birth_date"] = (_EPOCH + datetime.timedelta(days=born)).isoformat()
    moment = record["registered_at"]
    record["registered_at"] = (
        f"{moment[:10]} {moment[11:19]}+00" if moment.endswith("Z") else moment
    )
    return "\t".join(
        ["\\N" if record[field] is None else record[field] for field in FIELDS]
    ).encode()


decode = msgspec.json.decode
