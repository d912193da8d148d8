"""Nothing a process started outlives it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.demo.servers import NotInstalled, free_ports, kafka_libs

pytestmark = pytest.mark.live

_STARTS = """
import asyncio, sys
from pathlib import Path
from agents.demo.servers import KafkaServer, PostgresServer, free_ports
folder = Path(sys.argv[1])
kafka, postgres = free_ports(2)
async def main():
    servers = KafkaServer(folder / "kafka", kafka), PostgresServer(folder / "postgres", postgres)
    await asyncio.gather(*(server.start() for server in servers))
    print("started", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def running(folder: Path) -> list[str]:
    """Command lines of processes that name ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if str(folder) in line and int(process.name) != os.getpid():
            found.append(line)
    return found


async def test_servers_die_with_a_process_that_is_killed(tmp_path: Path) -> None:
    for each in (tmp_path, *list(tmp_path.parents)[:3]):
        if each.stat().st_uid == os.geteuid():
            each.chmod(0o755)  # PostgreSQL runs as another user when we are root
    owner = subprocess.Popen([sys.executable, "-c", _STARTS, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout
    assert owner.stdout.readline() == b"started\n"
    assert len(running(tmp_path)) >= 3
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    async with asyncio.timeout(5):
        while running(tmp_path):
            await asyncio.sleep(0.1)


def test_ports_are_free_and_never_given_twice() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert not set(ports) & set(free_ports(50))


def test_missing_jars_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    with pytest.raises(NotInstalled, match="deploy/setup"):
        kafka_libs()
