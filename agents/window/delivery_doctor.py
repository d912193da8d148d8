"""What ``levelsync doctor`` finds where a window delivers to: a broker, and tables."""

import asyncio
import uuid
from collections.abc import Mapping

import psycopg

from agents.base.errors import LevelsyncError
from agents.base.findings import Finding, ok, warning, wrong
from agents.base.mqtt_address import place_of
from agents.base.window import LOOPBACK, MqttOut, SqlOut
from agents.window.mqtt_out import address_of, shown_at
from agents.window.mqtt_publisher import Post, Publisher
from agents.window.rights import sight_of
from agents.window.sql_out import connected
from agents.window.sql_out import shown_at as table_at
from agents.window.sql_table import Table
from contracts.model import Contract

#: Seconds for a message to come back.
_PATIENCE = 3.0


async def examine_mqtt(table: MqttOut) -> list[Finding]:
    """Is the broker there, does it let us in, may we publish and read below the prefix, and does it
    retain? One message is published at ``<prefix>/doctor``, and not retained."""
    about, found = shown_at(table), list[Finding]()
    host, _, tls = place_of(table.url)
    topic = f"{table.prefix}/doctor"
    word = uuid.uuid4().hex.encode()
    try:
        address = address_of(table, f"levelsync_doctor_{word[:8].decode()}", 5)
        async with Publisher(address, Post(topic, b"", False)) as session:
            found.append(ok(about, "answers with MQTT 5, lets us in, and retains"))
            await session.listen(topic)
            await session.tell([Post(topic, word, False)])
            found.append(ok(topic, "may be published"))
            found.append(await _came_back(session, topic, word))
            if room := getattr(session.granted, "MaximumPacketSize", 0):
                found.append(ok(about, f"takes messages of up to {room} bytes"))
    except LevelsyncError as error:
        said = str(error.facts.get("said", ""))
        found.append(
            wrong(
                about,
                f"{error.message}{f': {said}' if said else ''}",
                str(error.facts.get("do", "Start the broker, or mend the line.")),
            )
        )
    if not tls and host not in LOOPBACK:
        found.append(
            warning(
                about,
                "password and records cross the network as they are",
                "Have the broker speak TLS, and name it `mqtts://`.",
            )
        )
    return found


async def _came_back(session: Publisher, topic: str, word: bytes) -> Finding:
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                while session.waiting:
                    if session.take().payload == word:
                        return ok(topic, "may be read")
                session.check()
                session.news.clear()
                await session.news.wait()
    except TimeoutError:
        return wrong(
            topic,
            "what we publish may not be read by us, so all is told again whenever we connect",
            f"Allow this user to read and write `{topic.rpartition('/')[0]}/#`.",
        )


async def examine_sql(settings: SqlOut, contracts: Mapping[str, Contract]) -> list[Finding]:
    """Is the server there, does it let us in, and is the table as it has to be? Changes nothing."""
    about = table_at(settings)
    contract = contracts.get(settings.contract)
    if contract is None:
        return [
            warning(
                about,
                "not looked at, since its contract is not installed here",
                "Run this where it is; the agent waits until it is published.",
            )
        ]
    try:
        connection = await connected(settings.dsn, "levelsync doctor")
    except LevelsyncError as error:
        said = str(error.facts.get("said", ""))
        return [
            wrong(
                about,
                f"{error.message}{f': {said}' if said else ''}",
                str(error.facts.get("do", "Start the server, or mend the line or the login.")),
            )
        ]
    try:
        table = Table(connection, settings, sight_of(settings, "").contract(contract))
        found = [wrong(about, each.what, each.do) for each in await table.misfits()]
        if not found and await table.strange():
            found.append(
                wrong(about, "There are rows in it that did not come from here", table.taking())
            )
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        return [wrong(about, said, "See the log of the server.")]
    finally:
        await connection.close()
    return found or [ok(about, "is there and fits, or will be made; the rights are right")]
