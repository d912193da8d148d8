"""The guide to devices and programs from its first line to its last, with a real broker of each kind."""

import asyncio
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, NotInstalled, free_ports
from tests.guide import ROOT, Reader
from tests.live.mosquitto import Mosquitto

pytestmark = pytest.mark.live

TEXT = (ROOT / "docs" / "devices-and-http.md").read_text(encoding="utf-8")


def test_the_guide_to_devices_and_programs_works_as_it_stands(tmp_path: Path) -> None:
    broker, agent, door, port = free_ports(4)
    kafka, mosquitto = KafkaServer(tmp_path / "kafka", broker), Mosquitto(tmp_path / "mqtt", port)
    instead = {
        "127.0.0.1:9092": kafka.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{agent}",
        "127.0.0.1:8690": f"127.0.0.1:{door}",
        "127.0.0.1:1883": f"127.0.0.1:{port}",
        "-p 1883": f"-p {port}",
    }
    tmp_path.chmod(0o755)
    try:
        asyncio.run(kafka.start())
        asyncio.run(mosquitto.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    try:
        with Reader(tmp_path / "reader", instead) as reader:
            reader.follow(TEXT)
    except AssertionError as error:
        log = tmp_path / "reader" / "agent.log"
        error.add_note(log.read_text(encoding="utf-8")[-3000:] if log.exists() else "no agent yet")
        raise
    finally:
        asyncio.run(mosquitto.stop())
        asyncio.run(kafka.stop())
