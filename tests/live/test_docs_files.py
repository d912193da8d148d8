"""The guide to files from its first line to its last, on a real Kafka."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, NotInstalled, free_ports
from tests.guide import ROOT, Reader

pytestmark = pytest.mark.live

TEXT = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")


@pytest.fixture
def broker(servers: Path) -> Iterator[KafkaServer]:
    """One where nobody else has divisions."""
    server = KafkaServer(servers / "kafka-of-files", free_ports(1)[0])
    try:
        asyncio.run(server.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    yield server
    asyncio.run(server.stop())


def test_the_guide_to_files_works_as_it_stands(tmp_path: Path, broker: KafkaServer) -> None:
    instead = {
        "127.0.0.1:9092": broker.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{free_ports(1)[0]}",
    }
    try:
        with Reader(tmp_path, instead) as reader:
            reader.follow(TEXT)
    except AssertionError as error:
        log = tmp_path / "agent.log"
        error.add_note(log.read_text(encoding="utf-8")[-3000:] if log.exists() else "no agent yet")
        raise
