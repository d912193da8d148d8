"""The guide's three Kafka clients on what agents write: repeats, deletions, fences, compaction, a gap."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from agents.demo.servers import KafkaServer, kafka_libs
from agents.kafka.cluster import Cluster
from tests.live.streams import Writer, event
from tests.live.test_docs_window import EXAMPLES, MODULES, needed

pytestmark = [pytest.mark.live, pytest.mark.slow]

#: Reads a topic to its end: exit code and all it says.
Client = Callable[[Path, str, str], subprocess.CompletedProcess[str]]


def ran(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def python(folder: Path, bootstrap: str, topic: str) -> "subprocess.CompletedProcess[str]":
    return ran(folder, sys.executable, "kafka_follow.py", bootstrap, topic)


def java(folder: Path, bootstrap: str, topic: str) -> "subprocess.CompletedProcess[str]":
    classes = f"{kafka_libs()}/*"
    return ran(folder, "java", "-cp", classes, "KafkaFollow.java", bootstrap, topic)


def node(folder: Path, bootstrap: str, topic: str) -> "subprocess.CompletedProcess[str]":
    needed((MODULES / "kafkajs").is_dir(), "kafkajs")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(MODULES)
    return ran(folder, "node", "kafka_follow.mjs", bootstrap, topic)


@pytest.fixture(params=[python, java, node], ids=lambda each: each.__name__)
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.param
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples"))


async def written(cluster: Cluster, topic: str) -> None:
    """Sixty keys, each changed three times; repeats, a stale change, ten deletions; two writers, the
    second fencing the first."""
    async with Writer(cluster, topic) as writer:
        events = [event(number, f"k{number % 60}") for number in range(180)]
        await writer.write(events[:100])
        await writer.write(events[50:100])
        await writer.write(events[100:])
        await writer.write([event(3, "k3")])
    async with Writer(cluster, topic) as writer:
        gone = [msgspec.structs.replace(event(200 + n, f"k{n}"), value=None) for n in range(10)]
        await writer.write(gone)


async def test_what_agents_write_is_read_whole(
    client: Client, folder: Path, kafka: KafkaServer
) -> None:
    topic = f"resident.v2.from.81-{client.__name__}"
    cluster = Cluster(kafka.bootstrap)
    await written(cluster, topic)
    said = await asyncio.to_thread(client, folder, kafka.bootstrap, topic)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("50 records, complete as of 2023-11-14"), said.stdout
    async with Writer(cluster, topic) as writer:
        await writer.write([event(300, "k1"), event(301, "new")])
    # Python goes on where it stood, the others begin anew: the same records.
    said = await asyncio.to_thread(client, folder, kafka.bootstrap, topic)
    assert said.stdout.startswith("52 records"), said.stdout + said.stderr


async def test_events_that_are_missing_are_said(
    client: Client, folder: Path, kafka: KafkaServer
) -> None:
    topic = f"resident.v2.from.82-{client.__name__}"
    async with Writer(Cluster(kafka.bootstrap), topic) as writer:
        await writer.write([event(number) for number in range(30)])
        for part in writer.parts:
            writer.copy._lanes[part].count += 1  # the next watermark tells of one that is not there
        await writer.write([event(number) for number in range(30, 60)])
    said = await asyncio.to_thread(client, folder, kafka.bootstrap, topic)
    assert said.returncode != 0
    assert re.search(r"expected \d+ events.* got \d+", said.stderr), said.stderr


async def test_a_topic_that_was_made_anew_is_said(folder: Path, kafka: KafkaServer) -> None:
    topic, cluster = "resident.v2.from.97", Cluster(kafka.bootstrap)
    async with Writer(cluster, topic) as writer:
        await writer.write([event(number) for number in range(30)])
    said = await asyncio.to_thread(python, folder, kafka.bootstrap, topic)
    assert said.stdout.startswith("30 records"), said.stderr
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()
    async with Writer(cluster, topic) as writer:
        await writer.write([event(number) for number in range(300)])
    said = await asyncio.to_thread(python, folder, kafka.bootstrap, topic)
    assert said.returncode != 0
    assert "made anew" in said.stderr, said.stderr
