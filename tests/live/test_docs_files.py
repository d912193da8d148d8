"""The guide to files from its first line to its last, on a real Kafka."""

from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, free_ports
from tests.guide import ROOT, Reader

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")


def test_the_guide_to_files_works_as_it_stands(tmp_path: Path, unshared: KafkaServer) -> None:
    instead = {
        "127.0.0.1:9092": unshared.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{free_ports(1)[0]}",
    }
    with Reader(tmp_path, instead) as reader:
        reader.follow(TEXT)
