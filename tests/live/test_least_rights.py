"""Province, city and county run with the rights that `levelsync acl` makes, and no others."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agents.cli import main
from agents.demo.levels import fetch_json
from agents.demo.people import People
from agents.demo.servers import AgentProcess, NotInstalled, free_ports
from tests.live.secure import SecureKafka

pytestmark = [
    pytest.mark.live, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"),
]  # fmt: skip

NODES = {"37": "province", "3701": "city", "370102": "county"}
DIVISIONS = [
    ("37", "山东省", "province", None),
    ("3701", "济南市", "city", "37"),
    ("3702", "青岛市", "city", "37"),
    ("370102", "历下区", "county", "3701"),
    ("370102001", "解放路街道", "township", "370102"),
]
_HEAD = """
[node]
id = "{node}"
name = "{node}"
level = "{level}"

[agent]
listen = "127.0.0.1:{listen}"
state = "state-{node}"

[window]
listen = "127.0.0.1:{window}"

[kafka]
bootstrap = "127.0.0.1:{login}"
[kafka.tls]
ca = "{ca}"
[kafka.sasl]
mechanism = "SCRAM-SHA-512"
user = "{node}"
password = "${{SECRET_{node}}}"
"""
_PARENT = """
[parent]
id = "{parent}"
bootstrap = "127.0.0.1:{above}"
pull = ["division.v1"]
push = ["business_licence.v1", "correction.v1", "access.v1"]
[parent.tls]
ca = "{ca_above}"
certificate = "{certificate}"
key = "{key}"
"""
_MORE = {
    "37": '[corrections]\n[[source]]\nkind = "files"\ncontract = "division.v1"\nfolder = "divisions"\npattern = "*.ndjson"\n'
    'settle = 0.1\n[[grant]]\ncontract = "division.v1"\nto = "3701"\nscope = "0"\npurpose = "forms"\n',
    "3701": '[[grant]]\ncontract = "division.v1"\nto = "370102"\npurpose = "forms"\n',
    "370102": '[[source]]\nkind = "files"\ncontract = "business_licence.v1"\nfolder = "licences"\npattern = "*.ndjson"\n'
    'settle = 0.1\ncolumns = { credit_code = "cert_no", division_code = "street_code" }\n',
}


class Offices:
    """Three levels with a login at their own Kafka and a certificate at their parent's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = iter(free_ports(6))
        self.windows = {node: next(ports) for node in NODES}
        self.listen = {node: next(ports) for node in NODES}
        self.brokers = {
            node: SecureKafka(folder / f"kafka-{node}", f"kafka-{node}", (node,)) for node in NODES
        }
        self.agents: dict[str, AgentProcess] = {}
        self.licence = People(7).licence()

    async def __aenter__(self) -> "Offices":
        async with asyncio.TaskGroup() as group:
            for broker in self.brokers.values():
                group.create_task(broker.start(), name=broker.name)
        for name, file, rows in (
            ("divisions", "d.ndjson", [
                {"code": code, "name": called, "level": level, "parent": parent}
                for code, called, level, parent in DIVISIONS
            ]),
            ("licences", "l.ndjson", [self.licence]),
        ):  # fmt: skip
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / file).write_text(
                "".join(json.dumps(row, default=_plain) + "\n" for row in rows)
            )
        for node in NODES:
            self.file(node).write_text(self._text(node))
        return self

    def file(self, node: str) -> Path:
        return self.folder / f"{node}.toml"

    def _text(self, node: str) -> str:
        broker, parent = self.brokers[node], node[: -2 if len(node) > 2 else 0]
        text = _HEAD.format(
            node=node, level=NODES[node], listen=self.listen[node], window=self.windows[node],
            login=broker.login, ca=broker.ca,
        )  # fmt: skip
        if parent:
            above = self.brokers[parent]
            certificate, key = above.authority.issue(f"child-{node}", f"agent of {node}")
            text += _PARENT.format(
                parent=parent, above=above.mutual, ca_above=above.ca,
                certificate=certificate, key=key,
            )  # fmt: skip
        return text + _MORE[node]

    def start(self, node: str) -> None:
        listen = f"127.0.0.1:{self.listen[node]}"
        agent = AgentProcess(
            self.file(node), self.folder, listen, {f"SECRET_{node}": f"{node}-secret"}
        )
        agent.start()
        self.agents[node] = agent

    async def acl(self, node: str, *children: str) -> None:
        """Make the rights on the Kafka of ``node``, as its admin."""
        admin = self.folder / f"admin-{node}.toml"
        admin.write_text(f'[kafka]\nbootstrap = "{self.brokers[node].bootstrap}"\n')
        files = [str(self.file(each)) for each in (node, *children)]
        assert await asyncio.to_thread(main, ["acl", *files, "--apply", "--as", str(admin)]) == 0

    async def status(self, node: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await asyncio.to_thread(
                fetch_json, f"http://127.0.0.1:{self.listen[node]}/status"
            )
        except OSError:
            return {"hops": [], "troubles": {}, "ready": False}
        return found

    async def records(self, node: str, contract: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.windows[node]}/v1/{contract}/records?limit=50"
        try:
            found = await asyncio.to_thread(fetch_json, url)
        except OSError:
            return {}
        return {each["key"]: each["record"] for each in found["records"]}

    async def until(self, question: Any, seconds: float = 60.0) -> None:
        """Wait until the coroutine function answers true; otherwise say how it stands everywhere."""
        try:
            async with asyncio.timeout(seconds):
                while not await question():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            told = []
            for node in self.agents:
                found = await self.status(node)
                hops = [
                    (hop["hop"], hop["to"], hop["state"], hop["error"]) for hop in found["hops"]
                ]
                told += [f"{node}: {found['troubles']}", *map(str, hops), self.agents[node].tail(8)]
            raise AssertionError("\n".join(told)) from None

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(agent.stop(5.0) for agent in self.agents.values()))
        await asyncio.gather(*(broker.stop(5.0) for broker in self.brokers.values()))


