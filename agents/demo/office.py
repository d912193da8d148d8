"""The offices' own databases: their tables as they are, and clerks who keep writing to them."""

import asyncio
import itertools
import time
import tomllib
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
import psycopg
from psycopg import sql

from agents.demo.people import COUNTY, ELSEWHERE, People
from agents.demo.servers import node_examples
from contracts.divisions import divisions
from contracts.subjects.resident import ResidentV2

PROVINCE_TABLES = """
CREATE SCHEMA civil;
CREATE TABLE civil.division (
    code text PRIMARY KEY, name text NOT NULL, level text NOT NULL, parent_code text
);
CREATE SCHEMA population;
CREATE TABLE population.resident (
    citizen_no char(18) PRIMARY KEY,
    full_name text NOT NULL, sex char(1), birth_date date, nation char(2), street_code text,
    address text, household char(9), relation text, status text, phone text,
    registered_at timestamptz, clerk text DEFAULT 'demo'
);
CREATE INDEX ON population.resident (street_code);
"""

COUNTY_TABLES = """
CREATE SCHEMA licence;
CREATE TABLE licence.certificate (
    cert_no char(18) PRIMARY KEY, company_name text NOT NULL, kind text, legal_person text,
    legal_person_id char(18), registered_capital numeric(14, 2), established date,
    valid_until date, business_scope text, street_code text, address text, status text,
    issued_at timestamptz
);
"""

#: Seconds the clerks wait for their database.
AWAY = 60.0
RESIDENT = "population.resident"
LICENCE = "licence.certificate"

Kind = Literal["insert", "update", "delete", "move", "wrong"]


class Write(msgspec.Struct, frozen=True):
    """One committed write of the journal. ``version`` is the phone number or capital written, which
    no other write has; empty for a deletion. ``was`` and ``street`` are the scope before and after."""

    kind: Kind
    key: str
    version: str
    was: str
    street: str
    rule: str = ""


