"""From a real MQTT broker to a real topic: acknowledged only after Kafka has it, and told once."""

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

from agents.base import mqtt_session
from agents.base.errors import Unavailable
from agents.base.findings import Finding
from agents.base.mqtt_address import Address
from agents.base.mqtt_session import Session
from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.mqtt import MqttTopics
from agents.capture.published import Published
from agents.capture.source import Place
from agents.demo.servers import KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from agents.kafka.letters import read_letters
from agents.kafka.wire import Connection
from contracts.envelope import header
from tests.live.capture import DIVISION
from tests.live.mosquitto import Mosquitto, started
from tests.live.mqtt import capture
from tests.live.streams import ids, read_all, until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A broker without passwords."""
    server = Mosquitto(tmp_path / "mosquitto", free_ports(1)[0])
    await started(server)
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def running(part: Intake) -> AsyncIterator[Intake]:
    """The capture runs meanwhile, and has its subscription."""
    stop = asyncio.Event()
    task = asyncio.create_task(supervise(part, stop), name="capture")
    try:
        await until_true(lambda: part.hop.state in ("running", "stopped"))
        yield part
    finally:
        stop.set()
        await task


def name(record: Any) -> str:
    return str(msgspec.json.decode(record.value)["name"])


def text(number: int, **more: Any) -> bytes:
    return msgspec.json.encode({"name": f"v{number}", "level": "township", **more})


async def grown(cluster: Cluster, topic: str, by: int) -> None:
    """Wait until so many more records are in ``topic``."""
    async with asyncio.timeout(40), Connection(cluster) as connection:
        parts = [(topic, number) for number in range(DIVISION.partitions)]

        async def total() -> int:
            return sum(end for _, end in (await connection.ends(parts)).values())

        before = await total()
        while await total() < before + by:
            await asyncio.sleep(0.05)


class Devices:
    """Publishes with QoS 1 until told to stop; ``sent`` are those the broker has answered for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0
        self.sent: set[str] = set()
        self.stop = False

    async def run(self) -> None:
        chance = random.Random(7)
        while not self.stop:
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                async with aiomqtt.Client("127.0.0.1", self._port, timeout=2) as client:
                    while not self.stop:
                        self._number += 1
                        code = 370_102_000 + chance.randrange(40)
                        await client.publish(f"divisions/{code}", text(self._number), qos=1)
                        self.sent.add(f"v{self._number}")
            await asyncio.sleep(0.05)


async def test_nothing_is_lost_or_told_twice_when_agent_and_broker_die(
    kafka: KafkaServer, broker: Mosquitto, tmp_path: Path
) -> None:
    """Red when ``MqttSource._told`` is left empty on open (repeats), and when messages are acknowledged
    as they come (losses): tried."""
    chance = random.Random(5)
    subject, cluster = "mqtt_killed", Cluster(kafka.bootstrap)
    # The session begins with the first subscription; what is published before it is not meant for us.
    async with running(capture(kafka.bootstrap, broker.port, subject, tmp_path / "state")):
        pass
    devices = Devices(broker.port)
    publishing = asyncio.create_task(devices.run(), name="devices")
    for turn in range(6):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.live.mqtt",
            kafka.bootstrap, str(broker.port), subject, str(tmp_path / "state"),
        )  # fmt: skip
        # In the middle of it, however long the start takes.
        await grown(cluster, f"{subject}.v1", 150)
        await asyncio.sleep(chance.uniform(0, 0.3))
        if turn in (1, 4):
            await broker.stop()
            await broker.start()
            await asyncio.sleep(chance.uniform(0.3, 1.0))
        process.kill()
        await process.wait()
    devices.stop = True
    await publishing
    assert len(devices.sent) > 500
    async with running(capture(kafka.bootstrap, broker.port, subject, tmp_path / "state")) as part:
        async with asyncio.timeout(20):
            while True:
                records, _ = await read_all(cluster, part.hop.contract)
                if devices.sent <= {name(record) for record in records}:
                    break
                await asyncio.sleep(0.3)
    told = [name(record) for record in (await read_all(cluster, part.hop.contract))[0]]
    assert len(told) == len(set(told)), "told twice"
    latest: dict[bytes | None, bytes] = {}
    for record in records:
        sequence = header(record.headers, "ce_sequence") or b""
        assert sequence > latest.get(record.key, b"")
        latest[record.key] = sequence


