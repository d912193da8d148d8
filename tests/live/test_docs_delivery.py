"""The guide to what a window delivers, from its first line to its last, with real servers."""

import asyncio
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, NotInstalled, PostgresServer, free_ports
from tests.guide import ROOT, Reader
from tests.live.mosquitto import Mosquitto

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "window-delivery.md").read_text(encoding="utf-8")


def test_the_guide_to_what_a_window_delivers_works_as_it_stands(
    servers: Path, postgres: PostgresServer, tmp_path: Path
) -> None:
    broker, agent, door, window, port = free_ports(5)
    kafka = KafkaServer(servers / "kafka-of-delivery", broker)
    mosquitto = Mosquitto(tmp_path / "mqtt", port)
    instead = {
        "127.0.0.1:9092": kafka.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{agent}",
        "127.0.0.1:8690": f"127.0.0.1:{door}",
        "127.0.0.1:8700": f"127.0.0.1:{window}",
        "127.0.0.1:1883": f"127.0.0.1:{port}",
        "127.0.0.1:5432": f"127.0.0.1:{postgres.port}",
        "-p 1883": f"-p {port}",
        "port=5432": f"port={postgres.port}",
    }
    try:
        asyncio.run(kafka.start())
        asyncio.run(mosquitto.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    asyncio.run(postgres.create("desk"))
    try:
        with Reader(tmp_path / "reader", instead) as reader:
            reader.follow(TEXT)
    finally:
        asyncio.run(mosquitto.stop())
        asyncio.run(kafka.stop())
