"""No secret in logs, errors, answers, process lists, crash output or the state folder: each place of a node
file that takes one is given one that can be recognised, everything is made to fail, and all is searched."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agents.demo.servers import AgentProcess, KafkaServer, PostgresServer, free_ports
from tests.deploy.judges import ROOT

pytestmark = pytest.mark.live

#: By the node file's reference; each holds what nothing else has.
PLANTED = {
    name: f"plantedsecret{number}of{name}"
    for number, name in enumerate(
        (
            "away", "refused", "outbox", "devices", "sender", "system", "login", "broker", "table",
            "answers", "webhook", "masking", "scram",
        )
    )
}  # fmt: skip
#: The contracts whose servers are away or say no.
FAILING = {"household.v1", "marriage.v1", "birth.v1", "division.v1", "medical_insurance.v1"}
_WORD = re.compile(rb"plantedsecret\w+|70:6c:61:6e:74:65:64|cGxhbnRlZHNlY3JldA")


def text(ports: list[int], kafka: KafkaServer, postgres: PostgresServer, state: str) -> str:
    """A node file of a province with every kind of secret: from the environment, from files and from
    credentials."""
    agent, window, intake, closed = ports
    missing = f"host=127.0.0.1 port={postgres.port} user=postgres dbname=nobody_made_this"
    return f"""
[node]
id = "37"
name = "province"
level = "province"

[agent]
listen = "127.0.0.1:{agent}"
state = "{state}"

[kafka]
bootstrap = "{kafka.bootstrap}"

[parent]
id = "0"
bootstrap = "{kafka.bootstrap}"
pull = ["medical_insurance.v1"]

[parent.sasl]
mechanism = "SCRAM-SHA-512"
user = "37"
password = "${{credential:scram}}"

[masking]
secret = "${{credential:masking}}"

[[grant]]
contract = "resident.v2"
to = "3701"
purpose = "tests"
mask = {{ name = "hash" }}

[[source]]
kind = "postgres"
contract = "household.v1"
dsn = "postgresql://levelsync:${{AWAY}}@127.0.0.1:{closed}/nobody"
table = "a.b"

[[source]]
kind = "postgres"
contract = "marriage.v1"
dsn = "{missing} password=${{credential:refused}}"
table = "a.b"

[[source]]
kind = "outbox"
contract = "birth.v1"
dsn = "{missing} password=${{credential:outbox}}"

[[source]]
kind = "mqtt"
contract = "division.v1"
url = "mqtt://127.0.0.1:{closed}"
topic = "divisions/{{key}}"
username = "levelsync"
password = "${{DEVICES}}"

[[source]]
kind = "http"
contract = "resident.v2"

[intake]
listen = "127.0.0.1:{intake}"

[[intake.sender]]
name = "bureau"
token = "${{credential:sender}}"
contracts = ["resident.v2"]

[window]
listen = "127.0.0.1:{window}"

[[window.system]]
name = "hall"
token = "${{credential:system}}"
contracts = ["resident.v2"]
purpose = "tests"

[window.login]
issuer = "http://127.0.0.1:{closed}"
client = "levelsync"
secret = "${{credential:login}}"
url = "http://127.0.0.1:{window}"

[[window.clerks]]
group = "*"
contracts = ["resident.v2"]
purpose = "tests"

[window.mqtt]
url = "mqtt://127.0.0.1:{closed}"
contracts = ["resident.v2"]
username = "levelsync"
password = "${{credential:broker}}"
purpose = "tests"

[[window.sql]]
dsn = "{missing} password=${{credential:table}}"
contract = "resident.v2"
table = "a.b"
purpose = "tests"

