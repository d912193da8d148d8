"""A first contract from a real PostgreSQL table: what the catalogue says, and what rows show."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.errors import SourceMismatch, Unavailable
from agents.capture.postgres_describe import describe
from agents.capture.postgres_setup import Table
from agents.cli import main
from contracts.check import Checker
from contracts.draft.guess import draft
from contracts.draft.sample import ROWS, Column
from contracts.identifiers import citizen_check
from contracts.load import load_contracts
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)

pytestmark = pytest.mark.live

TABLE = """
CREATE SCHEMA office;
CREATE TYPE office.grade AS ENUM ('c', 'a', 'b');
CREATE DOMAIN office.zone AS varchar(12) NOT NULL CHECK (VALUE ~ '^[0-9]+$');
CREATE DOMAIN office.inner_zone AS office.zone;
CREATE TABLE office.permit (
    permit_no varchar(20) PRIMARY KEY,
    holder text NOT NULL,
    sfzh char(18),
    zone office.inner_zone,
    kind text CHECK (kind IN ('shop', 'stall', 'o''clock')),
    grade office.grade,
    fee numeric(10, 2) CHECK (fee >= 0),
    rate numeric,
    seats smallint CHECK (seats > 0 AND seats < 100),
    visits int CHECK (visits >= 0),
    total bigint,
    share double precision,
    open boolean NOT NULL DEFAULT true,
    valid_until date,
    issued_at timestamptz,
    noted timestamp,
    extra jsonb,
    tags text[],
    numbers int[],
    ref uuid,
    plan bytea,
    place point,
    CHECK (valid_until > '2000-01-01' OR NOT open)
);
COMMENT ON TABLE office.permit IS '食品摊点许可';
COMMENT ON COLUMN office.permit.holder IS '持证人姓名';
COMMENT ON COLUMN office.permit.visits IS E'number of "visits"\n# fmt: off';
"""


@pytest.fixture
async def base(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection to a database with ``office.permit`` and three rows in it."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(TABLE.encode())
        for number, place in enumerate(("370102001", "370102002", "370102003")):
            first = f"3701021990030700{number}"
            await connection.execute(
                """
                INSERT INTO office.permit VALUES (
                    %s, '李雷', %s, %s, 'shop', 'a', 12.5, 1.25, 4, 0, 5, 0.5, true, '2030-01-01',
                    '2024-05-01 08:00+08', '2024-05-01 08:00', '{"floor": 2, "shared": false}',
                    '{a,NULL}', '{1,2}', 'f47ac10b-58cc-4372-a567-0e02b2c3d479', 'x', '(1,2)'
                )
                """,
                (f"P{number:04}", first + citizen_check(first), place),
            )
        yield connection


def by_name(columns: tuple[Column, ...]) -> dict[str, Column]:
    return {column.name: column for column in columns}


async def test_types_limits_and_comments_become_shapes(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    found = draft(describe(database, "office.permit"), "permit").contract
    shapes: dict[str, Shape] = {name: found.shape_of(name) for name in found.field_names}
    large = 2**63
    assert shapes == {
        "permit_no": String(min_length=1, max_length=20),
        "holder": String(max_length=200),
        "sfzh": String(format="citizen-number", nullable=True),
        "zone": String(format="division-code"),
        "kind": Enum(values=("o'clock", "shop", "stall"), nullable=True),
        "grade": Enum(values=("a", "b", "c"), nullable=True),
        "fee": Decimal(digits=10, places=2, positive=True, nullable=True),
        "rate": Decimal(digits=7, places=2, nullable=True),
        "seats": Integer(ge=-(2**15), le=2**15 - 1, nullable=True),
        "visits": Integer(ge=0, le=2**31 - 1, nullable=True),
        "total": Integer(ge=-large, le=large - 1, nullable=True),
        "share": Number(nullable=True),
        "open": Boolean(),
        "valid_until": Date(nullable=True),
        "issued_at": DateTime(nullable=True),
        "noted": DateTime(nullable=True),
        "extra": shapes["extra"],
        "tags": Array(items=String(nullable=True), nullable=True),
        "numbers": Array(items=Integer(ge=-(2**31), le=2**31 - 1, nullable=True), nullable=True),
        "ref": String(
            pattern="^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", max_length=36, nullable=True
        ),
        "plan": String(pattern="^[A-Za-z0-9+/=]*$", nullable=True),
        "place": String(max_length=1000, nullable=True),
    }
    assert isinstance(shapes["extra"], Object | Map)
    assert (found.key, found.scope, found.level) == ("permit_no", "zone", "county")
    assert found.title.zh == "食品摊点许可"
    titles = {field.name: field.title for field in found.fields}
    assert titles["holder"].zh == "持证人姓名"
    assert titles["visits"].en == 'number of "visits" # fmt: off'
    assert found.personal == {"holder": "null", "sfzh": "last4"}


async def test_what_the_database_checks_and_a_contract_does_not_is_asked(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    found = draft(describe(database, "office.permit"), "permit")
    asked = {name: " ".join(questions) for name, questions in found.questions.items()}
    assert "seats < 100" in asked["seats"]
    assert "the table checks" in asked["zone"]
    assert "valid_until" in asked["contract.key"]
    assert "without an offset" in asked["noted"]
    assert "which unit" in asked["fee"]
    assert "the table checks" not in asked["visits"]


async def test_rows_as_the_capture_tells_them_fit_the_draft(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    contract = draft(describe(database, "office.permit"), "permit").contract
    columns = {name: name for name in contract.field_names}
    table = Table("office.permit", columns, contract.key, "x")
    await base.execute("SET datestyle = 'ISO'")
    await base.execute("SET timezone = 'UTC'")
    from psycopg import sql

    await table.types.learn(base, [1009, 1007])
    cursor = base.cursor()
    await cursor.execute(table.select(contract.field_names, sql.SQL("")))
    checker = Checker(contract)
    rows = table.rows(cursor, contract.field_names)
    assert [checker.check(row).key for row in rows] == ["P0000", "P0001", "P0002"]


async def test_only_a_bounded_number_of_rows_is_read(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute("CREATE TABLE office.many AS SELECT g AS id FROM generate_series(1, 9000) g")
    found = describe(database, "office.many")
    assert (found.rows, found.whole) == (ROWS, False)
    assert "no primary key" in found.questions[0]


async def test_a_composite_key_and_a_view_are_asked_about(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute("CREATE TABLE office.two (a text, b text, PRIMARY KEY (a, b))")
    await base.execute("CREATE VIEW office.seen AS SELECT * FROM office.two")
    assert "(a, b)" in describe(database, "office.two").questions[0]
    assert "view" in describe(database, "office.seen").questions[0]
    assert describe(database, "office.two").rows == 0


async def test_hostile_names_and_values_stay_text(
    base: psycopg.AsyncConnection[Any], database: str, tmp_path: Path
) -> None:
    await base.execute(
        'CREATE TABLE office."it""s; DROP TABLE x" ("a""b" text, "编号" text PRIMARY KEY, "\\" text)'.encode()
    )
    await base.execute(b'INSERT INTO office."it""s; DROP TABLE x" VALUES (\'"""\', \'x\', \'\\\')')
    out = tmp_path / "x.py"
    call = [
        "contract",
        "new",
        "odd",
        "--dsn",
        database,
        "--table",
        'office.it"s; DROP TABLE x',
        "--out",
        str(out),
    ]
    assert main(call) == 0
    (contract,) = load_contracts(str(out))
    assert contract.key == "number"


