"""The intake: source → contract check → publish, or dead letter.

The owner's topic and the dead-letter topic are one copy, written by one writer under common
watermarks, so that a crash loses or repeats a refused change no more than an accepted one.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka.partitioner import murmur2

from agents.base.run import until
from agents.base.status import Hop
from agents.capture.source import Change, Changes, Source
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy, TooLarge
from agents.kafka.ends import End
from agents.kafka.letters import DEAD_LETTER, DeadLetter
from agents.kafka.topics import data_topic, dead, dead_topic, ensure
from agents.kafka.wire import Claim, Part
from contracts.check import Checker, Rejected
from contracts.envelope import Event, format_time, headers_of
from contracts.model import Contract

#: Seconds between watermarks. One follows the moment the source knows of a new completeness, so that
#: what they say is as young as can be; without that, as while a first copy runs, they come alone.
OFTEN, SELDOM = 0.8, 1.5


class Intake:
    """The capture of one contract as a part of the agent (:class:`agents.base.run.Part`)."""

    def __init__(
        self,
        hop: Hop,
        *,
        contract: Contract,
        cluster: Cluster,
        node: str,
        source: Callable[[], Source],
    ) -> None:
        self.hop = hop
        self._contract = contract
        self._checker = Checker(contract)
        self._cluster = cluster
        self._node = node
        self._make_source = source
        self._origin = f"/{node}/{contract.name}"
        self._claim = Claim(f"levelsync-{node}-{contract.name}")
        self._round = 0
        self._confirmable: Any = None

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        contract = self._contract
        data = data_topic(contract, contract.name)
        topics = [data, dead_topic(data)]
        counts = await ensure(self._cluster, topics)
        # Partitions beyond the contract's get no events, but watermarks as all the others.
        parts = [(topic, number) for topic, count in counts.items() for number in range(count)]
        copy = Copy(self._cluster, self._claim, parts)
        async with self._make_source() as source:
            try:
                position, held, newest = await self._resume(copy)
                await source.open(position, frozenset(held))
                await self._pump(stop, source, copy, held, newest)
                await copy.drain()
                await self._confirm(source)
            finally:
                await copy.close()

    async def _resume(self, copy: Copy) -> tuple[Any | None, set[str], dict[str, str]]:
        """Source position of the last round of watermarks that every partition has, and the ids
        that stand after it; where compaction has taken some of those, the newest sequence of each
        key."""
        ends = await copy.open()
        rounds = {part: _round(end) for part, end in ends.items()}
        common = min(rounds.values())
        for part, number in rounds.items():
            if number > common:
                ends[part] = await copy.look_back(
                    part, lambda mark: bool(mark.position["round"] <= common)
                )
        self._round = max(rounds.values())
        self._confirmable = None
        position = next(
            (
                end.mark.position["at"]
                for end in ends.values()
                if end.mark and _round(end) == common
            ),
            None,
        )
        self.hop.complete = min(end.mark.time if end.mark else 0 for end in ends.values())
        newest: dict[str, str] = {}
        for end in ends.values():
            if end.thinned:
                newest |= end.newest
        return position, set().union(*(end.held for end in ends.values())), newest

    async def _pump(
        self,
        stop: asyncio.Event,
        source: Source,
        copy: Copy,
        held: set[str],
        newest: dict[str, str],
    ) -> None:
        marked = time.monotonic()
        last: Changes | None = None
        complete = 0
        while not copy.worn:
            told = await until(stop, source.read())
            if told is None:
                break
            self.hop.running()
            last = told
            for change in told.changes:
                if change.id in held:
                    held.discard(change.id)
                elif change.sequence > newest.get(change.key, ""):
                    self._enter(copy, change)
            await copy.flush()
            copy.check()
            if told.passed:
                held.clear()
                newest.clear()
            await self._confirm(source)
            self.hop.lag = 0 if told.settled else None
            self.hop.moved()
            waited = time.monotonic() - marked
            due = waited >= (OFTEN if told.complete > complete else SELDOM)
            full = any(map(copy.overdue, copy.parts))
            if (due or full) and told.settled and not held:
                await self._mark(copy, told)
                marked, complete = time.monotonic(), told.complete
        if last and last.settled and not held:
            await self._mark(copy, last)

    def _enter(self, copy: Copy, change: Change) -> None:
        contract = self._contract
        scope, value, kind = "", None, "deleted"
        try:
            if change.fields is not None:
                checked = self._checker.check(change.fields)
                if checked.key != change.key:
                    raise Rejected(
                        f"$.{contract.key}",
                        "key-mismatch",
                        "Expected the key of the row, got another",
                    )
                scope, value = checked.scope, checked.value
                kind = "copied" if change.copied else "changed"
            self._add(copy, contract.name, change, f"{contract.name}.{kind}", value, scope)
            self.hop.events += 1
        except Rejected as refused:
            self._refuse(copy, change, refused)
        except TooLarge as error:
            found, most = error.facts["bytes"], error.facts["largest"]
            self._refuse(
                copy,
                change,
                Rejected("$", "too-large", f"Expected at most {most} bytes, got {found}"),
            )

    def _refuse(self, copy: Copy, change: Change, refused: Rejected) -> None:
        contract = self._contract
        letter = DeadLetter(
            contract=contract.name,
            key=change.key,
            path=refused.path,
            rule=refused.rule,
            message=refused.message,
            id=change.id,
            time=format_time(change.time),
            sequence=change.sequence,
            fields=change.fields,
        )
        self._add(copy, dead(contract.name), change, DEAD_LETTER, msgspec.json.encode(letter))
        self.hop.rejected += 1

    def _add(
        self,
        copy: Copy,
        topic: str,
        change: Change,
        kind: str,
        value: bytes | None,
        scope: str = "",
    ) -> None:
        event = Event(
            key=change.key,
            value=value,
            id=change.id,
            source=self._origin,
            type=kind,
            time=change.time,
            dataschema=self._contract.dataschema,
            sequence=change.sequence,
            scope=scope,
        )
        key = event.key.encode()
        # Java-compatible, as every other producer's.
        partition = (murmur2(key) & 0x7FFFFFFF) % self._contract.partitions
        copy.add((topic, partition), key, event.value, headers_of(event), event.time // 1000)

    async def _mark(self, copy: Copy, told: Changes) -> None:
        """Draw a watermark in every partition; once all stand, the source may forget."""
        self._round += 1
        left = set(copy.parts)

        def stands(part: Part) -> Callable[[int], None]:
            def done(_offset: int) -> None:
                left.discard(part)
                if not left:
                    self._confirmable = told.position
                    self.hop.complete = told.complete

            return done

        position = {"round": self._round, "at": told.position}
        for part in copy.parts:
            await copy.mark(part, position, told.complete, stands(part))

    async def _confirm(self, source: Source) -> None:
        if self._confirmable is not None:
            position, self._confirmable = self._confirmable, None
            await source.confirm(position)


def _round(end: End) -> int:
    return int(end.mark.position["round"]) if end.mark else 0
