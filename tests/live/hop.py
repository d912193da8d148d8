"""A link in a process of its own, to be killed: python -m tests.live.hop BOOTSTRAP FROM TO."""

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agents.base.run import collect_rarely, supervise
from agents.base.status import Hop
from agents.kafka.cluster import Cluster
from agents.kafka.topics import DATA, Topic
from agents.relay.relay import Relay
from tests.live.streams import PARTITIONS


def link(
    cluster: Cluster,
    upstream: str,
    target: str,
    *,
    config: Mapping[str, str] | None = None,
    resync: int = 0,
    state: Path | None = None,
) -> Relay:
    """A link on one cluster from topic to topic; ``config`` are settings of the target's own."""
    return Relay(
        Hop("link", "resident.v2", upstream, target),
        upstream=cluster,
        downstream=cluster,
        sources=lambda: frozenset({upstream}),
        target=Topic(target, PARTITIONS, {**DATA, **(config or {})}),
        identity=f"link-{target}",
        state=state or Path(tempfile.gettempdir()) / "levelsync-test-links",
        resync=resync,
    )


if __name__ == "__main__":
    collect_rarely()
    bootstrap, upstream, target = sys.argv[1:]
    asyncio.run(supervise(link(Cluster(bootstrap), upstream, target), asyncio.Event()))
