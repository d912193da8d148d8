"""A connection to an MQTT broker over which much is published, and each message's PUBACK is known.

aiomqtt waits for one message at a time and does not say what the broker answered; both are in paho
below it. :class:`agents.base.mqtt_session.Session` knows its inside, and this module two things more:
paho calls ``on_publish`` with the reason of each PUBACK, and keeps what it sent until then, so that a
bound on what is under way bounds its memory too.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import aiomqtt
import paho.mqtt.client as paho

from agents.base.errors import LevelsyncError, Policy, Unavailable
from agents.base.mqtt_address import Address
from agents.base.mqtt_session import Session

#: Messages, and bytes of them, under way at once; fewer where the broker says so.
MOST, MOST_BYTES = 500, 8 * 1024 * 1024
#: As many where a broker of MQTT 3.1.1 cannot say.
CAREFUL = 100
#: Seconds without any acknowledgement after which the line is taken for dead.
PATIENCE = 30.0
#: Bytes of a PUBLISH besides topic and payload, at most.
_FRAME = 16
#: Reasons of a PUBACK, MQTT 5, section 3.4.2.1.
_NOT_AUTHORISED, _QUOTA = 0x87, 0x97


class OutRefused(LevelsyncError):
    """The broker refuses what the window has to tell it."""

    policy = Policy.RETRY
    hint = "The agent tries again by itself; `levelsync doctor NODE.toml` looks at all of it."


class Post(NamedTuple):
    """One message with QoS 1."""

    topic: str
    payload: bytes
    retain: bool


class Publisher(Session):
    """A session that leaves nothing behind but what it publishes; the broker publishes ``will``,
    retained, when it is lost."""

    def __init__(self, address: Address, will: Post) -> None:
        last = aiomqtt.Will(will.topic, will.payload, qos=1, retain=True)
        super().__init__(address, passing=True, will=last)
        self._client.max_inflight_messages_set(0)  # we bound it
        #: By packet id, the place of the message among those being told, and its bytes.
        self._under_way: dict[int, tuple[int, int]] = {}
        self._under_way_bytes = 0
        self._refused: dict[int, str] = {}
        self._error: LevelsyncError | None = None

    async def __aenter__(self) -> "Publisher":
        try:
            await super().__aenter__()
        except Unavailable as error:
            if "Retain not supported" in str(error.facts.get("said")):
                raise self.retaining() from None
            raise
        if not getattr(self.granted, "RetainAvailable", 1):
            raise self.retaining()
        return self

    def retaining(self) -> OutRefused:
        """What there is to say of a broker that retains nothing."""
        return OutRefused(
            "The MQTT broker keeps no retained messages",
            broker=self.where, do="set `retain_available true`, or its like, there",
        )  # fmt: skip

    async def tell(self, posts: Sequence[Post]) -> Mapping[int, str]:
        """Publish ``posts`` in their order and wait until the broker has them all; the answer are the
        places of those it does not take by themselves, and why.

        Raises Unavailable, and OutRefused where the broker takes none such.
        """
        self._refused = refused = {}
        for place, post in enumerate(posts):
            size = len(post.payload)
            if why := self._too_large(post):
                refused[place] = why
                continue
            while len(self._under_way) >= self.room or (
                self._under_way and self._under_way_bytes + size > MOST_BYTES
            ):
                await self._moved()
            self.check()
            info = self._client.publish(post.topic, post.payload, 1, post.retain)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                raise Unavailable(
                    "The MQTT broker ended the connection",
                    broker=self.where, said=paho.error_string(info.rc),
                )  # fmt: skip
            self._under_way[info.mid] = place, size
            self._under_way_bytes += size
        while self._under_way:
            await self._moved()
        if self._error:
            raise self._error
        return refused

    @property
    def room(self) -> int:
        """How many messages may be under way."""
        if self.address.version != 5:
            return CAREFUL
        return min(MOST, int(getattr(self.granted, "ReceiveMaximum", MOST)))

    def _too_large(self, post: Post) -> str:
        topic = len(post.topic.encode())
        if topic > 65_535:
            return f"its topic has {topic} bytes, and 65535 is the most there can be"
        most = getattr(self.granted, "MaximumPacketSize", None)
        if most and topic + len(post.payload) + _FRAME > most:
            return f"{len(post.payload)} bytes, and the broker takes packets of {most}"
        return ""

    async def _moved(self) -> None:
        """Wait for an acknowledgement. Raises Unavailable."""
        self.check()
        self.news.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.news.wait()
        except TimeoutError:
            raise Unavailable(
                "The MQTT broker acknowledges nothing",
                broker=self.where, said=f"no PUBACK within {PATIENCE:.0f} s",
            ) from None  # fmt: skip
        self.check()

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:
        place, size = self._under_way.pop(mid, (-1, 0))
        self._under_way_bytes -= size
        code = int(getattr(reason_code, "value", 0))
        if code == _NOT_AUTHORISED:
            self._error = OutRefused(
                "The MQTT broker does not let us publish",
                broker=self.where, said=str(reason_code),
                do="allow this user to write below the prefix in the broker's access list",
            )  # fmt: skip
        elif code == _QUOTA:
            self._error = OutRefused(
                "The MQTT broker is full", broker=self.where, said=str(reason_code)
            )
        elif code >= 0x80:
            self._refused[place] = str(reason_code)
        self.news.set()