[corrections]
dsn = "{missing} password=${{credential:answers}}"
table = "a.c"
webhook = "http://127.0.0.1:{closed}/answers"
secret = "${{credential:webhook}}"
"""


class Place:
    """A node file with its secrets, and all that was said about it."""

    def __init__(self, folder: Path, kafka: KafkaServer, postgres: PostgresServer) -> None:
        self.folder = folder
        self.file = folder / "37.toml"
        self.ports = free_ports(4)
        self.said: dict[str, bytes] = {}
        self.file.write_text(text(self.ports, kafka, postgres, "state"), encoding="utf-8")
        credentials = folder / "37.credentials"
        credentials.mkdir(mode=0o700)
        self.env = {"AWAY": PLANTED["away"], "DEVICES": PLANTED["devices"]}
        for name in PLANTED.keys() - {"away", "devices"}:
            (credentials / name).write_text(PLANTED[name])

    async def command(self, *words: str, file: Path | None = None, env: str = "") -> int:
        """Run ``levelsync`` and keep what it says."""
        given = [each.replace("{}", str(file or self.file)) for each in words]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agents.cli", *given,
            env={**os.environ, **self.env, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(120):
            said, _ = await process.communicate()
        self.said[f"{' '.join(words)} {env} {file or ''}"] = said
        assert process.returncode is not None
        return process.returncode

    def ask(self, port: int, path: str, token: str = "", body: bytes | None = None) -> None:
        """Ask over HTTP and keep the answer, head and body."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                said = str(answer.headers).encode() + answer.read()
        except urllib.error.HTTPError as error:
            said = str(error.headers).encode() + error.read()
        self.said[f"HTTP {port} {path} {bool(token)}"] = said


@pytest.fixture
async def place(tmp_path: Path, unshared: KafkaServer, postgres: PostgresServer) -> Place:
    return Place(tmp_path, unshared, postgres)


def found(said: dict[str, bytes]) -> dict[str, str]:
    """Where something planted stands, with what is around it."""
    leaks = {}
    for where, content in said.items():
        if hit := _WORD.search(content):
            around = content[max(0, hit.start() - 200) : hit.end() + 50]
            leaks[where] = around.decode(errors="replace")
    return leaks


def under(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
async def test_an_agent_and_its_commands_tell_no_secret_however_they_fail(place: Place) -> None:
    place.env |= {"PYTHONFAULTHANDLER": "1"}
    agent = AgentProcess(place.file, place.folder, f"127.0.0.1:{place.ports[0]}", place.env)
    agent.start()
    health, window, intake, _ = place.ports
    try:
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.3)
                try:
                    await asyncio.to_thread(place.ask, health, "/status")
                except OSError:
                    assert agent.alive, agent.tail()
                    continue
                status = json.loads(
                    place.said[f"HTTP {health} /status False"].partition(b"\n\n")[2]
                )
                lost = [hop for hop in status["hops"] if hop["error"] or hop["warnings"]]
                out = sum(hop["hop"] == "out" for hop in lost)
                if {hop["contract"] for hop in lost} >= FAILING and out == 2:
                    break
        for path in ("/healthz", "/readyz", "/metrics"):
            await asyncio.to_thread(place.ask, health, path)
        for path in ("/v1/contracts", "/openapi.json", "/v1/resident.v2/records/x", "/v1/login"):
            for token in ("", PLANTED["system"], "plantedsecretofsomebodyelse"):
                await asyncio.to_thread(place.ask, window, path, token)
        for token in (PLANTED["sender"], "plantedsecretofsomebodyelse"):
            await asyncio.to_thread(place.ask, intake, "/v1/intake/resident.v2", token, b'{"a":1}')
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text()
        assert children.strip() == "", "whatever it starts could be looked at"
        place.said["the process list"] = Path(f"/proc/{agent.pid}/cmdline").read_bytes()
        given = Path(f"/proc/{agent.pid}/environ").read_bytes()
        assert {hit.decode() for hit in _WORD.findall(given)} == {
            PLANTED["away"], PLANTED["devices"],
        }, "what comes from files is not put into the environment"  # fmt: skip
        for words in (
            ("check", "{}"), ("doctor", "{}"), ("doctor", "{}", "--json"),
            ("status", "{}"), ("grants", "{}"),
            ("dead-letters", "list", "{}"), ("corrections", "list", "{}"),
            ("resync", "{}", "resident.v2", "--wait", "1"), ("accesses", "{}", "resident.v2", "x"),
            ("backfill", "{}", "household.v1", "--wait", "1"),
        ):  # fmt: skip
            await place.command(*words)
        # A wrong file that is not taken, while it runs.
        right = place.file.read_text(encoding="utf-8")
        place.file.write_text(right.replace('level = "province"', "level = 7"), encoding="utf-8")
        await asyncio.sleep(2.5)
        place.file.write_text(right, encoding="utf-8")
        os.kill(agent.pid, signal.SIGABRT)
        assert agent.process
        await asyncio.to_thread(agent.process.wait, 20)
    finally:
        await agent.kill()
    log = agent.log.read_bytes()
    assert b"Fatal Python error: Aborted" in log
    assert b"the node file is wrong" in log
    place.said["the log and what a crash leaves"] = log
    place.said |= under(place.folder / "state")
    assert found(place.said) == {}


