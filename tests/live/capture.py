"""A capture in a process of its own, to be killed: python -m tests.live.capture BOOTSTRAP DSN [REQUESTS]."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.postgres import PostgresSource
from agents.capture.published import Published
from agents.capture.source import Place
from agents.kafka.cluster import Cluster
from contracts.subjects import CONTRACTS

DIVISION = CONTRACTS["division.v1"]


def capture(bootstrap: str, dsn: str, requests: str = "requests", **settings: Any) -> Intake:
    """The capture of ``public.division`` under a subject named after its database."""
    name = dsn.rpartition("=")[2]
    contract = msgspec.structs.replace(DIVISION, subject=name)
    columns = {field: field for field in contract.field_names}
    cluster = Cluster(bootstrap)
    hop = Hop("capture", contract.name, "public.division", contract.name)
    folder = Path(requests)
    asked = Requests(folder)
    place = Place(contract, "37", folder, asked, Published(cluster, contract), hop)

    def source() -> PostgresSource:
        return PostgresSource(
            dsn=dsn,
            table="public.division",
            columns=columns,
            key="code",
            name=name,
            **{"chunk": 200, "place": place, **settings},
        )

    return Intake(hop, contract=contract, cluster=cluster, node="37", source=source, requests=asked)


if __name__ == "__main__":
    asyncio.run(supervise(capture(*sys.argv[1:]), asyncio.Event()))
