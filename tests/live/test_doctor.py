"""``levelsync doctor``: what is wrong around a node file is said, with what to do."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.demo.servers import KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from agents.kafka.topics import DATA, Topic, ensure

pytestmark = pytest.mark.live

NODE = """
[node]
id = "37"
name = "山东省"
level = "province"

[agent]
listen = "127.0.0.1:{listen}"
state = "state"

[kafka]
bootstrap = "{bootstrap}"
{more}
"""


def node_file(folder: Path, bootstrap: str, more: str = "", listen: int = 0) -> Path:
    """A node file of a province in ``folder``."""
    path = folder / "node.toml"
    listen = listen or free_ports(1)[0]
    path.write_text(NODE.format(listen=listen, bootstrap=bootstrap, more=more))
    return path


async def doctor(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the findings by what they are about."""
    code = await asyncio.to_thread(main, ["doctor", "--json", str(path)])
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] == (code == 0)
    return code, {found["about"]: found for found in answer["findings"]}


async def test_a_node_whose_world_is_right_exits_0(
    kafka: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = node_file(tmp_path, kafka.bootstrap)
    code, found = await doctor(path, capsys)
    assert code == 0
    assert {each["judgement"] for each in found.values()} == {"ok"}
    assert found[kafka.bootstrap]["at"] == "kafka"
    assert await asyncio.to_thread(main, ["doctor", str(path)]) == 0
    assert "0 wrong" in capsys.readouterr().out
    assert not (tmp_path / "state").exists(), "it changes nothing"


async def test_kafka_that_is_away_a_port_that_is_taken_and_a_file_for_a_folder_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listen, nobody = free_ports(2)
    (tmp_path / "state").write_text("no folder")
    other = await asyncio.start_server(lambda *_: None, "127.0.0.1", listen)
    async with other:
        path = node_file(tmp_path, f"127.0.0.1:{nobody}", listen=listen)
        code, found = await doctor(path, capsys)
    assert code == 1
    wrong = {about: each for about, each in found.items() if each["judgement"] == "wrong"}
    assert set(wrong) == {
        f"agent.state {tmp_path / 'state'}",
        f"agent.listen 127.0.0.1:{listen}",
        f"127.0.0.1:{nobody}",
    }
    assert all(each["do"] for each in wrong.values())


async def test_a_topic_with_too_few_partitions_is_told_before_the_agent_stops_for_it(
    kafka: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red when no topic is compared with its contract: tried."""
    await ensure(Cluster(kafka.bootstrap), [Topic("birth.v1", 1, DATA)])
    source = (
        '[[source]]\nkind = "postgres"\ncontract = "birth.v1"\n'
        'dsn = "host=127.0.0.1 port=1"\ntable = "people.birth"\n'
    )
    path = node_file(tmp_path, kafka.bootstrap, source)
    code, found = await doctor(path, capsys)
    assert code == 1
    assert found["topic birth.v1"]["judgement"] == "wrong"
    assert "1 partitions" in found["topic birth.v1"]["found"]
