"""The SQL of docs/postgresql.md is run as it stands, and is all that an agent's user needs."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from agents.base.requests import Requests
from agents.base.status import Hop
from agents.capture.outbox import DDL, OutboxTable
from agents.capture.postgres_settings import PostgresTable
from agents.capture.published import Published
from agents.capture.source import Place
from agents.demo.servers import PostgresServer, free_ports
from agents.kafka.cluster import Cluster
from contracts.subjects import CONTRACTS
from tests.guide import ROOT

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "postgresql.md").read_text(encoding="utf-8")
LICENCE = CONTRACTS["business_licence.v1"]


def place(folder: Path) -> Place:
    hop = Hop("capture", LICENCE.name, "", "")
    published = Published(Cluster("127.0.0.1:1"), LICENCE)
    return Place(LICENCE, "370102", folder, Requests(folder), published, hop)


@pytest.fixture
async def untouched(servers: Path) -> AsyncIterator[PostgresServer]:
    """A server where nobody has the slots and the user that the page names."""
    server = PostgresServer(servers / "untouched", free_ports(1)[0], "untouched")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def test_the_sql_of_the_page_is_what_a_user_needs(
    untouched: PostgresServer, tmp_path: Path
) -> None:
    dsn = await untouched.create("licence_of_the_page")
    blocks = re.findall(r"```sql\n(.*?)```", TEXT, flags=re.DOTALL)
    columns = sorted(LICENCE.field_names)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as base:
        rest = ", ".join(
            f"{name} text" for name in columns if name not in ("credit_code", "company_name")
        )
        await base.execute(
            "CREATE SCHEMA licence; CREATE TABLE licence.certificate"
            f" (cert_no text PRIMARY KEY, company_name text, {rest})".encode()
        )
        for block in blocks:
            await base.execute(block.encode())
        names = ", ".join(name for name in columns if name not in ("credit_code", "company_name"))
        await base.execute(f"GRANT SELECT ({names}) ON licence.certificate TO levelsync".encode())
    theirs = dsn.replace("user=postgres", "user=levelsync")
    table = PostgresTable(
        contract=LICENCE.name,
        dsn=theirs,
        table="licence.certificate",
        columns={"credit_code": "cert_no"},
    )
    found = await table.examine(place(tmp_path))
    assert [each for each in found if each.judgement == "wrong"] == []
    assert any("publication" in each.about and each.found == "as it must be" for each in found)
    outbox = OutboxTable(contract=LICENCE.name, dsn=theirs)
    found = await outbox.examine(place(tmp_path))
    wrong = [each.about for each in found if each.judgement == "wrong"]
    assert wrong == ["publication levelsync_370102_business_licence_v1"], "one name, two sources"
    assert DDL.format("levelsync.outbox") in TEXT
