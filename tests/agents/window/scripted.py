"""A scripted stream of one partition: events, watermarks and faults, as a reader would bring them."""

import msgspec

from agents.base.stream import Record, Slice
from agents.base.watermark import FENCE, KEY, TYPE, Continuity, Watermark
from contracts.envelope import Event, headers_of
from contracts.subjects import CONTRACTS

TOPIC = "resident.v2.from.3701"
_RESIDENT = CONTRACTS["resident.v2"]
#: As residents, but a record may have as little in it as a test needs.
LOOSE = msgspec.structs.replace(
    _RESIDENT,
    rules=(),
    fields=tuple(
        msgspec.structs.replace(
            field,
            required=False,
            shape=msgspec.structs.replace(field.shape, nullable=True),
        )
        for field in _RESIDENT.fields
    ),
)


class Script:
    """Builds slices of one partition; the count in each watermark is right unless told otherwise."""

    def __init__(self, topic: str = TOPIC, partition: int = 0) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = 0
        self.number = 0
        self.count = 0
        self.sequence = 0
        self.source = "/37/resident.v2"
        self._records: list[Record] = []

    def put(self, key: str, scope: str = "370102001", value: bytes | None = b'{"n":1}') -> Event:
        """A change of ``key``; ``value`` None deletes it."""
        self.sequence += 1
        kind = "changed" if value is not None else "deleted"
        event = Event(
            key=key,
            value=value,
            id=f"{self.topic}/{self.sequence}",
            source=self.source,
            type=f"resident.v2.{kind}",
            time=1_700_000_000_000_000 + self.sequence,
            dataschema="resident.v2/2.0",
            sequence=f"{self.sequence:016}",
            scope=scope if value is not None else "",
        )
        self.again(event)
        return event

    def again(self, event: Event) -> None:
        """The same event once more."""
        self.count += 1
        self._add(event.key.encode(), event.value, tuple(headers_of(event)))

    def delete(self, key: str) -> Event:
        return self.put(key, value=None)

    def mark(self, time: int = 1_700_000_000_000_000, *, count: int | None = None) -> None:
        self.number += 1
        mark = Watermark("s", self.number, self.count if count is None else count, time, None)
        self.count = 0
        self._add(KEY, msgspec.json.encode(mark), (("ce_type", TYPE),))

    def fence(self) -> None:
        self._add(b"f", b"{}", (("ce_type", FENCE),))

    def _add(self, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> None:
        self._records.append(Record(self.offset, 0, key, value, headers))
        self.offset += 1

    def slice(self) -> Slice:
        """What was scripted since the last slice."""
        records, self._records = self._records, []
        return Slice(self.topic, self.partition, records, self.offset, self.offset)


def start() -> Continuity:
    return Continuity(offset=0, thinned=False)
