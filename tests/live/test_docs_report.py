"""The guides to the scorecard and to changes, from their first line to their last, on a real Kafka."""

from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, free_ports
from tests.guide import ROOT, Reader

pytestmark = [pytest.mark.live, pytest.mark.slow]

PORTS = ("8638", "8639", "8640", "8690", "8739")


@pytest.mark.parametrize("name", ["report.md", "change.md"])
def test_the_guide_works_as_it_stands(name: str, tmp_path: Path, unshared: KafkaServer) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    instead = {
        f"127.0.0.1:{port}": f"127.0.0.1:{free}"
        for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True)
    }
    with Reader(tmp_path, {"127.0.0.1:9092": unshared.bootstrap, **instead}) as reader:
        reader.follow(text)
