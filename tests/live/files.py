"""Captures of files in a process of their own, to be killed: python -m tests.live.files BOOTSTRAP FOLDER NAME."""

import asyncio
import sys
from pathlib import Path

import msgspec

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.files_settings import FilesFolder
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.capture.source import Place
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


async def main(bootstrap: str, folder: str, name: str) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for part in captures(bootstrap, folder, name):
            group.create_task(supervise(part, stop), name=part.hop.contract)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
