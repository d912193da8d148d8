"""A capture from MQTT in a process of its own, to be killed: python -m tests.live.mqtt BOOTSTRAP PORT
SUBJECT STATE."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.mqtt import MqttTopics
from agents.capture.published import Published
from agents.capture.source import Place
from agents.kafka.cluster import Cluster
from tests.live.capture import DIVISION


def capture(bootstrap: str, port: int | str, subject: str, state: Path, **settings: Any) -> Intake:
    """The capture of ``divisions/<code>`` at the broker on ``port`` under a subject of its own."""
    contract = msgspec.structs.replace(DIVISION, subject=subject)
    cluster = Cluster(bootstrap)
    url = settings.pop("url", f"mqtt://127.0.0.1:{port}")
    topics = MqttTopics(
        **{"contract": contract.name, "url": url, "topic": "divisions/{code}", **settings}
    )
    topics.validate()
    hop = Hop("capture", contract.name, topics.collects, contract.name)
    place = Place(
        contract=contract,
        node="37",
        state=state,
        requests=Requests(state / "requests"),
        published=Published(cluster, contract),
        hop=hop,
    )
    return Intake(
        hop,
        contract=contract,
        cluster=cluster,
        node="37",
        source=lambda: topics.source(place),
        requests=place.requests,
    )


if __name__ == "__main__":
    bootstrap, port, subject, state = sys.argv[1:5]
    asyncio.run(supervise(capture(bootstrap, port, subject, Path(state)), asyncio.Event()))
