"""The least a user needs: doctor says what is missing with the SQL that gives it, and then it works."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agents.base.errors import SourceMismatch
from agents.capture.postgres import PostgresSource
from agents.capture.postgres_slot import drop_slot
from agents.cli import main
from agents.demo.servers import KafkaServer
from contracts.subjects import CONTRACTS
from tests.live.reading import Reading
from tests.live.test_doctor import doctor, node_file

pytestmark = pytest.mark.live

Office = psycopg.AsyncConnection[Any]
NAME = "levelsync_37_division_v1"
COLUMNS = {field: field for field in CONTRACTS["division.v1"].field_names}


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A connection of the owner of a table ``civil.division`` with more columns than we may see."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "CREATE SCHEMA civil; CREATE TABLE civil.division (code text PRIMARY KEY, name text,"
            " level text, parent text, secret text);"
            "INSERT INTO civil.division VALUES ('37', '山东省', 'province', NULL, 's')"
        )
        yield connection


@pytest.fixture
async def low(office: Office, database: str) -> AsyncIterator[str]:
    """Connection string of a user with no right but to connect."""
    user = "low_" + database.rpartition("=")[2]
    await office.execute(f"CREATE ROLE {user} LOGIN".encode())
    yield database.replace("user=postgres", f"user={user}")
    await office.execute(f"DROP OWNED BY {user}; DROP ROLE {user}".encode())


def source_table(dsn: str, more: str = "") -> str:
    return (
        f'[[source]]\nkind = "postgres"\ncontract = "division.v1"\ndsn = "{dsn}"\n'
        f'table = "civil.division"\n{more}'
    )


async def test_what_doctor_says_is_enough_and_no_more(
    kafka: KafkaServer,
    office: Office,
    low: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The user ends up with REPLICATION, USAGE and SELECT on four columns: no CREATE, owning nothing."""
    path = node_file(tmp_path, kafka.bootstrap, source_table(low))
    seen = []
    for _ in range(6):
        code, found = await doctor(path, capsys)
        wrong = {about: each for about, each in found.items() if each["judgement"] == "wrong"}
        if not wrong:
            break
        seen += list(wrong)
        for each in wrong.values():
            for query in re.findall(
                r"(?:ALTER ROLE [^;]*?REPLICATION|GRANT [^;]*;|CREATE PUB[^;]*;)", each["do"]
            )[:1]:
                await office.execute(query.encode())
    assert code == 0
    assert seen == [
        "right: replication",
        "right: schema",
        "right: columns",
        f"publication {NAME}",
    ]
    assert found["right: columns"]["found"] == "SELECT on the 4 that the contract has"

    source = PostgresSource(dsn=low, table="civil.division", columns=COLUMNS, key="code", name=NAME)
    reading = Reading(source)
    await reading.open(None, frozenset())
    try:
        await reading.quiet()
        await office.execute("UPDATE civil.division SET name = '鲁'")
        await reading.until(lambda: len(reading.told) == 2)
        code, found = await doctor(path, capsys)
        assert code == 0
        assert "in use" in found[f"slot {NAME}"]["found"]
        assert found["log held back"]["judgement"] == "ok"
    finally:
        await reading.close()
        await asyncio.sleep(0.3)
        await drop_slot(office, NAME)
    assert [each.fields["name"] for each in reading.told] == ["山东省", "鲁"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with await psycopg.AsyncConnection.connect(low) as theirs:
            await theirs.execute("SELECT secret FROM civil.division")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "CREATE PUBLICATION {} FOR TABLE civil.division WITH (publish = 'insert')",
            "publish update, delete, truncate",
        ),
        ("CREATE PUBLICATION {} FOR TABLE civil.division WHERE (code <> '37')", "leaves out rows"),
        ("CREATE PUBLICATION {} FOR TABLE civil.division (code, name)", "columns: level, parent"),
        ("CREATE TABLE civil.other (); CREATE PUBLICATION {} FOR TABLE civil.other", "civil.other"),
    ],
)
async def test_a_publication_that_leaves_something_out_is_refused(
    office: Office, database: str, statement: str, says: str
) -> None:
    """Red when only the table's name is compared: tried."""
    await office.execute(statement.format(NAME).encode())
    source = PostgresSource(
        dsn=database, table="civil.division", columns=COLUMNS, key="code", name=NAME
    )
    async with source:
        with pytest.raises(SourceMismatch, match=says):
            await source.open(None, frozenset())
    found = await (
        await office.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", (NAME,))
    ).fetchall()
    assert not found, "nothing was made"


async def test_doctor_says_what_does_not_fit_and_changes_nothing(
    kafka: KafkaServer,
    office: Office,
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await office.execute("ALTER TABLE civil.division DROP CONSTRAINT division_pkey")
    await office.execute("ALTER TABLE civil.division REPLICA IDENTITY FULL")
    path = node_file(tmp_path, kafka.bootstrap, source_table(database))
    _, found = await doctor(path, capsys)
    assert "CREATE INDEX CONCURRENTLY" in found["key's index"]["do"]
    await office.execute("ALTER TABLE civil.division RENAME name TO called")
    code, found = await doctor(path, capsys)
    assert code == 1
    assert "missing=['name']" in found["table"]["found"]
    made = await (
        await office.execute(
            "SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM"
            " pg_replication_slots WHERE database = current_database())"
        )
    ).fetchone()
    assert made == (0, 0)
    secret = "host=127.0.0.1 port=1 password=geheim"
    path = node_file(tmp_path, kafka.bootstrap, source_table(secret))
    assert await asyncio.to_thread(main, ["doctor", str(path)]) == 1
    assert "geheim" not in capsys.readouterr().out


def test_a_wrong_connection_string_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """libpq's own message quotes it. Red when that is passed on: tried."""
    path = node_file(tmp_path, "127.0.0.1:9092", source_table("geheim words"))
    assert main(["check", "--json", str(path)]) == 1
    said = json.loads(capsys.readouterr().out)["error"]
    assert "source[0].dsn" in said
    assert "geheim" not in said
