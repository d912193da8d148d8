"""The guide to leaves from its first line to its last, on the county's real Kafka."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, NotInstalled, free_ports
from tests.guide import ROOT, Reader

pytestmark = pytest.mark.live

TEXT = (ROOT / "docs" / "leaf.md").read_text(encoding="utf-8")
PORTS = ("8640", "8740", "8690", "8639", "8739")


@pytest.fixture
def broker(servers: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(servers / "kafka-of-leaves", free_ports(1)[0])
    try:
        asyncio.run(server.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    yield server
    asyncio.run(server.stop())


def test_the_guide_to_leaves_works_as_it_stands(tmp_path: Path, broker: KafkaServer) -> None:
    instead = {
        f"127.0.0.1:{port}": f"127.0.0.1:{free}"
        for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True)
    }
    try:
        with Reader(tmp_path, {"127.0.0.1:9092": broker.bootstrap, **instead}) as reader:
            reader.follow(TEXT)
    except AssertionError as error:
        for name in ("leaf.log", "county.log"):
            log = tmp_path / name
            error.add_note(log.read_text(encoding="utf-8")[-3000:] if log.exists() else name)
        raise
