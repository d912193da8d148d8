"""The guide to corrections from its first line to its last, on a real Kafka."""

from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, free_ports
from agents.window.answer_table import DDL
from tests.guide import ROOT, Reader

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "corrections.md").read_text(encoding="utf-8")


def test_the_guide_to_corrections_works_as_it_stands(tmp_path: Path, unshared: KafkaServer) -> None:
    listen, window = free_ports(2)
    instead = {
        "127.0.0.1:9092": unshared.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{listen}",
        "127.0.0.1:8700": f"127.0.0.1:{window}",
    }
    with Reader(tmp_path, instead) as reader:
        reader.follow(TEXT)


def test_the_guide_shows_the_table_as_the_agent_wants_it() -> None:
    assert DDL.format("desk.correction") in TEXT
