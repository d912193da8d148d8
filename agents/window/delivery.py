"""Keeping another system as the store is: changes in their order, and the whole state where it has to be.

A system (:class:`Sink`) says itself how far it was told, and keeps that with what it was told; so after
any end, ours or its own, telling goes on from there. Where that place is not in the feed any more, or
is of another store, the whole state is told again, and what stands there but not here is taken away.
Changes go on being told meanwhile, so however long that takes, the feed is not overrun by it.

What is told of a key is always its state at this moment: it may be newer than the change that called
for it, never older than what was told before.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec
import structlog

from agents.base.run import until
from agents.base.status import Hop
from agents.window.feed import Feed
from agents.window.rights import Sight
from agents.window.store import Change, Entry, Store
from contracts.model import Contract

log = structlog.get_logger()

#: Changes, records and keys in one piece.
PIECE = 500
#: Seconds after which a system is told how complete it is, also when nothing changes.
BEAT = 1.0

Phase = Literal["tell", "clear", "whole"]


class Progress(msgspec.Struct, frozen=True):
    """How far the state of one contract was told: records up to key ``after``; then what is gone was
    cleared, up to key ``after`` of what the system holds; then it is whole.

    ``sight`` is a digest of what is shown of it.
    """

    phase: Phase = "tell"
    after: str = ""
    sight: str = ""


class Position(msgspec.Struct, frozen=True):
    """How far a system was told: every change up to ``seq`` of ``store``, the last of which had this
    event ``id``, and of each contract's state so much."""

    store: str
    seq: int
    id: str
    contracts: dict[str, Progress]


class Item(NamedTuple):
    """A key as it is to stand there; without ``entry`` it is to be gone."""

    contract: str
    key: str
    entry: Entry | None


class Work(NamedTuple):
    """One piece: ``items`` are each of another key, ``changes`` those behind them that may be seen.
    ``complete`` is by contract the microseconds since 1970 UTC up to which nothing will be missing."""

    items: Sequence[Item]
    changes: Sequence[Change]
    position: Position
    complete: Mapping[str, int]


class Sink(Protocol):
    """A system that is kept as the store is."""

    async def where(self) -> Position | None:
        """How far it was told; None when that is not known."""
        ...

    async def enter(self, work: Work) -> Collection[tuple[str, str]]:
        """Tell it ``work``: when this returns, it has it and its position. The answer are contract
        and key of what it is to be told once more soon."""
        ...

    async def held(self, contract: str, after: str, limit: int) -> Sequence[str]:
        """Up to ``limit`` keys that it holds, in an order of its own, after ``after``."""
        ...


class Following(Protocol):
    """A contract being read into the store."""

    hop: Hop


