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
        async with await psycopg.AsyncConnection.connect(
            self._province, autocommit=True
        ) as connection:
            async for number in _paced(rate, most):
                await self._write(connection, bad=number in wrong_at)

    async def _write(self, connection: psycopg.AsyncConnection[Any], *, bad: bool) -> None:
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
                return
            await connection.execute(_insert(RESIDENT, row), row)
            if not bad:
                self.residents[key] = row["street_code"]
            self.journal.append(Write(kind, key, row["phone"], "", row["street_code"], rule))
            return
        key = chance.choice(list(self.residents))
        was = self.residents[key]
        if kind == "delete":
            await connection.execute(
                "DELETE FROM population.resident WHERE citizen_no = %s", (key,)
            )
            del self.residents[key]
            self.journal.append(Write(kind, key, "", was, ""))
            return
        street = was
        if kind == "move":
            there = was.startswith(COUNTY)
            street = people.street(self._elsewhere() if there else COUNTY)
        phone = people.phone()
        await connection.execute(
            "UPDATE population.resident SET phone = %s, street_code = %s WHERE citizen_no = %s",
            (phone, street, key),
        )
        self.residents[key] = street
        self.journal.append(Write(kind, key, phone, was, street))

    async def write_licences(self, rate: float, most: int | None) -> None:
        """New and changed licences in the county."""
        chance = self.people.chance
        async with await psycopg.AsyncConnection.connect(
            self._county, autocommit=True
        ) as connection:
            async for _ in _paced(rate, most):
                if chance.random() < 0.5 and self.licences:
                    key = chance.choice(self.licences)
                    capital = f"{10_000 + self.people.serial()}.00"
                    await connection.execute(
                        "UPDATE licence.certificate SET registered_capital = %s WHERE cert_no = %s",
                        (capital, key),
                    )
                    self.licence_journal.append(Write("update", key, capital, COUNTY, COUNTY))
                else:
                    row = self.people.licence()
                    row["registered_capital"] = f"{10_000 + self.people.serial()}.00"
                    await connection.execute(_insert(LICENCE, row), row)
                    key = row["cert_no"]
                    self.licences.append(key)
                    self.licence_journal.append(
                        Write("insert", key, row["registered_capital"], "", COUNTY)
                    )

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
