"""A capture in a process of its own, to be killed: python -m tests.live.capture BOOTSTRAP DSN."""

import asyncio
import sys
from pathlib import Path

import msgspec

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.postgres import PostgresSource
from agents.kafka.cluster import Cluster
from contracts.subjects import CONTRACTS

DIVISION = CONTRACTS["division.v1"]


def capture(bootstrap: str, dsn: str) -> Intake:
    """The capture of ``public.division`` under a subject named after its database."""
    name = dsn.rpartition("=")[2]
    contract = msgspec.structs.replace(DIVISION, subject=name)
    columns = {field: field for field in contract.field_names}

    def source() -> PostgresSource:
        return PostgresSource(
            dsn=dsn, table="public.division", columns=columns, key="code", name=name, chunk=200
        )

    return Intake(
        Hop("capture", contract.name, "public.division", contract.name),
        contract=contract,
        cluster=Cluster(bootstrap),
        node="37",
        source=source,
        requests=Requests(Path("requests")),
    )


if __name__ == "__main__":
    asyncio.run(supervise(capture(*sys.argv[1:]), asyncio.Event()))
