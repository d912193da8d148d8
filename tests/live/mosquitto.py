"""A real Mosquitto for the live tests and the bench."""

import asyncio
import contextlib
import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.demo.servers import NotInstalled, Server

#: A broker that keeps sessions over a restart, and throws nothing away however much waits.
KEEPING = (
    "persistence true",
    "autosave_interval 1",
    "max_queued_messages 0",
    "max_inflight_messages 0",
    "set_tcp_nodelay true",
)
OPEN = ("allow_anonymous true",)


class Mosquitto(Server):
    """One broker; ``settings`` are lines of its file. Starting again keeps its data."""

    def __init__(self, folder: Path, port: int, settings: Sequence[str] = OPEN) -> None:
        super().__init__("mosquitto", folder)
        self.port = port
        self._settings = settings

    async def start(self) -> None:
        """Start, and wait until it answers. Raises NotStarted, NotInstalled."""
        found = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise NotInstalled(
                "Expected `mosquitto` on the path, found none.", do="run deploy/setup"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        named = {line.split()[0] for line in self._settings}
        # As root it changes to another user, who could not write here.
        lines = [
            f"user {pwd.getpwuid(os.getuid()).pw_name}",
            f"listener {self.port} 127.0.0.1",
            *(line for line in KEEPING if line.split()[0] not in named),
            f"persistence_location {self.folder}/",
            *self._settings,
        ]
        file = self.folder / "mosquitto.conf"
        file.write_text("\n".join(lines) + "\n")
        self._spawn([found, "-c", str(file)])
        await self._until_ready(10.0)

    async def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False


async def started(server: Mosquitto) -> None:
    """Start ``server``; the test is left out where there is no Mosquitto."""
    try:
        await server.start()
    except NotInstalled as error:
        pytest.skip(str(error))
