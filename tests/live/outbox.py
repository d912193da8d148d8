"""A capture of an outbox in a process of its own: python -m tests.live.outbox BOOTSTRAP DSN."""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.outbox import OutboxTable
from agents.capture.published import Published
from agents.capture.source import Place
from agents.kafka.cluster import Cluster
from tests.live.capture import DIVISION

TABLE = "app.outbox"


def outbox(bootstrap: str, dsn: str, subject: str = "", **settings: Any) -> Intake:
    """The capture of ``app.outbox`` under a subject, that of its database's name unless said."""
    contract = msgspec.structs.replace(DIVISION, subject=subject or dsn.rpartition("=")[2])
    cluster = Cluster(bootstrap)
    hop = Hop("capture", contract.name, TABLE, contract.name)
    requests = Requests(Path("requests"))
    place = Place(contract, "37", Path("state"), requests, Published(cluster, contract), hop)
    table = OutboxTable(contract=contract.name, dsn=dsn, table=TABLE, **settings)
    return Intake(
        hop,
        contract=contract,
        cluster=cluster,
        node="37",
        source=partial(table.source, place),
        requests=requests,
    )


if __name__ == "__main__":
    asyncio.run(supervise(outbox(*sys.argv[1:]), asyncio.Event()))
