"""The guide to devices and programs from its first line to its last, with a real broker of each kind."""

import asyncio
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, NotInstalled, free_ports
from tests.guide import ROOT, Reader
from tests.live.mosquitto import Mosquitto

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "devices-and-http.md").read_text(encoding="utf-8")


def test_the_guide_to_devices_and_programs_works_as_it_stands(
    tmp_path: Path, unshared: KafkaServer
) -> None:
    agent, door, port = free_ports(3)
    mosquitto = Mosquitto(tmp_path / "mqtt", port)
    instead = {
        "127.0.0.1:9092": unshared.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{agent}",
        "127.0.0.1:8690": f"127.0.0.1:{door}",
        "127.0.0.1:1883": f"127.0.0.1:{port}",
        "-p 1883": f"-p {port}",
    }
    tmp_path.chmod(0o755)
    try:
        asyncio.run(mosquitto.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    try:
        with Reader(tmp_path / "reader", instead) as reader:
            reader.follow(TEXT)
    finally:
        asyncio.run(mosquitto.stop())