def _plain(value: Any) -> str:
    return str(value.isoformat())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offices(apart: Path) -> AsyncIterator[Offices]:
    try:
        started = await Offices(apart).__aenter__()
    except NotInstalled as error:
        pytest.skip(str(error))
    try:
        yield started
    finally:
        await started.__aexit__()


async def test_an_agent_without_rights_says_which_and_goes_on_once_it_has_them(
    offices: Offices,
) -> None:
    offices.start("37")

    async def told() -> bool:
        found = (await offices.status("37"))["troubles"]
        return set(found) >= {"levelsync.grants", "levelsync.contracts"}

    await offices.until(told)
    found = (await offices.status("37"))["troubles"]
    assert "37 needs Describe on topic levelsync.grants" in found["levelsync.grants"]
    assert "levelsync acl" in found["levelsync.grants"]
    await offices.acl("37")

    async def works() -> bool:
        found = await offices.status("37")
        return bool(found["ready"] and not found["troubles"])

    await offices.until(works)
    assert offices.agents["37"].alive, "the same process"


async def test_three_levels_run_with_the_least_rights(offices: Offices) -> None:
    """Red without the entries for the writers of copies: tried."""
    await offices.acl("37", "3701")
    await offices.acl("3701", "370102")
    await offices.acl("370102")
    offices.start("3701")
    offices.start("370102")
    licence = offices.licence["cert_no"]
    seen: dict[str, Any] = {}

    async def arrived() -> bool:
        down = {node: set(await offices.records(node, "division.v1")) for node in NODES}
        up = {node: set(await offices.records(node, "business_licence.v1")) for node in NODES}
        every = {row[0] for row in DIVISIONS}
        county = {code for code in every if code.startswith("370102")}
        seen.update(down=down, up=up)
        return down == {"37": every, "3701": every, "370102": county} and all(
            found == {licence} for found in up.values()
        )

    try:
        await offices.until(arrived)
    finally:
        print(seen)

    async def works() -> bool:
        found = [await offices.status(node) for node in NODES]
        return all(
            each["ready"] and not each["troubles"] and all(hop["state"] == "running" for hop in each["hops"])
            for each in found
        )  # fmt: skip

    await offices.until(works)
    for node in NODES:
        logged = offices.agents[node].log.read_text()
        assert f"{node}-secret" not in logged
        if node != "37":
            assert "for want of rights" not in logged


async def test_doctor_finds_nothing_in_want(
    offices: Offices, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for node in NODES:
        monkeypatch.setenv(f"SECRET_{node}", f"{node}-secret")
        await asyncio.to_thread(main, ["doctor", "--json", str(offices.file(node))])
        told = json.loads(capsys.readouterr().out)["findings"]
        # The brokers' clock is told to admins alone, and noted as not known.
        wrong = [each for each in told if each["at"] in ("kafka", "parent")
                 and each["judgement"] != "ok" and not each["about"].startswith("clock")]  # fmt: skip
        assert not wrong
        found = {(each["at"], each["about"]): each for each in told}
        assert found["kafka", "rights"]["found"].startswith("all that are needed on")
        assert "good for 3649 days" in found["kafka", "kafka.tls.ca"]["found"]
        if node != "37":
            assert ("parent", "rights") in found
            assert "good for 364 days" in found["parent", "parent.tls.certificate"]["found"]