async def test_what_cannot_be_read_is_a_dead_letter_with_its_topic(
    kafka: KafkaServer, broker: Mosquitto, tmp_path: Path
) -> None:
    part = capture(kafka.bootstrap, broker.port, "mqtt_wrong", tmp_path)
    async with running(part), aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish("divisions/370102001", b"{not json", qos=1)
        await client.publish("divisions/370102002", text(1, code="370102009"), qos=1)
        await client.publish("divisions/370102003", text(2, colour="red"), qos=1)
        await client.publish("divisions/370102004", b"[1]", qos=1)
        await client.publish("divisions/370102005", text(3), qos=1)
        await client.publish("divisions/370102005", b"", qos=1)
        await until_true(lambda: part.hop.events == 2 and part.hop.rejected == 4)
    letters = await read_letters(Cluster(kafka.bootstrap), [part.hop.contract])
    found = [(letter["origin"], letter["path"], letter["rule"]) for letter in letters]
    assert found == [
        ("divisions/370102001", "$", "json"),
        ("divisions/370102002", "$.code", "topic-mismatch"),
        ("divisions/370102003", "$.colour", "unknown-field"),
        ("divisions/370102004", "$", "type"),
    ]
    assert letters[0]["raw"]
    assert letters[0]["key"] == "370102001"
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert [record.value is None for record in records] == [False, True]


async def test_an_id_of_the_devices_own_is_told_once_whatever_the_broker_does(
    kafka: KafkaServer, broker: Mosquitto, tmp_path: Path
) -> None:
    """MessagePack, names of the device's own, old protocol; and the broker loses all it knew.

    Red when ``MqttSource._enter`` does not ask the ledger: tried.
    """
    settings = {
        "version": 4,
        "payload": "msgpack",
        "columns": {"name": "title"},
        "id_field": "n",
        "time_field": "at",
        "extra": "drop",
    }

    def said(number: int) -> bytes:
        at = 1_700_000_000_000 + number
        record = {"title": f"v{number}", "level": "township", "n": number, "at": at, "volt": 3.3}
        return msgspec.msgpack.encode(record)

    part = capture(kafka.bootstrap, broker.port, "mqtt_ids", tmp_path / "a", **settings)
    async with running(part), aiomqtt.Client("127.0.0.1", broker.port) as client:
        for number in (1, 1, 2, 1):
            await client.publish("divisions/370102001", said(number), qos=1)
        await until_true(lambda: part.hop.gauges["mqtt_repeated_messages"] == 2)
    await broker.kill()
    for file in broker.folder.glob("*.db*"):
        file.unlink()
    await broker.start()
    # The ledger's folder is lost too: the topic knows the ids.
    again = capture(kafka.bootstrap, broker.port, "mqtt_ids", tmp_path / "b", **settings)
    async with running(again), aiomqtt.Client("127.0.0.1", broker.port) as client:
        assert "no session" in again.hop.warnings["mqtt_session"]
        for number in (1, 2, 3):
            await client.publish("divisions/370102001", said(number), qos=1)
        await until_true(lambda: again.hop.events == 1)
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert [name(record) for record in records] == ["v1", "v2", "v3"]
    assert ids(records) == [f"levelsync_37_mqtt_ids_v1:{number}" for number in (1, 2, 3)]
    times = [(header(record.headers, "ce_time") or b"").decode() for record in records]
    assert times[0] == "2023-11-14T22:13:20.001000Z"


