"""The intake: source → contract check → publish, or dead letter.

The owner's topic and the dead-letter topic are one copy, written by one writer under common
watermarks, so that a crash loses or repeats a refused change no more than an accepted one.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeGuard

from agents.base.errors import LevelsyncError, Strangers
from agents.base.keyring import Signer
from agents.base.requests import Requests
from agents.base.run import Until
from agents.base.status import Hop
from agents.capture.entry import Entry
from agents.capture.published import Published
from agents.capture.replay import Replay
from agents.capture.source import Change, Changes, Outcome, Source, Sweep, Unreadable
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy, Done
from agents.kafka.ends import End, look_back
from agents.kafka.letters import find_letters
from agents.kafka.messages import Part
from agents.kafka.topics import data_topic, dead, dead_topic, ensure
from agents.kafka.wire import Claim, Connection
from contracts.model import Contract
from contracts.rejected import Rejected

#: Seconds between watermarks. One follows the moment the source knows of a new completeness, so that
#: what they say is as young as can be; without that, as while a first copy runs, they come alone.
OFTEN, SELDOM = 0.8, 1.5
#: Part of the promised freshness after which one is soon enough: each costs something at every hop below.
PART = 0.2
#: Changes after which others have their turn: the next chunk of a copy is read meanwhile, and other
#: contracts need not wait.
TURN = 200
#: Seconds between looks at what operators ask for.
ASKED = 1.0


class OtherOwner(LevelsyncError):
    """Another node publishes this contract on this Kafka: only its owner may."""

    hint = (
        "Take the source out of one of the two node files; if this node has taken the contract over for"
        " good, stop the other's agent and name it here: `took_over_from` of the source."
    )


class OtherSource(LevelsyncError):
    """The topic was filled from another kind of source, whose positions and order this one does not
    know."""

    hint = (
        "Set `kind` of the source back; or, where the records come from elsewhere for good, delete the"
        " topic and its dead letters: what is told then takes the place of all that was told before."
    )


class Intake:
    """The capture of one contract as a part of the agent (:class:`agents.base.run.Part`).

    ``topic`` is where it publishes, on ``cluster``: the contract's own unless said otherwise; ``signer``
    signs it.
    """

    def __init__(
        self,
        hop: Hop,
        *,
        contract: Contract,
        cluster: Cluster,
        node: str,
        source: Callable[[], Source],
        requests: Requests,
        kind: str = "",
        predecessor: str = "",
        topic: str = "",
        signer: Signer | None = None,
    ) -> None:
        self.hop = hop
        self._signer = signer
        self._kind = kind
        self._predecessor = predecessor
        self._contract = contract
        self._cluster = cluster
        self._node = node
        self._make_source = source
        self._requests = requests
        self._topic = topic or contract.name
        self._published = Published(cluster, contract, self._topic)
        #: The last changes after which a watermark could stand.
        self._before: Changes | None = None
        self._claim = Claim(f"levelsync-{node}-{contract.name}")
        self._round = 0
        self._confirmable: Any = None

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        contract = self._contract
        data = data_topic(contract, self._topic)
        topics = [data, dead_topic(data)]
        # The source first: one that cannot be read is known also while Kafka is away, and so is what
        # it keeps for us meanwhile.
        async with self._make_source() as source:
            counts = await ensure(self._cluster, topics)
            # Partitions beyond the contract's get no events, but watermarks as all the others.
            parts = [(topic, number) for topic, count in counts.items() for number in range(count)]
            await self._only_we(parts)
            self._copy = copy = Copy(self._cluster, self._claim, parts, signer=self._signer)
            try:
                position, held, newest = await self._resume()
                if copy.strange and not self._requests.pending(contract.name, "backfill"):
                    raise Strangers(
                        topic=self._topic, partitions=[each[1] for each in copy.strange]
                    )
                waiting = await self._waiting()
                self._entry = Entry(self.hop, contract, self._node, copy, waiting, self._topic)
                self._replay = Replay(contract, self._requests, self._published, copy, self._entry)
                await source.open(position, frozenset(held))
                async with Until(stop) as unless_stopped:
                    await self._pump(unless_stopped, source, held, newest)
                await copy.drain()
                await self._confirm(source)
            finally:
                await copy.close()

    async def _only_we(self, parts: list[Part]) -> None:
        """Raise OtherOwner when another node publishes this contract here, OtherSource when another kind
        of source did; before anything is written, so that its agent does not notice."""
        async with Connection(self._cluster) as connection:
            for part, (first, end) in (await connection.ends(parts)).items():
                mark = (await look_back(connection, part, first, end)).mark
                if mark is None:
                    continue
                if "round" not in mark.position:
                    raise OtherSource(topic=part[0], before="a link", now=self._kind)
                node = mark.position.get("node", self._node)
                if node not in (self._node, self._predecessor):
                    raise OtherOwner(topic=part[0], owner=node, here=self._node)
                kind = mark.position.get("kind", self._kind)
                if kind != self._kind:
                    raise OtherSource(topic=part[0], before=kind, now=self._kind)

    async def _waiting(self) -> set[str] | None:
        """The keys behind whose dead letter later changes wait, None when they follow."""
        contract = self._contract
        if contract.on_refusal == "follow":
            return None
        letters = await find_letters(self._cluster, topics=[dead(self._topic)])
        return {kept.letter.key for kept in letters} - {""}

    async def _resume(self) -> tuple[Any | None, set[str], dict[str, str]]:
        """Source position of the last round of watermarks that every partition has, and the ids
        that stand after it; where compaction has taken some of those, the newest sequence of each
        key."""
        copy = self._copy
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
        self, unless_stopped: Until, source: Source, held: set[str], newest: dict[str, str]
    ) -> None:
        copy = self._copy
        marked = asked = time.monotonic()
        last: Changes | None = None
        self._before = None
        complete = 0
        often = max(OFTEN, self._contract.freshness * PART)
        while not copy.worn:
            told = await unless_stopped(source.read())
            if told is None:
                break
            self.hop.running()
            last = told
            await self._take(told, held, newest)
            await copy.flush()
            copy.check()
            if told.passed:
                held.clear()
                newest.clear()
            await self._confirm(source)
            self.hop.lag = 0 if told.settled else None
            self.hop.moved()
            now = time.monotonic()
            if told.settled:
                self._before = told
            if not told.settled or held:
                continue
            due = now - marked >= (often if told.complete > complete else max(often, SELDOM))
            if due or any(map(copy.overdue, copy.parts)):
                await self._mark(told)
                marked, complete = now, told.complete
            if now - asked >= ASKED:
                await self._serve_requests(told)
                asked = now
        if last and last.settled and not held:
            await self._mark(last)

    async def _take(self, told: Changes, held: set[str], newest: dict[str, str]) -> None:
        """Put what the source told into the copy, but what the copy held already."""
        entry, outcome, changes = self._entry, told.outcome, told.changes
        if outcome is None and not held and not newest and _plain(changes):
            for start in range(0, len(changes), TURN):
                if start:
                    await asyncio.sleep(0)
                entry.enter_all(changes[start : start + TURN])
            return
        for index, change in enumerate(changes):
            if isinstance(change, Sweep):
                await self._sweep(change, held)
            elif change.id in held:
                held.discard(change.id)
                if outcome:
                    outcome(index, Outcome(-1, -1))
            elif change.sequence <= newest.get(change.key, ""):
                if outcome:
                    outcome(index, Outcome(-1, -1))
            elif isinstance(change, Change):
                if outcome is None:
                    entry.enter(change)
                else:
                    self._enter(change, partial(outcome, index))
            else:
                done = outcome and partial(outcome, index)
                partition = entry.partition(change.key)
                entry.refuse(change, done and _tells(done, partition, [change.refused]))

    def _enter(self, change: Change, outcome: Callable[[Outcome], None]) -> None:
        """As :meth:`Entry.enter`, for a source that wants to know what becomes of it."""
        why: list[Rejected | None] = []
        done = _tells(outcome, self._entry.partition(change.key), why)
        why.append(self._entry.enter(change, done))

    async def _sweep(self, sweep: Sweep, held: set[str]) -> None:
        """Delete every key that the topic holds from before a sequence. Watermarks drawn meanwhile
        name the position before it: after a crash the keys that are left are swept."""
        copy = self._copy
        await copy.drain()
        async for standing in self._published.live():
            name = f"{sweep.id}.{standing.key}"
            if standing.sequence >= sweep.before:
                continue
            if name in held:
                held.discard(name)
                continue
            self._entry.enter(Change(name, sweep.sequence, sweep.time, standing.key, None))
            if any(map(copy.overdue, copy.parts)):
                await self._between(held)
            await copy.flush()
            self.hop.moved()

    async def _between(self, held: set[str]) -> None:
        if self._before is not None and not held:
            await self._mark(self._before)

    async def _serve_requests(self, told: Changes) -> None:
        """What operators asked for: the letters, and a watermark that covers what came of them."""
        served = await self._replay.serve()
        if served:
            await self._mark(told)
            await self._copy.drain()
            self._replay.answer(served)

    async def _mark(self, told: Changes) -> None:
        """Draw a watermark in every partition; once all stand, the source may forget."""
        copy = self._copy
        self._round += 1
        left = set(copy.parts)

        def stands(part: Part) -> Callable[[int], None]:
            def done(_offset: int) -> None:
                left.discard(part)
                if not left:
                    self._confirmable = told.position
                    self.hop.complete = told.complete

            return done

        position = {"round": self._round, "at": told.position, "node": self._node}
        if self._kind:
            position["kind"] = self._kind
        for part in copy.parts:
            await copy.mark(part, position, told.complete, stands(part))

    async def _confirm(self, source: Source) -> None:
        if self._confirmable is not None:
            position, self._confirmable = self._confirmable, None
            await source.confirm(position)


def _plain(changes: Sequence[Change | Unreadable | Sweep]) -> TypeGuard[Sequence[Change]]:
    """Are they all changes of one key each that the source could read?"""
    return set(map(type, changes)) <= {Change}


def _tells(outcome: Callable[[Outcome], None], partition: int, why: list[Rejected | None]) -> Done:
    """Tells ``outcome`` where a change stands; ``why`` is filled by then with what spoke against it."""

    def done(offset: int) -> None:
        outcome(Outcome(partition, offset, why[0]))

    return done


def _round(end: End) -> int:
    return int(end.mark.position["round"]) if end.mark else 0