async def test_the_command_writes_a_contract_and_keeps_the_password(
    base: psycopg.AsyncConnection[Any],
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = psycopg.conninfo.conninfo_to_dict(database)
    address = (
        f"postgresql://{where['user']}:s3cret@{where['host']}:{where['port']}/{where['dbname']}"
        "?application_name=x&table=office.permit"
    )
    out = tmp_path / "permit.py"
    assert main(["contract", "new", "permit", "--from", address, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert 'table = "office.permit"' in said
    assert "s3cret" not in said + out.read_text(encoding="utf-8")
    assert load_contracts(str(out))[0].name == "permit.v1"
    assert main(["contract", "new", "permit", "--from", address, "--out", str(out)]) == 1
    assert "Expected no file yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "kind", "said"),
    [
        ("permit", SourceMismatch, "schema.table"),
        ("office.none", SourceMismatch, "office.permit"),
        ("none.none", SourceMismatch, "found none of that name"),
    ],
)
async def test_a_table_that_is_not_there_is_answered_with_those_that_are(
    base: psycopg.AsyncConnection[Any], database: str, table: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        describe(database, table)
    assert said in str(caught.value)


async def test_a_user_without_rights_and_a_server_that_is_away_are_told_apart(
    base: psycopg.AsyncConnection[Any], database: str
) -> None:
    await base.execute("CREATE ROLE nobody_at_all LOGIN")
    await base.execute("GRANT USAGE ON SCHEMA office TO nobody_at_all")
    with pytest.raises(SourceMismatch, match="may not read"):
        describe(database.replace("user=postgres", "user=nobody_at_all"), "office.permit")
    with pytest.raises(Unavailable, match="does not answer"):
        describe("host=127.0.0.1 port=1 password=s3cret", "office.permit")
    with pytest.raises(SourceMismatch) as caught:
        describe("postgresql://u:s3cret@h:no-port/x y", "office.permit")
    assert "s3cret" not in str(caught.value)