async def test_a_flood_waits_at_the_broker_and_nothing_is_dropped(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when ``Session._pause`` does nothing: tried. Without flow control, as with MQTT 3."""
    monkeypatch.setattr(mqtt_session, "MOST", 200)
    address = Address("127.0.0.1", broker.port, "flood", 4, None, None, None, 3600, 500)
    async with Session(address) as session, aiomqtt.Client("127.0.0.1", broker.port) as client:
        assert await session.listen("flood/+") == 1
        for number in range(3_000):
            await client.publish(f"flood/{number % 2}", b"%d" % number, qos=1)
        await until_true(lambda: session.paused)
        assert len(session.waiting) == 200
        await asyncio.sleep(0.5)
        assert len(session.waiting) == 200
        came: list[int] = []
        async with asyncio.timeout(20):
            while len(came) < 3_000:
                while session.waiting:
                    message = session.take()
                    came.append(int(message.payload))
                    session.acknowledge([message])
                await asyncio.sleep(0)
        assert sorted(came) == list(range(3_000))
        answered = session.answered
        assert session.ping()
        await until_true(lambda: session.answered == answered + 1)
    with pytest.raises(Unavailable):
        session.check()


async def test_retained_messages_are_taken_once(
    kafka: KafkaServer, broker: Mosquitto, tmp_path: Path
) -> None:
    """Red when the subscription is made anew on every start with MQTT 3: tried."""
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish("divisions/370102001", text(1), qos=1, retain=True)
        for version in (4, 5):
            for _ in range(2):
                part = capture(
                    kafka.bootstrap, broker.port, f"mqtt_kept{version}", tmp_path, version=version
                )
                async with running(part):
                    await until_true(lambda: part.hop.complete)  # noqa: B023
            records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
            assert [name(record) for record in records] == ["v1"]


async def test_passwords_and_tls_are_what_the_broker_asks_for(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Each that is wrong stops the contract, with the broker's word and what to do."""
    folder, port = tmp_path / "mosquitto", free_ports(1)[0]
    folder.mkdir()
    authority(folder)
    passwords = folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "agent", "right"], check=True)
    server = Mosquitto(
        folder,
        port,
        (
            "allow_anonymous false",
            f"password_file {passwords}",
            f"cafile {folder}/ca.pem",
            f"certfile {folder}/server.pem",
            f"keyfile {folder}/server.key",
        ),
    )
    await started(server)
    try:
        right = {
            "url": f"mqtts://localhost:{port}",
            "ca": f"{folder}/ca.pem",
            "username": "agent",
            "password": "right",
        }
        async with running(capture(kafka.bootstrap, port, "mqtt_tls", tmp_path, **right)) as part:
            assert part.hop.state == "running"
            async with aiomqtt.Client(
                "localhost", port, username="agent", password="right",
                tls_params=aiomqtt.TLSParameters(ca_certs=f"{folder}/ca.pem"),
            ) as client:  # fmt: skip
                for number in range(300):
                    await client.publish("divisions/370102001", text(number), qos=1)
                await until_true(lambda: part.hop.events == 300)
        for wrong, said in (
            ({"password": "wrong"}, "does not let us in"),
            ({"ca": ""}, "not one we trust"),
            ({"url": f"mqtts://127.0.0.1:{port}"}, "not one we trust"),
        ):
            async with running(
                capture(kafka.bootstrap, port, "mqtt_tls", tmp_path, **right | wrong)
            ) as part:
                assert part.hop.state == "stopped"
                assert said in (part.hop.error or "")
                assert "right" not in (part.hop.error or "")
    finally:
        await server.stop()


async def test_doctor_says_what_a_broker_grants(tmp_path: Path) -> None:
    """And whether it threw anything away; a session that is not there afterwards takes no messages."""
    port = free_ports(1)[0]
    # Of what waits for a client that is away it keeps one message, and throws the others away.
    limits = ("allow_anonymous true", "max_queued_messages 1", "sys_interval 1")
    server = Mosquitto(tmp_path / "mosquitto", port, limits)
    await started(server)
    try:
        for _ in range(2):
            found = await found_by_doctor(port, tmp_path)
            assert [each.judgement for each in found] == ["ok", "ok"]
        async with aiomqtt.Client("127.0.0.1", port) as client:
            for number in range(5):
                await client.publish("divisions/370102001", text(number), qos=1)
            await asyncio.sleep(2)
            found = await found_by_doctor(port, tmp_path)
            assert [each.judgement for each in found] == ["ok", "ok"]
            away = Address("127.0.0.1", port, "away", 5, None, None, None, 3600, 500)
            async with Session(away) as session:
                await session.listen("divisions/+")
            for number in range(5):
                await client.publish("divisions/370102001", text(number), qos=1)
            async with asyncio.timeout(10):
                while (await found_by_doctor(port, tmp_path))[-1].judgement != "warning":
                    await asyncio.sleep(0.2)
    finally:
        await server.stop()
    found = await found_by_doctor(port, tmp_path)
    assert [each.judgement for each in found] == ["wrong"]
    assert "does not answer" in found[0].found


async def found_by_doctor(port: int, state: Path, **settings: Any) -> list[Finding]:
    """What ``levelsync doctor`` finds at the broker on ``port``."""
    topics = MqttTopics(
        **{
            "contract": "division.v1",
            "url": f"mqtt://127.0.0.1:{port}",
            "topic": "divisions/{code}",
            **settings,
        }
    )
    place = Place(
        contract=DIVISION,
        node="37",
        state=state,
        requests=Requests(state),
        published=Published(Cluster("127.0.0.1:1"), DIVISION),
        hop=Hop("capture", "division.v1", "", ""),
    )
    return await topics.examine(place)


def authority(folder: Path) -> None:
    """An authority, and a certificate it signed for ``localhost`` alone."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-days", "30", "-subj", "/CN=authority")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr",
            "-subj", "/CN=localhost")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "server.pem", "-days", "30", "-extfile", "names")  # fmt: skip
    for file in folder.iterdir():
        file.chmod(0o644)
