"""The guide to signed streams from its first line to its last, on a real Kafka."""

from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, free_ports
from tests.guide import ROOT, Reader

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "signed-streams.md").read_text(encoding="utf-8")
PORTS = ("8639", "8640", "8740")


def test_the_guide_to_signed_streams_works_as_it_stands(
    tmp_path: Path, unshared: KafkaServer
) -> None:
    instead = {
        f"127.0.0.1:{port}": f"127.0.0.1:{free}"
        for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True)
    }
    with Reader(tmp_path, {"127.0.0.1:9092": unshared.bootstrap, **instead}) as reader:
        reader.follow(TEXT)
