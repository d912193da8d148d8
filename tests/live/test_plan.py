"""``levelsync plan`` says what an agent then does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.cli import main
from agents.demo.servers import AgentProcess, KafkaServer, free_ports
from agents.kafka.cluster import Cluster, plain_producer
from agents.kafka.grants import Announcement, Grants
from agents.kafka.topics import DATA, Topic, ensure
from contracts.subjects import CONTRACTS

pytestmark = pytest.mark.live

NODE = """
[node]
id = "3701"
name = "济南市"
level = "city"

[agent]
listen = "127.0.0.1:{listen}"
state = "state"

[kafka]
bootstrap = "{bootstrap}"

[parent]
id = "37"
bootstrap = "{bootstrap}"
pull = [{pull}]
{more}
"""
GRANT = '[[grant]]\ncontract = "resident.v2"\nto = "{to}"\npurpose = "windows"\n{terms}\n'


async def planned(
    capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, dict[str, dict[str, Any]], dict[str, Any]]:
    """Exit code, effects by what they are on, and all of it."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["plan", "--json", *map(str, arguments)])
    said = capsys.readouterr()
    assert said.out, said.err
    found = json.loads(said.out)
    assert found["changes"] == bool(code)
    return code, {each["what"]: each for each in found["effects"]}, found


async def test_a_plan_says_what_the_agent_then_does(
    unshared: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(unshared.bootstrap)
    partitions = CONTRACTS["resident.v2"].partitions
    await ensure(cluster, [Topic("resident.v2.from.37", partitions, DATA)])
    producer = plain_producer(cluster)
    await producer.start()
    for number in range(30):
        await producer.send_and_wait("resident.v2.from.37", b"{}", b"%d" % number)
    await producer.stop()
    told = Announcement("death.v1", "37", "3701", "death.v1", purpose="windows")
    await Grants(cluster).bulletin.write({told.key: msgspec.json.encode(told)})
    listen = free_ports(1)[0]

    def text(pull: str, *grants: str) -> str:
        return NODE.format(
            listen=listen, bootstrap=unshared.bootstrap, pull=pull, more="\n".join(grants)
        )

    node, then = tmp_path / "3701.toml", tmp_path / "then.toml"
    node.write_text(text('"resident.v2"', GRANT.format(to="370102", terms="")))
    then.write_text(
        text('"resident.v2", "death.v1"', GRANT.format(to="370103", terms='fields = ["id_number", "division_code", "name"]'))
    )  # fmt: skip
    assert await asyncio.to_thread(main, ["plan", str(node)]) == 2
    assert "--against" in capsys.readouterr().err
    code, effects, _ = await planned(capsys, node, "--against", node)
    assert (code, effects) == (0, {})
    code, effects, found = await planned(capsys, then, "--against", node)
    assert code == 1
    assert effects["view resident.v2 370103"]["does"] == "begins"
    assert effects["view resident.v2 370103"]["records"] == 30
    assert set(effects["view resident.v2 370103"]["makes"]) == {
        "resident.v2.to.370103", "resident.v2.to.370103.dead",
    }  # fmt: skip
    assert effects["link death.v1 down"]["does"] == "begins"
    assert "death.v1.from.37" in effects["link death.v1 down"]["makes"]
    assert {each["path"] for each in found["settings"]} == {
        "parent.pull", "grant[resident.v2 370102]", "grant[resident.v2 370103]",
    }  # fmt: skip

    agent = AgentProcess(node, tmp_path, f"127.0.0.1:{listen}")
    agent.start()
    try:
        async with asyncio.timeout(60):
            while "resident.v2.to.370102" not in await topics(cluster):
                await asyncio.sleep(0.2)
        # What runs is remembered: nothing to compare with need be named.
        code, effects, _ = await planned(capsys, node)
        assert (code, effects) == (0, {}), agent.tail(20)
        node.with_suffix(".next").write_text(then.read_text())
        code, effects, _ = await planned(capsys, node.with_suffix(".next"))
        assert effects["view resident.v2 370102"]["does"] == "emptied"
        assert effects["view resident.v2 370103"]["does"] == "begins"
        # And so it happens, without a start.
        node.write_text(then.read_text())
        async with asyncio.timeout(60):
            while not {"resident.v2.to.370103", "death.v1.from.37.dead"} & await topics(cluster):
                await asyncio.sleep(0.2)
        async with asyncio.timeout(60):
            while (await planned(capsys, node))[0]:
                await asyncio.sleep(0.2)
        other = text('"resident.v2", "death.v1"').replace(str(listen), str(free_ports(1)[0]))
        node.with_suffix(".next").write_text(other)
        _, effects, _ = await planned(capsys, node.with_suffix(".next"))
        assert effects["agent.listen"]["does"] == "restart"
    finally:
        await agent.stop(10)


async def topics(cluster: Cluster) -> set[str]:
    from agents.kafka.wire import Connection

    async with Connection(cluster) as connection:
        return set(await connection.topics())


async def test_without_kafka_the_settings_are_compared_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody, listen = free_ports(2)
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    for path, pull in ((one, ""), (other, '"resident.v2"')):
        path.write_text(
            NODE.format(listen=listen, bootstrap=f"127.0.0.1:{nobody}", pull=pull, more="")
        )
    code, _, found = await planned(capsys, other, "--against", one)
    assert code == 1
    assert found["settings"] == [{"path": "parent.pull", "before": "[]", "after": "[resident.v2]"}]
    assert "does not answer" in found["not_known"]
    one.write_text("nonsense")
    assert await asyncio.to_thread(main, ["plan", str(other), "--against", str(one)]) == 2
