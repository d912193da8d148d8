"""The client against a real agent with a real Kafka behind it: the suite of tests/agents/client."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.client import blocking
from agents.demo.servers import KafkaServer, NotInstalled, Server, free_ports
from tests.agents.client.suite import Suite

pytestmark = pytest.mark.live

NODE = """
[node]
id = "37"
name = "山东省"
level = "province"

[agent]
listen = "127.0.0.1:{agent}"
state = "{state}"

[kafka]
bootstrap = "{bootstrap}"

[intake]
listen = "127.0.0.1:{door}"

[[intake.sender]]
name = "tests"
token = "a-long-and-secret-token"
contracts = ["resident.v2"]
rate = 0

[[source]]
kind = "http"
contract = "resident.v2"

[window]
listen = "127.0.0.1:{window}"
"""


class Agent(Server):
    """An agent in a process of its own, and a line to its window that can be cut."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        super().__init__("agent", folder)
        agent, self._door, self._window = free_ports(3)
        self._state = folder / "state"
        self._file = folder / "node.toml"
        self._file.write_text(
            NODE.format(
                agent=agent, door=self._door, window=self._window, bootstrap=bootstrap,
                state=self._state,
            )
        )  # fmt: skip
        self._line = Line(self._window)
        self.url = f"http://127.0.0.1:{self._line.port}"

    def start(self) -> None:
        self._spawn([sys.executable, "-m", "agents.cli", "run", str(self._file)])
        until = time.monotonic() + 60
        while not self._answers():
            assert self.alive, self.log.read_text()[-3000:]
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self._shown("none")[1] != "unknown"
        return False

    def _shown(self, key: str) -> tuple[Any, str]:
        """The record that the window shows, and Complete-As-Of. Raises OSError."""
        url = f"http://127.0.0.1:{self._window}/v1/resident.v2/records/{key}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["record"], answer.headers["Complete-As-Of"]
        except urllib.error.HTTPError as no:
            return None, no.headers.get("Complete-As-Of", "unknown")

    def put(self, record: dict[str, Any]) -> None:
        self._send(record, record["id_number"])

    def delete(self, key: str) -> None:
        self._send({"$delete": key}, key)

    def _send(self, line: dict[str, Any], key: str) -> None:
        """Tell the owner, until it has it, and wait until the window shows it."""
        identity, until = f'"{os.urandom(8).hex()}"', time.monotonic() + 60
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._door}/v1/intake/resident.v2",
            json.dumps(line).encode() + b"\n",
            {
                "Authorization": "Bearer a-long-and-secret-token",
                "Content-Type": "application/x-ndjson",
                "Idempotency-Key": identity,
            },
        )
        while True:
            assert time.monotonic() < until
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10):
                break
            time.sleep(0.1)
        expected = None if "$delete" in line else line
        while True:
            assert time.monotonic() < until
            with contextlib.suppress(OSError):
                if self._shown(key)[0] == expected:
                    return
            time.sleep(0.01)

    def cut(self) -> None:
        self._line.cut()

    def restart(self) -> None:
        self._kill()
        self.start()

    def lose(self) -> None:
        self._kill()
        for file in self._state.rglob("*.sqlite*"):
            file.unlink()
        self.start()

    def _kill(self) -> None:
        assert self.process
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(30.0)
        self._gone()

    def close(self) -> None:
        self._kill()
        self._line.close()


class Line:
    """A port whose connections go on to another, and can be broken."""

    def __init__(self, to: int) -> None:
        self._to, self._open = to, set[socket.socket]()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                self._open |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65536):
                other.sendall(piece)
        self._break({one, other})

    def _break(self, both: set[socket.socket]) -> None:
        for each in both:
            self._open.discard(each)
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def cut(self) -> None:
        self._break(set(self._open))

    def close(self) -> None:
        self._server.close()
        self.cut()


@pytest.fixture(scope="module")
def agent(servers: Path) -> Iterator[Agent]:
    kafka = KafkaServer(servers / "kafka-of-clients", free_ports(1)[0])
    try:
        asyncio.run(kafka.start())
    except NotInstalled as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    folder = servers / "agent-of-clients"
    folder.mkdir()
    made = Agent(folder, kafka.bootstrap)
    made.start()
    yield made
    made.close()
    asyncio.run(kafka.stop())


class TestRealAgent(Suite):
    @pytest.fixture
    def place(self, agent: Agent) -> Agent:
        """The same agent for all, empty."""
        with blocking.Window(agent.url, patience=20.0) as window:
            keys = [each.key for each in window.records("resident.v2")]
        for key in keys:
            agent.delete(key)
        return agent
