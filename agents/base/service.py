"""What an agent tells the service manager that started it, as systemd's ``sd_notify(3)`` describes.

Datagrams to ``$NOTIFY_SOCKET``: that it is ready, how it goes in one line, and that it is alive, within
``$WATCHDOG_USEC``. Without that socket nothing is told.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from agents.base.status import Status

#: Seconds between looks at the status line, and between signs of life where nobody waits for them.
OFTEN = 5.0


def tell(**said: str) -> None:
    """Tell the service manager, if there is one: ``tell(READY="1", STATUS="…")``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    lines = "\n".join(f"{name}={' '.join(text.split())}" for name, text in said.items())
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.setblocking(False)  # a manager that does not listen must not hold up the agent
        way.sendto(lines.encode(), address)


async def keep_telling(status: Status, alive: Callable[[], bool]) -> None:
    """Tell how it goes whenever that changes, and that the agent lives while ``alive``."""
    told = ""
    every = min(OFTEN, _patience() / 3)
    while True:
        now = summary(status)
        if now != told:
            told = now
            tell(STATUS=now)
        if alive():
            tell(WATCHDOG="1")
        await asyncio.sleep(every)


def _patience() -> float:
    """Seconds after which the manager takes a silent agent for dead."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else 3 * OFTEN


def summary(status: Status) -> str:
    """How it goes, in one line for a person; names contracts and never records."""
    hops = status.hops
    well = [hop for hop in hops if hop.ready and hop.trouble() is None]
    parts = [f"{len(well)} of {len(hops)} hops are well"]
    parts += [f"{hop.hop} {hop.contract} {hop.state}" for hop in hops if hop not in well][:3]
    return "; ".join(parts)
