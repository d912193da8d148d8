"""``levelsync doctor``: what is wrong around a node file is said, with what to do."""

import asyncio
import datetime
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.base.config import CHINA
from agents.cli import doctor_clusters, main
from agents.demo.servers import KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from agents.kafka.grants import Announcement, Grants
from agents.kafka.topics import DATA, Topic, ensure
from contracts.subjects import CONTRACTS

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


async def test_a_clock_that_is_wrong_is_told_by_how_much(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (right,) = await doctor_clusters.examine_clock(Cluster(kafka.bootstrap))
    assert right.judgement == "ok"
    ahead = SimpleNamespace(time=lambda: time.time() + 60)
    monkeypatch.setattr(doctor_clusters, "time", ahead)
    (found,) = await doctor_clusters.examine_clock(Cluster(kafka.bootstrap))
    assert found.judgement == "wrong"
    assert re.match(r"(59|60)\.\d s ahead of the cluster's", found.found)


async def test_clock_settings_grants_and_contracts_are_looked_at_on_a_real_cluster(
    unshared: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A city between its province and its counties, all on one broker."""
    cluster = Cluster(unshared.bootstrap)
    wrong = {**DATA, "cleanup.policy": "delete"}
    partitions = CONTRACTS["resident.v2"].partitions
    await ensure(cluster, [Topic("resident.v2.to.370102", partitions, wrong)])
    bulletin = Grants(cluster).bulletin
    soon = (datetime.datetime.now(CHINA).date() + datetime.timedelta(days=3)).isoformat()
    told = [
        Announcement("resident.v2", "37", "3701", "resident.v2", purpose="windows", until=soon),
        Announcement("division.v1", "37", "3701", "division.v1", purpose="forms"),
        Announcement("birth.v1", "37", "3701", "", ended=True, purpose="forms"),
        Announcement("resident.v2", "3701", "370102", "resident.v2.to.370102", purpose="windows"),
        Announcement("resident.v2", "3701", "370103", "resident.v2.to.370103", purpose="windows"),
    ]
    await bulletin.write({each.key: msgspec.json.encode(each) for each in told})
    path = tmp_path / "node.toml"
    path.write_text(
        f"""
[node]
id = "3701"
name = "济南市"
level = "city"

[agent]
listen = "127.0.0.1:{free_ports(1)[0]}"

[kafka]
bootstrap = "{unshared.bootstrap}"

[parent]
id = "37"
bootstrap = "{unshared.bootstrap}"
pull = ["resident.v2", "birth.v1", "death.v1", "ghost.v1"]

[[grant]]
contract = "resident.v2"
to = "370102"
purpose = "windows"

[[grant]]
contract = "marriage.v1"
to = "370102"
purpose = "windows"
"""
    )
    code, found = await doctor(path, capsys)
    assert code == 1
    says = {about: (each["judgement"], each["found"]) for about, each in found.items()}
    assert says[f"clock against {unshared.bootstrap}"][0] == "ok"
    assert says["settings of resident.v2.to.370102"][0] == "wrong"
    assert "kafka-configs.sh" in found["settings of resident.v2.to.370102"]["do"]
    assert says["pull resident.v2"] == (
        "warning", f"granted to {soon}, 3 days from now; then it is emptied here",
    )  # fmt: skip
    assert "has ended at 37" in says["pull birth.v1"][1]
    assert "not granted by 37" in says["pull death.v1"][1]
    assert "nobody here pulls it" in says["grant of division.v1"][1]
    assert says["grant marriage.v1 to 370102"][0] == "wrong"
    assert says["grant resident.v2 to 370102"][0] == "ok"
    assert "not in the file any more" in says["grant resident.v2 to 370103"][1]
    assert says["contract ghost.v1"][0] == "wrong"
    assert says["contract resident.v2"][0] == "ok"
    assert all(each["do"] for each in found.values() if each["judgement"] != "ok")