class Clerks:
    """Write to the province's residents and the county's licences, and keep a journal."""

    def __init__(self, people: People, province: str, county: str) -> None:
        self.people = people
        self._province = province
        self._county = county
        self.residents: dict[str, str] = {}
        self.licences: list[str] = []
        self.journal: list[Write] = []
        self.licence_journal: list[Write] = []

    async def furnish(self, residents: int, licences: int) -> None:
        """Make the tables, with the province's real divisions and so many rows."""
        async with await psycopg.AsyncConnection.connect(self._province) as connection:
            await connection.execute(PROVINCE_TABLES)
            async with connection.cursor().copy("COPY civil.division FROM STDIN") as copy:
                for found in divisions("37"):
                    await copy.write_row(found)
            rows = [
                self.people.resident(COUNTY if number % 2 else self._elsewhere())
                for number in range(residents)
            ]
            unique = {row["citizen_no"]: row for row in rows}
            self.residents = {key: row["street_code"] for key, row in unique.items()}
            cursor = connection.cursor()
            await cursor.executemany(_insert(RESIDENT, rows[0]), list(unique.values()))
        async with await psycopg.AsyncConnection.connect(self._county) as connection:
            await connection.execute(COUNTY_TABLES)
            for _ in range(licences):
                row = self.people.licence()
                await connection.execute(_insert(LICENCE, row), row)
                self.licences.append(row["cert_no"])

    def _elsewhere(self) -> str:
        return self.people.chance.choice(ELSEWHERE)

    async def write_residents(self, rate: float, most: int | None, wrong: int = 0) -> None:
        """``rate`` writes a second, each its own transaction; ``most`` in all, ``wrong`` of them bad."""
        wrong_at = {(number + 1) * (most or 0) // (wrong + 1) for number in range(wrong)}
        async with _Desk(self._province, _LOOK) as desk:
            async for number in _paced(rate, most):
                if (planned := self._planned(bad=number in wrong_at)) is not None:
                    await desk.write(planned)
                    self._note(planned.write)

    def _planned(self, *, bad: bool) -> "_Planned | None":
        """A write at random; None where its key is taken."""
        chance, people = self.people.chance, self.people
        kind: Kind = (
            "wrong"
            if bad
            else chance.choices(("insert", "update", "delete", "move"), weights=(30, 45, 8, 17))[0]
        )
        if bad or kind == "insert":
            row, rule = people.wrong_resident() if bad else (people.resident(COUNTY), "")
            if not bad and chance.random() < 0.35:
                row["street_code"] = people.street(self._elsewhere())
            key = row["citizen_no"]
            if key in self.residents:
                return None
            write = Write(kind, key, row["phone"], "", row["street_code"], rule)
            return _Planned(write, _insert(RESIDENT, row), row)
        key = chance.choice(list(self.residents))
        was = self.residents[key]
        if kind == "delete":
            statement = sql.SQL("DELETE FROM population.resident WHERE citizen_no = %(key)s")
            return _Planned(Write(kind, key, "", was, ""), statement, {"key": key})
        street = was
        if kind == "move":
            there = was.startswith(COUNTY)
            street = people.street(self._elsewhere() if there else COUNTY)
        phone = people.phone()
        return _Planned(Write(kind, key, phone, was, street), _UPDATE,
                        {"phone": phone, "street": street, "key": key})  # fmt: skip

    def _note(self, write: Write) -> None:
        """``write`` is committed."""
        self.journal.append(write)
        if write.kind == "delete":
            del self.residents[write.key]
        elif write.kind != "wrong":
            self.residents[write.key] = write.street

    async def write_licences(self, rate: float, most: int | None) -> None:
        """New and changed licences in the county."""
        async with _Desk(self._county, _LOOK_LICENCE) as desk:
            async for _ in _paced(rate, most):
                planned = self._planned_licence()
                await desk.write(planned)
                self.licence_journal.append(planned.write)
                if planned.write.kind == "insert":
                    self.licences.append(planned.write.key)

    def _planned_licence(self) -> "_Planned":
        chance = self.people.chance
        capital = f"{10_000 + self.people.serial()}.00"
        if chance.random() < 0.5 and self.licences:
            key = chance.choice(self.licences)
            write = Write("update", key, capital, COUNTY, COUNTY)
            return _Planned(write, _UPDATE_LICENCE, {"capital": capital, "key": key})
        row = self.people.licence()
        row["registered_capital"] = capital
        write = Write("insert", row["cert_no"], capital, "", COUNTY)
        return _Planned(write, _insert(LICENCE, row), row)

    async def rows(self, table: str, scope: str) -> list[dict[str, Any]]:
        """The province's rows of ``table`` whose street lies in ``scope``, as they are now."""
        async with await psycopg.AsyncConnection.connect(
            self._province, row_factory=psycopg.rows.dict_row
        ) as connection:
            cursor = await connection.execute(
                sql.SQL("SELECT * FROM {} WHERE street_code LIKE %s").format(
                    sql.Identifier(*table.split("."))
                ),
                (scope + "%",),
            )
            return await cursor.fetchall()


_UPDATE = sql.SQL(
    "UPDATE population.resident SET phone = %(phone)s, street_code = %(street)s"
    " WHERE citizen_no = %(key)s"
)


#: What stands under a key.
_LOOK = sql.SQL("SELECT phone FROM population.resident WHERE citizen_no = %s")
_UPDATE_LICENCE = sql.SQL(
    "UPDATE licence.certificate SET registered_capital = %(capital)s WHERE cert_no = %(key)s"
)
_LOOK_LICENCE = sql.SQL(
    "SELECT registered_capital::text FROM licence.certificate WHERE cert_no = %s"
)


class _Planned(msgspec.Struct, frozen=True):
    """A write, and how it is made."""

    write: Write
    statement: sql.SQL | sql.Composed
    values: dict[str, Any]


class _Desk:
    """A connection that comes back when the server was away, and knows then what it has committed."""

    def __init__(self, dsn: str, look: sql.SQL) -> None:
        self._dsn, self._look = dsn, look
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def __aenter__(self) -> "_Desk":
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection:
            await self._connection.close()

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn, autocommit=True, connect_timeout=2
            )
        return self._connection

    async def write(self, planned: _Planned) -> None:
        """Have it committed once. Raises psycopg.Error when the server is away for too long."""
        again, until = False, time.monotonic() + AWAY
        while True:
            try:
                connection = await self._open()
                if not (again and await self._stands(connection, planned.write)):
                    await connection.execute(planned.statement, planned.values)
                return
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                again = True
                await asyncio.sleep(0.1)

    async def _stands(self, connection: psycopg.AsyncConnection[Any], write: Write) -> bool:
        """Was it committed, though nobody heard of it?"""
        cursor = await connection.execute(self._look, (write.key,))
        row = await cursor.fetchone()
        return (
            row is None if write.kind == "delete" else row is not None and row[0] == write.version
        )


async def _paced(rate: float, most: int | None) -> AsyncIterator[int]:
    """1, 2, 3 … up to ``most``, ``rate`` of them a second."""
    began = time.monotonic()
    for number in itertools.count(1) if most is None else range(1, most + 1):
        yield number
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))


def resident_columns() -> dict[str, str]:
    """Field and column of ``population.resident``, as the province's node file says."""
    text = (node_examples() / "37.toml").read_text(encoding="utf-8")
    (named,) = [
        source["columns"] for source in tomllib.loads(text)["source"] if source["table"] == RESIDENT
    ]
    return {field: named.get(field, field) for field in ResidentV2.__struct_fields__}


def _insert(table: str, row: dict[str, Any]) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    values = sql.SQL(", ").join(map(sql.Placeholder, row))
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")), names, values
    )
