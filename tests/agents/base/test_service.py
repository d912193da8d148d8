"""What an agent tells systemd: ready, how it goes, and that it lives; nothing where nobody listens."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.base import service
from agents.base.status import Status


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_nothing_is_told_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service.tell(READY="1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nobody/is/here")
    service.tell(READY="1")


def test_lines_are_one_datagram_and_a_text_is_one_line(manager: socket.socket) -> None:
    service.tell(READY="1", STATUS="two\nlines")
    assert manager.recv(1000) == b"READY=1\nSTATUS=two lines"


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0levelsync-test-of-notify")
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@levelsync-test-of-notify")
        service.tell(READY="1")
        assert listening.recv(1000) == b"READY=1"


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: socket.socket) -> None:
    for _ in range(2_000):
        service.tell(STATUS="x" * 500)


async def test_signs_of_life_come_while_the_agent_lives_and_what_is_wrong_is_named(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    status = Status("370102", "0")
    hop = status.hop("link", "resident.v2", "a", "b")
    hop.running()
    lives = True
    manager.setblocking(False)
    said: list[str] = []

    def hear() -> None:
        with contextlib.suppress(BlockingIOError):  # a socket keeps ten that nobody has heard
            while True:
                said.append(manager.recv(1000).decode())

    task = asyncio.create_task(service.keep_telling(status, lambda: lives))
    while said.count("WATCHDOG=1") < 3:
        await asyncio.sleep(0.02)
        hear()
    hop.state, hop.error = "stopped", "a secret place"
    lives = False
    while "stopped" not in said[-1]:
        await asyncio.sleep(0.02)
        hear()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert said[0] == "STATUS=1 of 1 hops are well"
    assert said[-1] == "STATUS=0 of 1 hops are well; link resident.v2 stopped"
