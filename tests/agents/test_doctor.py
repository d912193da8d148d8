"""What the doctor says of a disk, a certificate, a clock and a topic, without any server."""

import datetime
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agents.cli import doctor_clusters
from agents.cli.doctor_clusters import _compared, examine_clock
from agents.cli.doctor_kafka import days_left
from agents.cli.doctor_machine import examine_room
from agents.kafka.cluster import Cluster
from agents.kafka.topics import data_topic
from contracts.subjects import CONTRACTS

KAFKA = Cluster("broker:9092", 3)


@pytest.mark.parametrize(
    ("free", "judgement"),
    [(100 * 1024**2, "wrong"), (2 * 1024**3, "warning"), (50 * 1024**3, "ok")],
)
def test_room_is_judged_by_what_is_left(
    free: int, judgement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=100 * 1024**3, used=0, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = examine_room(tmp_path / "not" / "there")
    assert found.judgement == judgement
    assert ("du -xh" in found.do) == (judgement != "ok")


@pytest.mark.parametrize(("days", "judgement"), [(-3, "wrong"), (12, "warning"), (200, "ok")])
def test_a_certificate_says_its_days_left(days: int, judgement: str, tmp_path: Path) -> None:
    file = tmp_path / "window.pem"
    file.write_bytes(
        certificate(datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days))
    )
    found = days_left("window.certificate", file)
    assert found.judgement == judgement
    assert re.search(f"{abs(days)}|{abs(days) - 1}", found.found)
    file.write_text("no certificate")
    assert days_left("window.certificate", file).judgement == "wrong"


def certificate(ends: datetime.date) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "window")])
    last = datetime.datetime.combine(ends, datetime.time(12), datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(last - datetime.timedelta(days=400))
        .not_valid_after(last)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


class Telling:
    """A cluster whose clock shows ``offset`` seconds more than ours."""

    offset: float | None = 0.0

    def __init__(self, _: Any) -> None:
        pass

    async def __aenter__(self) -> "Telling":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def clock(self) -> float | None:
        return None if self.offset is None else time.time() + self.offset


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Telling]]:
    monkeypatch.setattr(doctor_clusters, "Connection", Telling)
    yield Telling
    Telling.offset = 0.0


@pytest.mark.parametrize(
    ("offset", "judgement", "says"),
    [(0.0, "ok", "within"), (-0.2, "ok", "within"), (2.0, "warning", "behind"), (-2.0, "warning", "ahead"),
     (90.0, "wrong", "behind"), (None, "warning", "not known")],
)  # fmt: skip
async def test_clocks_are_compared(
    offset: float | None, judgement: str, says: str, telling: type[Telling]
) -> None:
    telling.offset = offset
    (found,) = await examine_clock(KAFKA)
    assert found.judgement == judgement
    assert says in found.found
    assert found.judgement == "ok" or "`" in found.do


def test_a_topic_is_compared_with_what_the_agent_would_make() -> None:
    topic = data_topic(CONTRACTS["resident.v2"], "resident.v2")
    right = {**topic.config, "min.insync.replicas": "2"}
    assert [each.judgement for each in _compared(topic, right, 3, KAFKA)] == ["ok"]
    more = {**right, "max.message.bytes": "99999999", "min.compaction.lag.ms": "999999999"}
    assert [each.judgement for each in _compared(topic, more, 3, KAFKA)] == ["ok"], (
        "more is no harm"
    )
    (wrong,) = _compared(topic, {**right, "cleanup.policy": "delete"}, 3, KAFKA)
    assert wrong.judgement == "wrong"
    assert "--entity-name resident.v2 --add-config cleanup.policy=[compact]" in wrong.do
    (less,) = _compared(topic, {**right, "max.message.bytes": "1048588"}, 3, KAFKA)
    assert less.judgement == "warning"
    (few,) = _compared(topic, right, 1, KAFKA)
    assert "asks for 3" in few.found
    (alone,) = _compared(topic, {**right, "min.insync.replicas": "1"}, 3, KAFKA)
    assert "min.insync.replicas=2" in alone.do


def test_a_journal_that_forgets_too_soon_is_wrong() -> None:
    topic = data_topic(CONTRACTS["access.v1"], "access.v1")
    (found,) = _compared(topic, {**topic.config, "retention.ms": "604800000"}, 1, Cluster("b:1"))
    assert found.judgement == "wrong"
    assert "retention.ms" in found.do
    assert [
        each.judgement
        for each in _compared(topic, {**topic.config, "retention.ms": "-1"}, 1, Cluster("b:1"))
    ] == ["ok"]