#: What is wrong, and with which secret in it: the text that is replaced, and what by.
WRONG = [
    ("a dsn that is none", 'dsn = "postgresql://levelsync:${AWAY}@127.0.0.1:', 'dsn = "${AWAY} 1:'),
    ("a port that is none", "${AWAY}@127.0.0.1:", "x@127.0.0.1:${AWAY}"),
    ("a dsn of an outbox", "password=${credential:outbox}", "${credential:outbox} ="),
    ("a dsn of a table", "password=${credential:table}", "${credential:table} '"),
    ("a dsn of answers", "password=${credential:answers}", "${credential:answers} '"),
    ("a password that is a list", 'password = "${DEVICES}"', 'password = ["${DEVICES}"]'),
    ("a password of a mechanism there is not", '"SCRAM-SHA-512"\nuser', '"${credential:scram}"\nuser'),
    ("a password that is a table", 'password = "${credential:scram}"', 'password.a = "${credential:scram}"'),
    ("a password in the clear", '"SCRAM-SHA-512"', '"PLAIN"'),
    ("a token under another name", 'token = "${credential:sender}"', 'tokens = "${credential:sender}"'),
    ("a password in an address", 'url = "mqtt://127.0', 'url = "mqtt://u:${DEVICES}@127.0'),
    ("a password in a webhook", "webhook = \"http://127", 'webhook = "ftp://${credential:webhook}@127'),
    ("a password in an issuer", 'issuer = "http://127', 'issuer = "ftp://${credential:login}@127'),
    ("a secret as a table's name", 'table = "a.c"', 'table = "${credential:answers}"'),
    ("TOML that is none", 'secret = "${credential:masking}"', 'secret = "plantedsecretinplace'),
]  # fmt: skip


@pytest.mark.parametrize(("what", "right", "wrong"), WRONG, ids=[each[0] for each in WRONG])
def test_a_wrong_node_file_is_refused_without_its_secrets(
    what: str, right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:  # fmt: skip
    from agents.cli import main

    nobody = KafkaServer(tmp_path / "none", 1)
    place = Place(tmp_path, nobody, PostgresServer(tmp_path / "none", 1))
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    before = place.file.read_text(encoding="utf-8")
    assert before.count(right) >= 1
    place.file.write_text(before.replace(right, wrong, 1), encoding="utf-8")
    code = main(["check", str(place.file)])
    said = {what: b"".join(capfdbinary.readouterr())}
    assert code == 1, said
    assert found(said) == {}


def test_what_a_crash_leaves_in_memory_is_not_written_to_a_disk() -> None:
    assert "\nLimitCORE=0\n" in (ROOT / "deploy" / "systemd" / "levelsync@.service").read_text()
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
    said = subprocess.run(
        ["sh", "-c", f"ulimit -c 0 && {sys.executable} -c '{code}'"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip().startswith("(0,")
