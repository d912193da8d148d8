"""Rights on a broker that checks them: what is said where one is missing, and what a child cannot do."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.demo.servers import free_ports
from agents.kafka.acls import allow, entries
from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster, NotAllowed
from agents.kafka.copy import Copy
from agents.kafka.rights import TOPIC, WRITER, Right
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Claim, Connection
from tests.live.secure import SecureKafka
from tests.live.streams import Writer, event, ids, read_all

pytestmark = pytest.mark.live

_SAID = re.compile(r"needs (\w+)(?: \(.*\))? on (topic|transactional id) (\S+)$")


def missing(error: NotAllowed) -> Right:
    """The right that an error names, as an entry for user 37."""
    found = _SAID.search(error.message)
    assert found, str(error)
    kind = TOPIC if found[2] == "topic" else WRITER
    return Right("User:37", kind, found[3], False, found[1])


async def permit(broker: SecureKafka, *rights: Right) -> None:
    async with Connection(broker.admin) as connection:
        await allow(connection, rights)


async def test_whoever_gives_just_what_the_errors_name_ends_with_an_agent_that_works(
    secure: SecureKafka,
) -> None:
    """Each right in its turn; red when an error names another than the one in want: tried."""
    mine = secure.as_user("37")
    given: list[Right] = []
    async with asyncio.timeout(60):
        while True:
            try:
                async with Writer(mine, "ladder.v1", 1) as writer:
                    await writer.write([event(n) for n in range(10)])
                records, _ = await read_all(mine, "ladder.v1", 1)
                bulletin = Bulletin(mine, "ladder.bulletin")
                await bulletin.read_once()
                await bulletin.write({"a": b"b"})
                assert (await bulletin.read_once())["a"] == b"b"
                break
            except NotAllowed as error:
                right = missing(error)
                assert right not in given
                given.append(right)
                await permit(secure, right)
    assert set(ids(records)) == {f"id-{n}" for n in range(10)}
    assert {(each.name, each.operation) for each in given} >= {
        ("ladder.v1", "Create"), ("writer-ladder.v1", "Write"),
        ("ladder.v1", "Write"), ("ladder.v1", "Read"),
        ("ladder.bulletin", "Create"), ("ladder.bulletin", "Write"), ("ladder.bulletin", "Read"),
    }  # fmt: skip


# ---- a parent, two children and a window ---------------------------------------------------------

PARENT = """
[node]
id = "37"
name = "山东省"
level = "province"

[agent]
listen = "127.0.0.1:{listen}"

[kafka]
bootstrap = "{bootstrap}"

[[source]]
kind = "files"
contract = "division.v1"
folder = "divisions"
"""
GRANT = '\n[[grant]]\ncontract = "division.v1"\nto = "{to}"\npurpose = "forms"\n'
CHILD = """
[node]
id = "{id}"
name = "{id}"
level = "city"

[kafka]
bootstrap = "127.0.0.1:1"

[parent]
id = "37"
bootstrap = "{bootstrap}"
pull = ["division.v1"]
push = ["business_licence.v1"]

[[source]]
kind = "postgres"
contract = "real_estate.v1"
dsn = "${{NOT_AT_HAND}}"
table = "estate.unit"
"""


@pytest.fixture
def files(secure: SecureKafka, tmp_path: Path) -> list[Path]:
    """The node files of a parent and two children."""
    texts = {"37": PARENT.format(bootstrap=secure.bootstrap, listen=free_ports(1)[0])}
    for child in ("3701", "3702"):
        texts["37"] += GRANT.format(to=child)
        texts[child] = CHILD.format(id=child, bootstrap=secure.bootstrap)
    paths = [tmp_path / f"{name}.toml" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


async def acl(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, Any]:
    found = await asyncio.to_thread(main, ["acl", *map(str, words), "--json"])
    said = capsys.readouterr()
    assert found == code, said.err
    answer: dict[str, Any] = json.loads(said.out)
    return answer


async def refusal(cluster: Cluster, topic: str, *, write: bool = False, claim: str = "") -> str:
    """What is said to somebody who reads from, or writes to, a topic all the same."""
    async with Connection(cluster) as connection:
        try:
            if write:
                claimed = Claim(claim or f"levelsync-{topic}")
                await Copy(cluster, claimed, [(topic, 0)], connection).open()
            else:
                leaders = await connection.leaders([(topic, 0)])
                await connection.fetch(next(iter(leaders)), {(topic, 0): 0})
        except NotAllowed as error:
            return error.message
    raise AssertionError(f"{topic}: it was allowed")


async def test_a_child_has_its_own_view_and_name_and_nothing_of_another(
    secure: SecureKafka, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Red with one entry for `division.v1.to.*`: tried."""
    missing_before = await acl(capsys, *files, "--check", code=1)
    made = await acl(capsys, *files, "--window", "hall", "division.v1", "--apply")
    assert len(made["made"]) > len(missing_before["missing"]) > 20
    assert (await acl(capsys, *files, "--check"))["missing"] == []
    data = {
        name: Topic(name, 1, DATA)
        for name in (
            "division.v1", "division.v1.to.3701", "division.v1.to.3702",
            "business_licence.v1.from.3701", "business_licence.v1.from.3702",
        )
    }  # fmt: skip
    await ensure(secure.admin, data.values())
    first = secure.as_user("3701")
    async with Connection(first) as connection:
        seen = set(await connection.topics()) & data.keys()
    assert seen == {"division.v1.to.3701", "business_licence.v1.from.3701"}
    # Its own view and its own name.
    async with Connection(first) as connection:
        await connection.fetch(1, {("division.v1.to.3701", 0): 0}, wait_ms=1)
    own = "business_licence.v1.from.3701"
    copy = Copy(first, Claim(f"levelsync-{own}"), [(own, 0)])
    await copy.open()
    await copy.close()
    # Another's view, the whole, another's name, the parent's view of itself.
    for topic in ("division.v1.to.3702", "division.v1", "business_licence.v1.from.3702"):
        assert topic in await refusal(first, topic)
    for topic in ("business_licence.v1.from.3702", "division.v1.to.3701", "division.v1"):
        said = await refusal(first, topic, write=True)
        assert f"needs Write on transactional id levelsync-{topic}" in said or topic in said
    # Nor can it take the pen from the parent under its own right to a topic.
    said = await refusal(first, own, write=True, claim="levelsync-division.v1.to.3701")
    assert said.endswith("3701 needs Write on transactional id levelsync-division.v1.to.3701")
    # Nor write to its view under its own name.
    said = await refusal(first, "division.v1.to.3701", write=True, claim=f"levelsync-{own}")
    assert said.endswith("3701 needs Write on topic division.v1.to.3701")
    # A window reads what it was named, and writes nothing.
    hall = secure.as_user("hall")
    async with Connection(hall) as connection:
        await connection.fetch(1, {("division.v1", 0): 0}, wait_ms=1)
        assert set(await connection.topics()) & data.keys() == {"division.v1"}


