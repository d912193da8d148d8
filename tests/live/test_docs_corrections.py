"""The guide to corrections from its first line to its last, on a real Kafka."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, NotInstalled, free_ports
from agents.window.answer_table import DDL
from tests.guide import ROOT, Reader

pytestmark = pytest.mark.live

TEXT = (ROOT / "docs" / "corrections.md").read_text(encoding="utf-8")


@pytest.fixture
def broker(servers: Path) -> Iterator[KafkaServer]:
    """One where nobody else has divisions."""
    server = KafkaServer(servers / "kafka-of-corrections", free_ports(1)[0])
    try:
        asyncio.run(server.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    yield server
    asyncio.run(server.stop())


def test_the_guide_to_corrections_works_as_it_stands(tmp_path: Path, broker: KafkaServer) -> None:
    listen, window = free_ports(2)
    instead = {
        "127.0.0.1:9092": broker.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{listen}",
        "127.0.0.1:8700": f"127.0.0.1:{window}",
    }
    try:
        with Reader(tmp_path, instead) as reader:
            reader.follow(TEXT)
    except AssertionError as error:
        log = tmp_path / "agent.log"
        error.add_note(log.read_text(encoding="utf-8")[-3000:] if log.exists() else "no agent yet")
        raise


def test_the_guide_shows_the_table_as_the_agent_wants_it() -> None:
    assert DDL.format("desk.correction") in TEXT
