"""One change on its way in: checked and put into the owner's topic, or into its dead letters."""

from collections.abc import Sequence
from typing import Any

import msgspec

from agents.base.errors import LevelsyncError
from agents.base.status import Hop
from agents.capture.source import Change, Unreadable
from agents.kafka.copy import Copy, Done, TooLarge
from agents.kafka.letters import WAITS, DeadLetter, encoded_raw, put
from agents.kafka.messages import Part
from agents.kafka.murmur import partition_of, partitions_of
from agents.kafka.packed import Stamp, packed_headers
from agents.kafka.topics import dead
from contracts.check import Checked, Checker, Rejected
from contracts.envelope import Event, format_time, headers_of
from contracts.model import Contract

#: Keys that may wait behind a dead letter of theirs.
MOST_WAITING = 100_000


class TooManyWait(LevelsyncError):
    """So many keys wait behind a dead letter of theirs that something is wrong with all of them."""

    hint = (
        "`levelsync dead-letters list` says by which rule; once the cause is mended, `levelsync"
        " dead-letters replay` lets them go on."
    )


class Entry:
    """Where the changes of one contract enter ``copy``, at ``node``.

    ``waiting`` are the keys with a dead letter behind which later changes wait; None when the contract
    lets them follow. ``topic`` is where the events go, the contract's own unless said otherwise.
    """

    def __init__(
        self,
        hop: Hop,
        contract: Contract,
        node: str,
        copy: Copy,
        waiting: set[str] | None,
        topic: str = "",
    ) -> None:
        self.waiting = waiting
        self._hop, self._tracing = hop, hop.tracing
        self._contract = contract
        self._checker = Checker(contract)
        self._copy = copy
        self._origin = f"/{node}/{contract.name}"
        topic = topic or contract.name
        self._dead = dead(topic)
        self._parts = [(topic, number) for number in range(contract.partitions)]
        any_ = Change("id", "sequence", 0, "key", {})
        self._changed = Stamp(self._event(any_, "changed", b"", "scope"))
        self._copied = Stamp(self._event(any_, "copied", b"", "scope"))
        #: The time of the change before, and its text: those of one transaction have the same.
        self._time, self._moment = 0, format_time(0).encode()

    def partition(self, key: str) -> int:
        """Where the events of ``key`` go: Java-compatible, as every other producer's."""
        return partition_of(key.encode(), self._contract.partitions)

    def enter(self, change: Change, done: Done | None = None) -> Rejected | None:
        """Put ``change`` into the topic, or, for the answered reason, into the dead letters.

        ``done`` is called with the offset of either once brokers have it. Raises TooManyWait.
        """
        try:
            if self.waiting and change.key in self.waiting:
                raise Rejected("$", WAITS, "An earlier change of this key waits for an operator")
            self.publish(change, done)
        except Rejected as refused:
            self._bury(change, refused, done)
            return refused
        return None

    def enter_all(self, changes: Sequence[Change]) -> None:
        """As :meth:`enter` for each of ``changes``, about which nobody asks."""
        keys = [change.key.encode() for change in changes]
        places = partitions_of(keys, len(self._parts))
        waiting, put, parts = self.waiting, self._put, self._parts
        for change, key, place in zip(changes, keys, places, strict=True):
            if waiting and change.key in waiting:
                self.enter(change)
                continue
            try:
                put(change, key, parts[place], None)
            except Rejected as refused:
                self._bury(change, refused, None)

    def publish(self, change: Change, done: Done | None = None) -> None:
        """Put ``change`` into the topic. Raises Rejected, and it is not in it."""
        key = change.key.encode()
        self._put(change, key, self._parts[partition_of(key, len(self._parts))], done)

    def _put(self, change: Change, key: bytes, part: Part, done: Done | None) -> None:
        fields, canonical = change.fields, None
        if fields is None:
            kind, value, scope = "deleted", None, ""
        else:
            checked = fields if type(fields) is Checked else self._checker.check(fields)  # type: ignore[arg-type]
            if checked.key != change.key:
                raise Rejected(
                    f"$.{self._contract.key}",
                    "key-mismatch",
                    "Expected the key of the row, got another",
                )
            kind = "copied" if change.copied else "changed"
            value, scope = checked.value, checked.scope
        trace, traced = change.traceparent, None
        if self._tracing is not None:
            trace, traced = self._tracing.capture(
                self._hop, trace, change.time, begin=not change.copied
            )
        if scope and not trace:
            if change.time != self._time:
                self._time, self._moment = change.time, format_time(change.time).encode()
            stamp = self._copied if change.copied else self._changed
            own = (change.id.encode(), key, self._moment, change.sequence.encode(), scope.encode())
            headers = stamp.headers(*own)
            if self._copy.signs(part):
                canonical = stamp.canonical(*own)
        else:
            headers = packed_headers(headers_of(self._event(change, kind, value, scope, trace)))
        if traced:
            done = _both(done, traced)
        try:
            self._copy.add_packed(part, key, value, headers, change.time // 1000, done, canonical)
        except TooLarge as error:
            raise _too_large(error) from None
        self._hop.events += 1

    def _event(
        self, change: Change, kind: str, value: bytes | None, scope: str, trace: str = ""
    ) -> Event:
        return Event(
            key=change.key,
            value=value,
            id=change.id,
            source=self._origin,
            type=f"{self._contract.name}.{kind}",
            time=change.time,
            dataschema=self._contract.dataschema,
            sequence=change.sequence,
            scope=scope,
            traceparent=trace,
        )

    def refuse(self, came: Unreadable, done: Done | None = None) -> None:
        """Put what could not be read into the dead letters."""
        self._bury(came, came.refused, done)

    def _bury(self, change: Change | Unreadable, refused: Rejected, done: Done | None) -> None:
        key = change.key
        if self.waiting is not None and key and key not in self.waiting:
            if len(self.waiting) >= MOST_WAITING:
                raise TooManyWait(contract=self._contract.name, keys=len(self.waiting))
            self.waiting.add(key)
        fields, read = None, type(change) is Change
        if isinstance(change, Change) and change.fields is not None:
            fields = _plain(change.fields)
        letter = DeadLetter(
            contract=self._contract.name,
            key=key,
            path=refused.path,
            rule=refused.rule,
            message=refused.message,
            id=change.id,
            time=format_time(change.time),
            sequence=change.sequence,
            fields=fields,
            deleted=read and fields is None,
            copied=isinstance(change, Change) and change.copied,
            origin=change.origin,
            raw=encoded_raw(change.raw),
            traceparent=change.traceparent,
        )
        self.write(letter, self.part_of(key), change.time, done)
        self._hop.rejected += 1

    def part_of(self, key: str) -> Part:
        """Where the dead letters of ``key`` go."""
        return self._dead, self.partition(key)

    def write(self, letter: DeadLetter, part: Part, time: int, done: Done | None = None) -> None:
        """Keep a letter; one too large to be kept whole is kept without what came."""
        try:
            put(self._copy, part, letter, time // 1000, done)
        except TooLarge:
            letter = msgspec.structs.replace(letter, fields=None, deleted=False, raw="")
            put(self._copy, part, letter, time // 1000, done)


def _both(done: Done | None, also: Done) -> Done:
    if done is None:
        return also

    def each(offset: int) -> None:
        done(offset)
        also(offset)

    return each


def _plain(fields: dict[str, Any] | Checked) -> dict[str, Any]:
    if isinstance(fields, Checked):
        decoded: dict[str, Any] = msgspec.json.decode(fields.value)
        return decoded
    return fields


def _too_large(error: TooLarge) -> Rejected:
    found, most = error.facts["bytes"], error.facts["largest"]
    return Rejected("$", "too-large", f"Expected at most {most} bytes, got {found}")
