"""`levelsync doctor` says what keeps a window from delivering, and how it is mended."""

from pathlib import Path

import psycopg
import pytest

from agents.base.findings import Finding
from agents.base.window import MqttOut, SqlOut
from agents.demo.servers import NotInstalled, free_ports
from agents.window.delivery_doctor import examine_mqtt, examine_sql
from tests.live.mosquitto import OPEN, Mosquitto
from tests.live.out import NAME, PERMIT

pytestmark = pytest.mark.live
CONTRACTS = {NAME: PERMIT}


def said(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.judgement, each.found) for each in found]


async def test_the_broker_is_looked_at(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    table = MqttOut(url=f"mqtt://127.0.0.1:{port}", contracts=(NAME,), purpose="screens",
                    username="window", password="secret-word")  # fmt: skip
    (away,) = await examine_mqtt(table)
    assert (away.judgement, "does not answer" in away.found) == ("wrong", True)
    server = Mosquitto(tmp_path, port)
    for settings, expected in (
        (OPEN, [("ok", "answers with MQTT 5, lets us in, and retains"), ("ok", "may be published"), ("ok", "may be read")]),
        ((*OPEN, "retain_available false"), [("wrong", "The MQTT broker keeps no retained messages")]),
        (("allow_anonymous false",), [("wrong", "The MQTT broker does not let us in: Not authorized")]),
    ):  # fmt: skip
        server._settings = settings
        try:
            await server.start()
        except NotInstalled as error:
            pytest.skip(str(error))
        try:
            found = await examine_mqtt(table)
        finally:
            await server.stop()
        assert said(found) == expected
        assert all(each.do for each in found if each.judgement == "wrong")
        assert "secret-word" not in str(found)
    (tmp_path / "acl").write_text("user window\ntopic write levelsync/#\n")
    server._settings = (*OPEN, f"acl_file {tmp_path}/acl")
    await server.start()
    try:
        found = await examine_mqtt(table)
    finally:
        await server.stop()
    assert "Allow this user to read and write `levelsync/#`." in [each.do for each in found]


async def test_a_table_is_looked_at_and_nothing_changed(database: str) -> None:
    settings = SqlOut(dsn=database, contract=NAME, table="app.permit", purpose="counter")
    (missing,) = await examine_sql(settings, CONTRACTS)
    assert missing.found == "There is no table app.permit"
    assert missing.do.startswith('CREATE TABLE "app"."permit" (')
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as base:
        await base.execute("CREATE SCHEMA app")
        await base.execute(missing.do.encode())
        (fine,) = await examine_sql(settings, CONTRACTS)
        assert fine.judgement == "ok"
        await base.execute(
            "INSERT INTO app.permit (number, holder, division_code, floor, since, issued_at)"
            " VALUES ('theirs', 'x', '37', 1, '2026-01-01', '2026-01-01')"
        )
        (strange,) = await examine_sql(settings, CONTRACTS)
        assert "did not come from here" in strange.found
        assert strange.do.startswith('TRUNCATE "app"."permit";')
        tables = await base.execute("SELECT relname FROM pg_class WHERE relname LIKE 'levelsync%'")
        assert await tables.fetchall() == []


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("host=127.0.0.1 port=1 user=u password=secret-word dbname=d", "does not let us in"),
        ("postgresql://u:secret-word@[/d", "cannot be read"),
        ("secret-word", "cannot be read"),
    ],
)
async def test_a_server_that_is_away_or_a_wrong_dsn_says_no_secret(dsn: str, expected: str) -> None:
    settings = SqlOut(dsn=dsn, contract=NAME, table="app.permit", purpose="counter")
    (found,) = await examine_sql(settings, CONTRACTS)
    assert found.judgement == "wrong"
    assert expected in found.found
    assert "secret-word" not in str(found)
