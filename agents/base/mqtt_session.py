"""One connection to an MQTT broker, in which we say ourselves when a message is acknowledged.

aiomqtt has no acknowledgement after processing, and forgets whether a message came before (DUP). Both
are in paho below it, which this module reaches for: it alone knows the inside of either. What it holds
to, and a test with a real broker for each:

- paho acknowledges after ``on_message`` unless ``manual_ack_set``; that is then ours, from the event
  loop, in the order in which messages came [MQTT-4.6.0-2]. Several go to its queue as one piece, or
  each would be a system call.
- paho reads a packet by three system calls or more; :meth:`Session._receive` gives it its bytes from
  larger pieces.
- aiomqtt's own queue drops with a log line when it is full. It is not used: messages go to ``waiting``,
  and above :data:`MOST` of them, or :data:`MOST_BYTES`, the socket is not read any more until half are
  taken. TCP holds the broker back, and nothing is thrown away.
- A packet id is only good on its connection. After a loss the broker sends what was not acknowledged
  again, with the packet id it had and DUP; a session is not for use after that, make another.
- paho tells nobody of a PINGRESP, so its handler is wrapped: a broker works a connection's packets off
  in their order, so whoever has an answer knows that every acknowledgement sent before was taken.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agents.base.errors import SourceMismatch, Unavailable
from agents.base.mqtt_address import Address

#: Messages, and bytes of them, that wait here at most; above it the socket is not read.
MOST, MOST_BYTES = 5_000, 16 * 1024 * 1024
#: Packets taken in one turn of the event loop.
_TURN = 64
#: Bytes taken from the socket at once.
_PIECE = 64 * 1024
#: Reasons of a refused CONNECT, MQTT 3.1.1 (1-5, as paho shows them) and 5, that a person must mend.
_FOR_A_PERSON = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 1, 2, 4, 5}


class Message(NamedTuple):
    """What came; ``mid`` is the packet id on this connection, 0 with QoS 0."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    again: bool


