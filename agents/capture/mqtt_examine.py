"""What ``levelsync doctor`` finds at an MQTT broker."""

import asyncio
from typing import TYPE_CHECKING

from agents.base.errors import LevelsyncError
from agents.base.findings import Finding, ok, warning, wrong
from agents.base.mqtt_address import Address
from agents.base.mqtt_session import Session
from agents.capture.mqtt_template import Template

if TYPE_CHECKING:
    from agents.capture.mqtt import MqttTopics

#: Where Mosquitto tells how many messages it threw away since it started.
_DROPPED = "$SYS/broker/publish/messages/dropped"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


async def examine(settings: "MqttTopics", address: Address) -> list[Finding]:
    """Is the broker there, does it let us in, and may we read?"""
    passing = address._replace(client_id=f"{address.client_id}_doctor")
    about, found = settings.url, []
    try:
        async with Session(passing, passing=True) as session:
            found.append(ok(about, f"answers with MQTT {settings.version}, and lets us in"))
            found += await _topics(session, Template(settings.topic).filter)
    except LevelsyncError as error:
        said = str(error.facts.get("said", ""))
        found.append(
            wrong(
                about,
                f"{error.message}{f': {said}' if said else ''}",
                str(error.facts.get("do", "Start the broker, or mend the line.")),
            )
        )
    if address.tls is None and address.host not in _LOOPBACK:
        found.append(
            warning(
                about,
                "password and messages cross the network as they are",
                "Have the broker speak TLS, and name it `mqtts://`.",
            )
        )
    return found


async def _topics(session: Session, topic: str) -> list[Finding]:
    granted = await session.listen(topic)
    found = [
        ok(topic, "may be read, with QoS 1")
        if granted == 1
        else warning(
            topic,
            f"may be read with QoS {granted} alone: what is sent while the agent is away is lost",
            "Allow this user QoS 1.",
        )
    ]
    try:
        await session.listen(_DROPPED)
    except LevelsyncError:
        return found
    for _ in range(20):
        while session.waiting:
            message = session.take()
            if message.topic == _DROPPED and message.payload not in (b"0", b""):
                found.append(
                    warning(
                        _DROPPED,
                        f"{message.payload.decode(errors='replace')} messages were thrown away",
                        "Raise `max_queued_messages` and `max_queued_bytes` (0: no bound), or look"
                        " for other clients that are away.",
                    )
                )
                return found
        await asyncio.sleep(0.05)
    return found
