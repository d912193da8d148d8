"""The peer of the window's feed: Centrifugo, a hub in Go that speaks server-sent events and keeps history.

Built by Go from its module proxy the first time. It is given what levelsync tells, word for word, over
its HTTP API; it neither stores on disk nor checks.
"""

import asyncio
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from agents.demo.servers import NotInstalled, Server
from agents.window.feed import Line
from agents.window.rights import ALL, Wanted
from agents.window.store import Change
from contracts.envelope import Event
from tests.bench.jars import ROOT
from tests.bench.residents import CONTRACT

MODULE, VERSION = "github.com/centrifugal/centrifugo/v6", "v6.9.1"
_KEY = "bench"
_WANTED = Wanted({CONTRACT.name: ALL})


def program() -> Path:
    """Where it is. Raises NotInstalled."""
    folder = ROOT / ".cache" / "centrifugo"
    found = folder / "centrifugo"
    if found.exists():
        return found
    if shutil.which("go") is None:
        raise NotInstalled("Expected `go` on the path to build Centrifugo, found none.")
    built = subprocess.run(
        ["go", "install", f"{MODULE}@{VERSION}"],
        env={**os.environ, "GOBIN": str(folder.resolve())},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=1_500,
    )  # fmt: skip
    if built.returncode:
        raise NotInstalled(f"Go cannot build Centrifugo:\n{built.stderr}")
    return found


class Centrifugo(Server):
    """One hub on loopback, that anybody may follow."""

    path = "/connection/uni_sse?cf_connect=" + quote(json.dumps({"subs": {"resident": {}}}))

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__("centrifugo", folder)
        self.address = ("127.0.0.1", port)
        self._settings: dict[str, Any] = {
            "http_server": {"address": "127.0.0.1", "port": str(port)},
            "client": {"allow_anonymous_connect_without_token": True},
            "channel": {
                "without_namespace": {
                    "allow_subscribe_for_client": True,
                    "allow_subscribe_for_anonymous": True,
                    # As far back as levelsync's feed reaches.
                    "history_size": 100_000,
                    "history_ttl": "1h",
                }
            },
            "http_api": {"key": _KEY},
            "uni_sse": {"enabled": True},
            "usage_stats": {"disabled": True},
            "log": {"level": "warn"},
        }

    async def start(self) -> None:
        """Wait until it answers. Raises NotStarted, NotInstalled."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "centrifugo.json"
        file.write_text(json.dumps(self._settings))
        self._spawn([str(program()), "-c", str(file)])
        await self._until_ready(20.0)

    async def _ready(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self.address)
        except OSError:
            return False
        writer.close()
        return True

    async def publish(self, made: "asyncio.Queue[Event | None]") -> None:
        """Publish each event that is made, in their order, until None."""
        host, port = self.address
        async with aiohttp.ClientSession(headers={"X-API-Key": _KEY}) as session:
            while (event := await made.get()) is not None:
                body = b'{"channel":"resident","data":%s}' % _told(event)
                async with session.post(f"http://{host}:{port}/api/publish", data=body) as answer:
                    answer.raise_for_status()


def _told(event: Event) -> bytes:
    """What levelsync's window tells of it."""
    change = Change(
        0, CONTRACT.name, event.key, event.scope, "", event.value, event.id, event.time,
        event.sequence, event.source,
    )  # fmt: skip
    body = Line(change).seen(_WANTED)
    assert body
    return body


async def paced(rate: int, count: int, publish: "asyncio.Queue[Event | None]") -> None:
    """Hand over ``count`` events of just now, ``rate`` a second."""
    from tests.bench.window_server import event

    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        publish.put_nowait(event(number))
    publish.put_nowait(None)