class Session(aiomqtt.Client):
    """A persistent session at ``address``, or one that leaves nothing behind with ``passing``;
    ``async with`` connects.

    Raises Unavailable, and SourceMismatch where the broker does not let us in.
    """

    def __init__(
        self, address: Address, *, passing: bool = False, will: aiomqtt.Will | None = None
    ) -> None:
        five, properties = address.version == 5, None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0 if passing else address.expiry
            properties.ReceiveMaximum = address.receive
        super().__init__(
            address.host,
            address.port,
            identifier=address.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            username=address.username,
            password=address.password,
            tls_context=address.tls,
            will=will,
            keepalive=30,
            # What is published goes out at once: where few may be under way, each waits for the last.
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
            properties=properties,
            clean_start=passing if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if five else passing,
        )
        self.address = address
        self.waiting: deque[Message] = deque()
        #: Is set when something came, an answer to a ping, or the end.
        self.news = asyncio.Event()
        #: Did the broker have our session?
        self.resumed = False
        #: What the broker said of itself when it let us in; MQTT 5.
        self.granted: Properties | None = None
        #: Answers to our pings so far, and pings that wait for theirs.
        self.answered, self._pinged = 0, False
        self.paused = False
        self._bytes = 0
        self._socket_number = -1
        # Nobody waits for these where connecting fails; how it failed is said all the same.
        for each in (self._connected, self._disconnected):
            each.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._client.manual_ack_set(True)
        # What it says of a lost line is ours to say, once.
        self._client.disable_logger()
        self._piece, self._at = b"", 0
        self._from_socket = self._client._sock_recv
        self._client._sock_recv = self._receive  # type: ignore[assignment, method-assign]
        handle = self._client._handle_pingresp

        def answered() -> Any:
            if self._pinged:
                self._pinged = False
                self.answered += 1
                self.news.set()
            return handle()

        self._client._handle_pingresp = answered  # type: ignore[method-assign]

    @property
    def where(self) -> str:
        """The broker's address for a person."""
        return f"{self.address.host}:{self.address.port}"

    async def __aenter__(self) -> "Session":
        try:
            await super().__aenter__()
        except MqttConnectError as error:
            if _code(error.rc) in _FOR_A_PERSON:
                raise SourceMismatch(
                    "The MQTT broker does not let us in",
                    broker=self.where, client_id=self.address.client_id, said=str(error.rc),
                    do="look at username, password, client_id and the broker's own list of users",
                ) from None  # fmt: skip
            raise Unavailable(
                "The MQTT broker refuses the connection", broker=self.where, said=str(error.rc)
            ) from None
        except aiomqtt.MqttError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise SourceMismatch(
                    "The MQTT broker's certificate is not one we trust",
                    broker=self.where, said=str(error),
                    do="name the authority that signed it as `ca`, and the host as it stands in it",
                ) from None  # fmt: skip
            raise Unavailable(
                "The MQTT broker does not answer", broker=self.where, said=str(error)
            ) from None
        self._disconnected.add_done_callback(lambda _: self.news.set())
        return self

    async def __aexit__(self, *error: Any) -> None:
        # A line that is gone needs no farewell.
        with contextlib.suppress(aiomqtt.MqttError):
            await super().__aexit__(*error)
        if self._misc_task is not None:
            self._misc_task.cancel()
            await asyncio.gather(self._misc_task, return_exceptions=True)

    def check(self) -> None:
        """Raise Unavailable once the connection is lost."""
        if self._disconnected.done():
            raise Unavailable(
                "The MQTT broker ended the connection",
                broker=self.where, said=str(self._disconnected.exception() or "closed"),
            )  # fmt: skip

    async def listen(self, topic: str) -> int:
        """Subscribe with QoS 1, and say which QoS was granted; 5 has retained messages told only where
        the subscription is new. Raises Unavailable, SourceMismatch."""
        try:
            if self.address.version == 5:
                options = SubscribeOptions(qos=1, retainHandling=1)
                codes = await self.subscribe(topic, options=options)
            else:
                codes = await self.subscribe(topic, qos=1)
        except aiomqtt.MqttError as error:
            raise Unavailable(
                "The MQTT broker does not answer", broker=self.where, said=str(error)
            ) from None
        granted = _code(codes[0])
        if granted >= 0x80:
            raise SourceMismatch(
                "The MQTT broker refuses the subscription",
                broker=self.where, topic=topic, said=str(codes[0]),
                do="allow this user to read that topic in the broker's access list",
            )  # fmt: skip
        return granted

    async def forget(self, topic: str) -> None:
        """Unsubscribe. Raises Unavailable."""
        try:
            await self.unsubscribe(topic)
        except aiomqtt.MqttError as error:
            raise Unavailable(
                "The MQTT broker does not answer", broker=self.where, said=str(error)
            ) from None

    def acknowledge(self, messages: Iterable[Message]) -> None:
        """Tell the broker that it may forget ``messages``, in the order in which they came."""
        # MQTT 3.1.1 and 5, section 3.4: with a remaining length of 2 the reason is success.
        packets = b"".join(
            b"\x40\x02" + message.mid.to_bytes(2) for message in messages if message.qos
        )
        if packets and not self._disconnected.done():
            self._client._packet_queue(paho.PUBACK, packets, 0, 1)

    def ping(self) -> bool:
        """Ask for a sign that everything sent so far was taken; False while one is under way."""
        if self._pinged or self._client._ping_t or self._disconnected.done():
            return False
        self._pinged = True
        self._client._send_pingreq()
        return True

    def take(self) -> Message:
        """The oldest message that waits. Raises IndexError."""
        message = self.waiting.popleft()
        self._bytes -= len(message.payload)
        if self.paused and len(self.waiting) <= MOST // 2 and self._bytes <= MOST_BYTES // 2:
            self.paused = False
            if not self._disconnected.done():
                self._loop.add_reader(self._socket_number, self._readable)
                # There may be packets for which the socket will not wake us.
                self._loop.call_soon(self._readable)
        return message

    # ---- what paho calls -----------------------------------------------------------------------

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        self.resumed = bool(flags.session_present)
        self.granted = properties
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        # A topic that is not UTF-8 breaks the protocol; it is shown as it came as far as can be.
        topic = message._topic.decode(errors="replace")
        payload = bytes(message.payload)
        self.waiting.append(Message(topic, payload, message.mid, message.qos, message.dup))
        self._bytes += len(payload)
        self.news.set()

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        # Called in a thread of the executor.
        self._socket_number = sock.fileno()

        def begin() -> None:
            self._loop.add_reader(self._socket_number, self._readable)
            name = f"mqtt-{self.address.client_id}"
            self._misc_task = self._loop.create_task(self._misc_loop(), name=name)

        self._loop.call_soon_threadsafe(begin)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        # May be called in a thread of the executor; by its turn the socket may be closed.
        def begin() -> None:
            if sock.fileno() >= 0 and not self._disconnected.done():
                self._loop.add_writer(sock.fileno(), self._writable)

        self._loop.call_soon_threadsafe(begin)

    def _writable(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _readable(self) -> None:
        """Take packets until the socket has none, a turn is over, or enough messages wait."""
        client = self._client
        if self.paused:
            return
        try:
            for _ in range(_TURN):
                before = len(self.waiting)
                client.loop_read()
                if len(self.waiting) >= MOST or self._bytes >= MOST_BYTES:
                    self._pause()
                    return
                if len(self.waiting) == before and not self._buffered:
                    return
            if self._buffered:
                self._loop.call_soon(self._readable)
        except Exception as error:
            # paho raises whatever the socket does; either way the line is gone.
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _receive(self, size: int) -> bytes:
        """In the place of paho's reading of ``size`` bytes from the socket. Raises BlockingIOError."""
        if self._at >= len(self._piece):
            self._piece, self._at = self._from_socket(_PIECE), 0
        found = self._piece[self._at : self._at + size]
        self._at += len(found)
        return found

    @property
    def _buffered(self) -> bool:
        """Are there bytes for which the socket will not wake us?"""
        sock = self._client.socket()
        return self._at < len(self._piece) or (
            isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        )

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._loop.remove_reader(self._socket_number)


def _code(reason: Any) -> int:
    return int(getattr(reason, "value", reason))
