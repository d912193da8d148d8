"""A capture from HTTP in a process of its own, to be killed: python -m tests.live.http_intake BOOTSTRAP
PORT SUBJECT STATE."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from agents.base.config import IntakeTable, Sender
from agents.base.health import listening
from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.base.table import sealed_token
from agents.base.tls import certificate_of
from agents.capture.http_desk import Desk
from agents.capture.http_gate import intake_app
from agents.capture.http_source import HttpRecords
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.capture.source import Place
from agents.kafka.cluster import Cluster
from tests.live.capture import DIVISION

TOKEN = "a-token-of-the-tests"


def desk_for(contracts: list[str], port: int, rate: int = 0, **more: Any) -> Desk:
    """A desk on ``port`` with one sender, ``bureau``, which may send all of ``contracts``."""
    sender = Sender(name="bureau", token=sealed_token(TOKEN), contracts=tuple(contracts), rate=rate)
    other = Sender(name="other", token=sealed_token(TOKEN[::-1]), contracts=())
    table = IntakeTable(listen=f"127.0.0.1:{port}", sender=(sender, other), **more)
    return Desk(table, contracts)


def capture(bootstrap: str, desk: Desk, subject: str, state: Path, **changed: Any) -> Intake:
    """The capture of divisions that come in at ``desk``."""
    contract = msgspec.structs.replace(DIVISION, subject=subject, **changed)
    cluster = Cluster(bootstrap)
    settings = HttpRecords(contract=contract.name)
    hop = Hop("capture", contract.name, settings.collects, contract.name)
    place = Place(
        contract=contract,
        node="37",
        state=state,
        requests=Requests(state / "requests"),
        published=Published(cluster, contract),
        hop=hop,
        desk=desk,
    )
    return Intake(
        hop,
        contract=contract,
        cluster=cluster,
        node="37",
        source=lambda: settings.source(place),
        requests=place.requests,
    )


@contextlib.asynccontextmanager
async def opened(part: Intake, desk: Desk) -> AsyncIterator[Intake]:
    """Door and capture are open meanwhile."""
    stop = asyncio.Event()
    table = desk.table
    certificate = certificate_of(table.certificate, table.key, "intake")
    tls = certificate.context if certificate else None
    async with listening(intake_app(desk), table.listen, "listen", tls):
        task = asyncio.create_task(supervise(part, stop), name="capture")
        try:
            async with asyncio.timeout(15):
                while part.hop.state not in ("running", "stopped"):
                    await asyncio.sleep(0.02)
            yield part
        finally:
            stop.set()
            await task


async def main(bootstrap: str, port: int, subject: str, state: Path) -> None:
    """Serve until killed."""
    desk = desk_for([f"{subject}.v1"], port)
    async with opened(capture(bootstrap, desk, subject, state), desk):
        await asyncio.Event().wait()


if __name__ == "__main__":
    bootstrap, port, subject, state = sys.argv[1:5]
    asyncio.run(main(bootstrap, int(port), subject, Path(state)))
