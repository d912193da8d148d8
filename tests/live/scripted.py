"""A capture whose source says what a test wants it to."""

import asyncio
from pathlib import Path
from typing import Any

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.source import Changes
from agents.kafka.cluster import Cluster
from contracts.model import Contract


class Scripted:
    """A :class:`agents.capture.source.Source` that notes what it is opened with."""

    def __init__(self) -> None:
        self.opened: tuple[Any, frozenset[str]] | None = None
        self.confirmed: list[Any] = []
        self.told: asyncio.Queue[Changes] = asyncio.Queue()

    async def __aenter__(self) -> "Scripted":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def open(self, position: Any, held: frozenset[str]) -> None:
        self.opened = position, held

    async def read(self) -> Changes:
        return await self.told.get()

    async def confirm(self, position: Any) -> None:
        self.confirmed.append(position)


def begin(
    contract: Contract, cluster: Cluster, requests: Requests | None = None, **other: Any
) -> tuple[Scripted, Hop, asyncio.Event, asyncio.Task[None]]:
    """Start a capture over a scripted source."""
    source = Scripted()
    hop = Hop("capture", contract.name, "", contract.name)
    intake = Intake(
        hop,
        contract=contract,
        cluster=cluster,
        **({"node": "37"} | other),
        source=lambda: source,
        requests=requests or Requests(Path("requests")),
    )
    stop = asyncio.Event()
    return source, hop, stop, asyncio.create_task(supervise(intake, stop), name="capture")
