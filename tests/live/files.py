"""Captures of files in a process of their own: python -m tests.live.files BOOTSTRAP FOLDER NAME [DIES_AFTER]."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture import files
from agents.capture.files import FilesSource
from agents.capture.files_settings import FilesFolder
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.capture.source import Changes, Place
from agents.kafka.cluster import Cluster
from contracts.model import Contract
from contracts.subjects import CONTRACTS


def contract_of(name: str) -> Contract:
    """Divisions, whatever they are, under a subject of the test's own."""
    return msgspec.structs.replace(CONTRACTS["division.v1"], subject=name, rules=())


def capture(bootstrap: str, folder: Path, name: str, mode: str) -> Intake:
    """The capture of the files in ``folder/in``."""
    contract, cluster = contract_of(name), Cluster(bootstrap)
    settings = msgspec.convert(
        {
            "kind": "files", "contract": contract.name, "folder": folder / "in",
            "mode": mode, "settle": 0.1,
        },
        FilesFolder,
    )  # fmt: skip
    hop = Hop("capture", contract.name, settings.collects, contract.name)
    requests = Requests(folder / "requests")
    place = Place(contract, "37", folder / "state", requests, Published(cluster, contract), hop)
    return Intake(
        hop,
        contract=contract,
        cluster=cluster,
        node="37",
        source=lambda: settings.source(place),
        requests=requests,
    )


def captures(bootstrap: str, folder: str, name: str) -> list[Intake]:
    """That of snapshots, and one of deltas, each in a folder of its own."""
    return [
        capture(bootstrap, Path(folder) / mode, f"{name}_{mode}", mode)
        for mode in ("snapshot", "delta")
    ]


class Doomed(FilesSource):
    """Dies with its process, by kill -9, a moment after so many changes were told by all there are."""

    left = 0

    async def read(self) -> Changes:
        told = await super().read()
        Doomed.left -= len(told.changes)
        if told.changes and Doomed.left <= 0:
            # Kafka has them by then, and no watermark covers them.
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGKILL)
        return told


async def main(bootstrap: str, folder: str, name: str, dies_after: str = "1000000000") -> None:
    Doomed.left = int(dies_after)
    files.FilesSource = Doomed  # type: ignore[misc]
    async with asyncio.TaskGroup() as group:
        for part in captures(bootstrap, folder, name):
            group.create_task(supervise(part, asyncio.Event()), name=part.hop.contract)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
