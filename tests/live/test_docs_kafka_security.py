"""The guide to Kafka's security from its first line to its last, on a broker with the settings it gives."""

import re
from pathlib import Path

import pytest

from tests.guide import ROOT, Reader
from tests.live.secure import SecureKafka

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "kafka-security.md").read_text(encoding="utf-8")


def test_the_guide_works_as_it_stands(tmp_path: Path, secure: SecureKafka) -> None:
    secure.authority.issue("3701", "3701")
    (tmp_path / "keys").symlink_to(secure.ca.parent)
    instead = {
        "127.0.0.1:9094": f"127.0.0.1:{secure.login}",
        "127.0.0.1:9095": f"127.0.0.1:{secure.mutual}",
    }
    with Reader(tmp_path, instead) as reader:
        reader.follow(TEXT)


def test_the_settings_of_brokers_are_those_that_were_tried(secure: SecureKafka) -> None:
    """But for addresses, files and what the tests have more of."""
    settings = dict(
        line.split("=", 1)
        for line in (secure.folder / "server.properties").read_text().splitlines()
    )
    shown = re.findall(r"^([a-z][a-z0-9.-]+)=(.*)$", TEXT, re.MULTILINE)
    names = {name for name, _ in shown}
    assert len(names) >= 18
    assert names <= settings.keys()
    for name, value in shown:
        if re.search("class|jaas|type|client.auth|super|auto", name):
            assert settings[name] == value, name