@dataclass
class Delivery:
    """What one system is told, of which contracts how much. ``tick`` are the seconds between two pieces
    under load; an isolated change goes out at once."""

    store: Store
    feed: Feed
    follows: Mapping[str, Following]
    sights: Mapping[str, Sight]
    hop: Hop
    contract: Callable[[str], Contract | None]
    tick: float = 0.02

    async def run(self, sink: Sink, stop: asyncio.Event) -> None:
        """Tell ``sink`` everything until ``stop`` is set."""
        position = self._begin(await sink.where())
        self._warn(position)
        self.hop.running()
        wanted: Collection[tuple[str, str]] = ()
        loop = asyncio.get_running_loop()
        told = 0.0
        while not stop.is_set():
            # Taken before the changes are read: what is complete by then is among them.
            last, complete = self.store.last, self._complete()
            changes = self.store.changes_after(position.seq, PIECE)
            if (changes[0].seq if changes else last + 1) != position.seq + 1:
                log.warning(
                    "too far behind the feed: the state is told again",
                    hop=self.hop.hop,
                    contract=self.hop.contract,
                    topic=self.hop.to,
                )
                position = self._begin(None)
                continue
            busy = len(changes) == PIECE
            items = {(each.contract, each.key): None for each in changes if self._seen(each)}
            items |= dict.fromkeys(wanted)
            position, more = await self._told_on(position, changes, sink)
            items |= dict.fromkeys(more)
            whole = position.seq >= last
            work = Work(
                [self._item(*each) for each in items],
                [each for each in changes if self._seen(each)],
                position,
                {
                    name: complete[name] if whole and each.phase == "whole" else 0
                    for name, each in position.contracts.items()
                    if name in self.sights
                },
            )
            began = time.time_ns()
            wanted = await sink.enter(work)
            if tracing := self.hop.tracing:
                for each in work.changes:
                    tracing.delivered(self.hop, each.id, began)
            told = loop.time()
            self._show(work, last)
            if busy or more:
                await asyncio.sleep(0)
                continue
            await until(stop, self._news(position.seq, told + self.tick))

    async def _news(self, seq: int, due: float) -> None:
        """Wait for news after ``seq``, and in any case until ``due``."""
        await self.feed.news(seq, BEAT)
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    def _begin(self, found: Position | None) -> Position:
        """Where to go on: at ``found`` where the feed still reaches back to it."""
        store, contracts = self.store, found.contracts if found else {}
        progress = {name: self._progress(name) for name in self.sights}
        # What is not to be delivered any more is taken away.
        progress |= {name: Progress("clear") for name in contracts.keys() - self.sights.keys()}
        if found and self._reaches(found):
            for name, each in progress.items():
                before = contracts.get(name)
                if before and before.sight == each.sight:
                    progress[name] = before
            return Position(found.store, found.seq, found.id, progress)
        newest = store.changes_after(store.last - 1, 1)
        log.info(
            "the whole state is told",
            hop=self.hop.hop,
            contract=self.hop.contract,
            topic=self.hop.to,
        )
        return Position(store.id, store.last, newest[0].id if newest else "", progress)

    def _reaches(self, found: Position) -> bool:
        """Are all changes after ``found`` still there, and is the one it names the one it was? A power
        cut may take the end of the store, and other changes then get its numbers."""
        if found.store != self.store.id or not 0 <= found.seq <= self.store.last:
            return False
        if found.seq == 0:
            return self.store.first == 1
        same = self.store.changes_after(found.seq - 1, 1)
        return bool(same) and (same[0].seq, same[0].id) == (found.seq, found.id)

    def _progress(self, name: str) -> Progress:
        sight, contract = self.sights[name], self.contract(name)
        shown = (
            sorted(sight.scopes), sorted(sight.fields), sorted(sight.mask.items()),
            contract and sight.contract(contract).field_names,
        )  # fmt: skip
        return Progress(sight=hashlib.sha256(repr(shown).encode()).hexdigest()[:16])

    async def _told_on(
        self, position: Position, changes: Sequence[Change], sink: Sink
    ) -> tuple[Position, list[tuple[str, str]]]:
        """The position after ``changes`` and the next piece of a contract that is not whole, and the keys
        of that piece."""
        contracts, more = dict(position.contracts), list[tuple[str, str]]()
        for name, each in contracts.items():
            if each.phase == "tell":
                page = self.store.page(name, self.sights[name].scopes, each.after, PIECE)
                more = [(name, entry.key) for entry in page]
                contracts[name] = msgspec.structs.replace(
                    each,
                    phase="tell" if len(page) == PIECE else "clear",
                    after=page[-1].key if len(page) == PIECE else "",
                )
                break
            if each.phase == "clear" and self._caught_up(name):
                held = await sink.held(name, each.after, PIECE)
                more = [(name, key) for key in held if self._item(name, key).entry is None]
                if len(held) == PIECE:
                    contracts[name] = msgspec.structs.replace(each, after=held[-1])
                elif name in self.sights:
                    contracts[name] = msgspec.structs.replace(each, phase="whole", after="")
                else:
                    del contracts[name]
                break
        last = changes[-1] if changes else None
        seq, identity = (last.seq, last.id) if last else (position.seq, position.id)
        return Position(position.store, seq, identity, contracts), more

    def _caught_up(self, name: str) -> bool:
        """Does the store hold all there is? A new one is empty at first, and nothing is gone for that."""
        if name not in self.sights:
            return True
        follow = self.follows.get(name)
        return bool(
            follow and follow.hop.state == "running" and follow.hop.lag == 0 and follow.hop.complete
        )

    def _complete(self) -> dict[str, int]:
        return {
            name: follow.hop.complete if (follow := self.follows.get(name)) else 0
            for name in self.sights
        }

    def _seen(self, change: Change) -> bool:
        sight = self.sights.get(change.contract)
        return sight is not None and (
            (change.value is not None and sight.covers(change.scope))
            or bool(change.was and sight.covers(change.was))
        )

    def _item(self, contract: str, key: str) -> Item:
        sight, entry = self.sights.get(contract), self.store.get(contract, key)
        shown = entry is not None and sight is not None and sight.covers(entry.scope)
        return Item(contract, key, entry if shown else None)

    def _show(self, work: Work, last: int) -> None:
        hop = self.hop
        hop.running()
        hop.events += len(work.items)
        hop.lag = max(0, last - work.position.seq)
        hop.complete = min(work.complete.values(), default=0) or hop.complete
        hop.moved()
        self._warn(work.position)

    def _warn(self, position: Position) -> None:
        """Say of what it does not have everything yet."""
        warnings = self.hop.warnings
        for name in self.sights:
            phase = position.contracts[name].phase
            if phase == "whole":
                warnings.pop(name, None)
            elif phase == "tell":
                warnings[name] = f"{name}: the whole state is being told"
            else:
                warnings[name] = (
                    f"{name}: what is gone is taken away once the window itself has everything"
                )
