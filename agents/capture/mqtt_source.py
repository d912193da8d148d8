"""Messages of an MQTT broker, acknowledged only once Kafka has them.

The broker keeps what is not acknowledged in our persistent session, so it, and not the agent, holds what
is under way. After a lost connection it sends that again, with the packet id it had and the flag DUP.
Each change's id therefore names packet id and content (:func:`_name`); a message that comes again and is
among what was told already is acknowledged, and not told again. A message without DUP is always a new
one. What was told counts until an acknowledgement of it has surely reached the broker: such are in the
watermarks' position, at most as many as may be under way at once.

A broker that loses its session store (its disk, or a kill -9 where it writes only now and then) loses
what waited in it, and may send again, as new, what was acknowledged since it last wrote. The first no
client can mend: it is said once, as a warning. Against the second the payload's own id helps
(``id_field``): what was told under it in the last day is not told again, whatever the broker does.

A position is ``{"filter", "sequence", "told"}``.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agents.base.errors import SourceMismatch
from agents.base.mqtt_session import Message, Session
from agents.capture.ledger import Entry, Ledger
from agents.capture.mqtt_payload import Reading, unknown
from agents.capture.mqtt_template import Template
from agents.capture.sequence import Arrivals
from agents.capture.source import Change, Changes, Outcome, Place, Unreadable
from contracts.rejected import Rejected

if TYPE_CHECKING:
    from agents.capture.mqtt import MqttTopics

log = structlog.get_logger()

#: Messages after which a read ends.
ENOUGH = 1_000
#: Seconds an idle read waits, and between pings.
IDLE, PING = 1.0, 0.7
#: Seconds after which a broker has sent again what it had not seen acknowledged: it does so at once.
SETTLED = 30.0


class _Slot(msgspec.Struct):
    """A message that is not acknowledged yet; ``done`` once Kafka has it, or had it before."""

    message: Message
    tag: str
    done: bool = False


class MqttSource:
    """A :class:`agents.capture.source.Source` over one subscription. Not for use after an error."""

    def __init__(self, settings: "MqttTopics", place: Place) -> None:
        self._settings = settings
        self._place = place
        template = Template(settings.topic)
        self._filter = template.filter
        self._reading = Reading(
            place.contract,
            template,
            columns=settings.columns,
            payload=settings.payload,
            empty_deletes=settings.delete == "empty",
            drop=settings.extra == "drop",
            id_field=settings.id_field,
            time_field=settings.time_field,
        )
        self._session = Session(settings.address(place.name))
        self._client = self._session.address.client_id
        self._ledger: Ledger | None = None
        self._order = Arrivals()
        #: In the order they came: what the broker waits for our word on.
        self._unacknowledged: deque[_Slot] = deque()
        #: Told, and perhaps still to be sent again, by packet id: ``<id>.<digest>``.
        self._told: dict[int, str] = {}
        #: What of it stems from a run before, and is forgotten once the broker has settled.
        self._before: dict[int, str] = {}
        self._settled_at = 0.0
        #: Acknowledged since the last ping, and between it and the answer that proves them taken.
        self._acknowledged: list[tuple[int, str]] = []
        self._proving: list[tuple[int, str]] = []
        self._answers = 0
        self._pinged, self._ping_at = 0, 0.0
        #: A moment up to which the broker has sent all, and how many messages that is.
        self._sample: tuple[int, int] | None = None
        self._taken = 0
        self._complete = 0
        self._repeated = 0
        self._soon = False
        #: Ids of the senders' own that are on their way to Kafka, and who else waits for them.
        self._under_way: dict[str, list[_Slot]] = {}

    async def __aenter__(self) -> "MqttSource":
        if (name := unknown(Template(self._settings.topic), self._place.contract)) is not None:
            raise SourceMismatch(
                "The topic names what the contract has not", topic=self._settings.topic, found=name,
                do=f"name one of {', '.join(self._place.contract.field_names)}, or `_`",
            )  # fmt: skip
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.__aexit__(*error)
        if self._ledger is not None:
            self._ledger.close()

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        known: dict[str, Any] = position or {}
        mine = [found for name in held if (found := _parsed(name, self._client))]
        self._order = Arrivals([int(known.get("sequence", 0)), *(number for _, _, number in mine)])
        if self._settings.id_field:
            topic = self._place.topic or self._place.contract.name
            self._ledger = Ledger(self._place.state / "ledger.sqlite", topic)
            await self._ledger.complete(self._place.published)
            self._order.past(self._ledger.sequence)
        resumed = self._session.resumed
        if resumed:
            for tag in known.get("told", ()):
                self._before[int(tag.partition(".")[0])] = tag
            # The newest of a packet id counts: it was free for it.
            for mid, tag, _ in sorted(mine, key=lambda found: found[2]):
                self._before[mid] = tag
            self._told = dict(self._before)
        self._settled_at = time.monotonic() + SETTLED
        await self._subscribe(known.get("filter"), anew=not resumed, first=position is None)

    async def _subscribe(self, before: str | None, *, anew: bool, first: bool) -> None:
        """A subscription that stands is not made again: with MQTT 3 every retained message would come
        again with it."""
        hop, where = self._place.hop, self._session.where
        if anew and not first:
            said = (
                f"{where} had no session of `{self._client}` any more: what was published while the"
                " agent was away may be lost. Look at how long the broker keeps sessions"
                " (`session_hours`), and whether it keeps them on disk."
            )
            log.error("mqtt session lost", contract=hop.contract, broker=where, error=said)
            hop.warnings["mqtt_session"] = said
        if before and before != self._filter and not anew:
            await self._session.forget(before)
        if anew or before != self._filter:
            granted = await self._session.listen(self._filter)
            if granted < 1:
                hop.warnings["mqtt_qos"] = (
                    f"{where} grants QoS {granted} alone: what it sends while the agent or the line"
                    " is away is lost. Allow QoS 1."
                )

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        session = self._session
        deadline = time.monotonic() + IDLE
        while True:
            self._prove()
            session.check()
            left = min(deadline, self._ping_at) - time.monotonic()
            if session.waiting or self._sample or time.monotonic() >= deadline:
                break
            session.news.clear()
            try:
                async with asyncio.timeout(max(left, 0.001)):
                    await session.news.wait()
            except TimeoutError:
                pass
        changes: list[Change | Unreadable] = []
        waits: list[Callable[[Outcome], None]] = []
        while session.waiting and len(changes) < ENOUGH:
            self._enter(session.take(), changes, waits)
        if self._sample and self._taken >= self._sample[1]:
            self._complete, self._sample = self._sample[0], None
        self._acknowledge()
        self._show()
        return Changes(
            changes=changes,
            position={
                "filter": self._filter,
                "sequence": self._order.last,
                "told": list(self._told.values()),
            },
            complete=self._complete,
            # What the copy held is in the position from here on, so it need not come again first.
            passed=True,
            outcome=lambda index, outcome: waits[index](outcome),
        )

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`; each message is acknowledged by itself."""
        if self._ledger is not None:
            self._ledger.flush()

    # ---- one message ---------------------------------------------------------------------------

    def _enter(
        self,
        message: Message,
        changes: list[Change | Unreadable],
        waits: list[Callable[[Outcome], None]],
    ) -> None:
        """Take one message: a change, something wrong, or nothing where it was told before."""
        self._taken += 1
        tag = f"{message.mid}.{_digest(message)}"
        slot = _Slot(message, tag)
        if message.qos:
            self._unacknowledged.append(slot)
            if message.again and self._told.get(message.mid) == tag:
                self._before.pop(message.mid, None)
                slot.done = True
                self._repeated += 1
                return
            self._before.pop(message.mid, None)
        else:
            self._place.hop.warnings["mqtt_qos0"] = (
                f"`{message.topic}` is published with QoS 0: such messages are lost when the agent or"
                " the line is away. Publish with QoS 1."
            )
        change, own = self._change(message, tag)
        if own is not None:
            if (waiting := self._under_way.get(own)) is not None:
                waiting.append(slot)
                return
            assert self._ledger
            if self._ledger.find(own) is not None:
                slot.done = True
                self._repeated += 1
                return
            self._under_way[own] = []
        if message.qos:
            self._told[message.mid] = tag
        changes.append(change)
        waits.append(lambda outcome: self._stands(slot, change, own, outcome))

    def _change(self, message: Message, tag: str) -> tuple[Change | Unreadable, str | None]:
        """What a message says, and the id its sender gave it, if any."""
        sequence, arrived = self._order.next(), time.time_ns() // 1000
        name = f"{self._client}.{tag}.{int(sequence)}"
        try:
            said = self._reading.read(message.topic, message.payload)
        except Rejected as refused:
            key = self._reading.key_of(message.topic)
            wrong = Unreadable(
                name, sequence, arrived, key, refused, message.topic, message.payload
            )
            return wrong, None
        own = None if said.id is None else f"{self._client}:{said.id}"
        change = Change(
            id=own or name,
            sequence=sequence,
            time=said.time or arrived,
            key=said.key,
            fields=said.fields,
            origin=message.topic,
            raw=message.payload,
        )
        return change, own

    def _stands(
        self, slot: _Slot, change: Change | Unreadable, own: str | None, outcome: Outcome
    ) -> None:
        """Kafka has it, and the broker may forget it, and whatever came under the same id."""
        slot.done = True
        if own is not None:
            for again in self._under_way.pop(own, ()):
                again.done = True
                self._repeated += 1
            assert self._ledger
            if outcome.offset >= 0:
                partition = -1 if outcome.refused else outcome.partition
                entry = Entry(partition, outcome.offset, b"")
                self._ledger.add(own, entry, int(change.sequence))
        if not self._soon:
            # What Kafka has confirmed with it is on its way here too.
            self._soon = True
            asyncio.get_running_loop().call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        """In the order in which they came, as the protocol wants it."""
        self._soon = False
        left, ready = self._unacknowledged, []
        while left and left[0].done:
            slot = left.popleft()
            ready.append(slot.message)
            self._acknowledged.append((slot.message.mid, slot.tag))
        self._session.acknowledge(ready)

    def _prove(self) -> None:
        """Ping now and then. The answer says that the broker took every acknowledgement sent before,
        so what they were for cannot come again; and that it has sent all it had, where there was room
        for more."""
        session, now = self._session, time.monotonic()
        if self._proving or self._pinged:
            if session.answered > self._answers:
                self._answers = session.answered
                for mid, tag in self._proving:
                    if self._told.get(mid) == tag:
                        del self._told[mid]
                self._proving = []
                waiting = len(session.waiting)
                # With MQTT 3 nobody knows how many the broker would send at once.
                room = self._settings.inflight if self._settings.version == 5 else 1
                if len(self._unacknowledged) + waiting < room:
                    self._sample = (self._pinged, self._taken + waiting)
                self._pinged = 0
                if self._before and now >= self._settled_at:
                    for mid, tag in self._before.items():
                        if self._told.get(mid) == tag:
                            del self._told[mid]
                    self._before = {}
        elif now >= self._ping_at and session.ping():
            self._pinged = time.time_ns() // 1000
            self._proving, self._acknowledged = self._acknowledged, []
        if now >= self._ping_at:
            self._ping_at = now + PING

    def _show(self) -> None:
        gauges = self._place.hop.gauges
        gauges["mqtt_queue_messages"] = len(self._session.waiting)
        gauges["mqtt_unacknowledged_messages"] = len(self._unacknowledged)
        gauges["mqtt_repeated_messages"] = self._repeated
        gauges["mqtt_paused"] = float(self._session.paused)


def _digest(message: Message) -> str:
    text = message.topic.encode() + b"\x00" + message.payload
    return hashlib.blake2b(text, digest_size=6).hexdigest()


def _parsed(name: str, client: str) -> tuple[int, str, int] | None:
    """``client.17.a1b2….1700…`` → packet id, ``17.a1b2…``, sequence; None for a name of another kind."""
    parts = name.rsplit(".", 3)
    if len(parts) != 4 or parts[0] != client or not (parts[1] + parts[3]).isdigit():
        return None
    return int(parts[1]), f"{parts[1]}.{parts[2]}", int(parts[3])