async def test_what_is_more_than_the_least_is_named(
    secure: SecureKafka, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    wide = Right("User:3702", TOPIC, "division.v1.", True, "Read")
    await acl(capsys, *files, "--apply")
    await permit(secure, wide)
    found = await acl(capsys, *files, "--check")
    assert {"principal": "User:3702", "name": "division.v1.", "prefixed": True, "kind": "topic",
            "operation": "Read"} in found["more"]  # fmt: skip
    async with Connection(secure.admin) as connection:
        assert wide in (await entries(connection, ["User:3702"])).allowed


async def test_an_admin_is_told_of_wrong_calls_and_brokers_without_rights(
    secure: SecureKafka, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["acl", str(files[1]), str(files[2])]) == 2
    assert "Expected nodes whose parent is 3701" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["acl", str(files[0]), "--window", "hall"]) == 2
    # An admin's own way in; one who is none is told what an admin would need.
    admin = tmp_path / "admin.toml"
    admin.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:{secure.login}"\n[kafka.tls]\nca = "{secure.ca}"\n'
        '[kafka.sasl]\nmechanism = "SCRAM-SHA-512"\nuser = "admin"\npassword = "admin-secret"\n'
    )
    assert (await acl(capsys, *files, "--apply", "--as", admin))["made"] is not None
    admin.write_text(admin.read_text().replace("admin", "hall"))
    call = ["acl", *map(str, files), "--check", "--as", str(admin)]
    assert await asyncio.to_thread(main, call) == 1
    assert "hall needs Describe on cluster" in capsys.readouterr().err


def test_the_lines_for_kafkas_own_tool_are_complete(
    secure: SecureKafka, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["acl", *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    assert all(line.startswith("kafka-acls.sh --bootstrap-server 127") for line in commands)
    assert any(
        "--allow-principal 'User:3702' --operation Read --topic 'division.v1.to.3702'" in line
        for line in commands
    )
    assert any("--resource-pattern-type prefixed" in line for line in commands)
    table = [line for line in lines if line.startswith("# 3702")]
    assert table


async def test_doctor_names_each_right_in_want_and_certificates_that_end_soon(
    secure: SecureKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = secure.authority.issue("soon", "3799", days=(-9, 5))
    node = tmp_path / "node.toml"
    node.write_text(
        PARENT.format(bootstrap=f"127.0.0.1:{secure.mutual}", listen=free_ports(1)[0])
        + f'[kafka.tls]\nca = "{secure.ca}"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    )
    await ensure(secure.admin, [Topic("levelsync.grants", 1, {})])
    mine = Right("User:CN=3799", TOPIC, "levelsync.grants", False, "Read")
    await permit(secure, mine)

    async def wrong() -> dict[str, str]:
        code = await asyncio.to_thread(main, ["doctor", "--json", str(node)])
        assert code == 1
        told = json.loads(capsys.readouterr().out)["findings"]
        return {each["about"]: f"{each['found']} {each['do']}" for each in told
                if each["at"] == "kafka" and each["judgement"] == "wrong"}  # fmt: skip

    found = await wrong()
    assert "good for 4 days" in found.pop("kafka.tls.certificate")
    said = found["rights topic levelsync.grants"]
    assert "CN=3799 lacks Create, Write" in said
    assert "levelsync acl" in said
    assert "rights topic division.v1" in found
    assert "rights transactional-id levelsync-37-division.v1" in found
    await acl(capsys, node, "--apply", "--as", _admin(secure, tmp_path))
    assert not [about for about in await wrong() if about.startswith("rights")]


def _admin(secure: SecureKafka, folder: Path) -> Path:
    path = folder / "admin.toml"
    path.write_text(f'[kafka]\nbootstrap = "{secure.bootstrap}"\n')
    return path
