"""What an agent without Kafka has beside :mod:`agents.wiring`: it works from its parent's cluster.

The window's store follows the topic in which the parent grants a contract, and what is collected here
is published into ``contract.from.<leaf>`` there. What the parent told last is remembered, so that a leaf
which is started while the line is away has its window and takes records in.
"""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from agents.base.config import NodeFile
from agents.base.run import Job, Part
from agents.base.status import Status
from agents.capture.http_kept import Kept
from agents.capture.outgoing import OutgoingSource, tell_waiting
from agents.capture.source import Place, Source, SourceSettings
from agents.kafka.grants import TOPIC, Announcement, Grants
from agents.kafka.remembered import RememberedBulletin
from agents.kafka.topics import CONTRACTS_TOPIC, received
from agents.window.emptied import Emptied
from agents.window.follow import Follow
from agents.wiring import Wiring
from contracts.model import Contract

log = structlog.get_logger()


class _Logged:
    """An :class:`agents.base.freshness.Audit` of a node that has no audit topic: the log keeps it."""

    def tell(self, kind: str, contract: str, facts: Mapping[str, Any]) -> None:
        """See :class:`agents.base.freshness.Audit`."""
        log.info("audit", kind=kind, contract=contract, **facts)


class LeafWiring(Wiring):
    """A node that holds nothing of a contract but what its window's store keeps."""

    def __init__(self, path: Path, config: NodeFile, seen: Status) -> None:
        super().__init__(path, config, seen)
        above = self._folder("above")
        self._published = RememberedBulletin(self._here, CONTRACTS_TOPIC, above / "contracts")
        self._grants = Grants(self._here, RememberedBulletin(self._here, TOPIC, above / "grants"))
        self._kept: dict[str, Kept] = {}

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """See :meth:`Wiring.open`."""
        stack.callback(self._close_kept)
        await super().open(stack)

    def _close_kept(self) -> None:
        for kept in self._kept.values():
            kept.close()

    @property
    def _pushed(self) -> tuple[str, ...]:
        return self.config.parent.push if self.config.parent else ()

    def _made_audit(self) -> _Logged:
        return _Logged()

    def _passing(self, jobs: dict[str, Job]) -> list[Announcement] | None:
        for hop in self._seen.hops:
            if hop.hop == "capture" and self._outgoing and self._waits(hop.contract):
                tell_waiting(self._outgoing, hop.contract, hop)
        return [] if self._grants.known else None

    # ---- down ------------------------------------------------------------------------------------

    def _given(self, name: str) -> Announcement | None:
        """What the parent grants of a contract that this node pulls."""
        parent = self.config.parent
        if parent is None or name not in parent.pull:
            return None
        return self._grants.find(name, parent.id, self.config.node.id)

    def _held(self, name: str) -> frozenset[str]:
        if name in self.config.owned:
            return frozenset({self._published_in(name)})
        told = self._given(name)
        return frozenset({told.topic} if told and told.topic and not told.ended else ())

    def _over(self, name: str) -> bool:
        told = self._given(name)
        return told is not None and told.ended

    def _following(self, follow: Follow, given: Contract, sunset: datetime.date | None) -> Part:
        part = super()._following(follow, given, sunset)
        if not self._over(given.name):
            return part
        assert self._store
        assert self._feed
        return Emptied(follow, self._store, self._feed)

    # ---- up --------------------------------------------------------------------------------------

    def _published_in(self, name: str) -> str:
        return received(name, self.config.node.id)

    def _waits(self, name: str) -> bool:
        """Does what is told of a contract wait in the outbox?"""
        return any(
            each.implied or each.needs == "intake"
            for each in self.config.source
            if each.contract == name
        )

    def _source(self, settings: SourceSettings, place: Place) -> Callable[[], Source]:
        if settings.needs != "intake":
            return super()._source(settings, place)
        self._kept[place.contract.name].hop = place.hop
        return partial(OutgoingSource, place)

    def _captures(self) -> Iterator[tuple[str, Job]]:
        """As of every node; records over HTTP are taken in whether their capture runs or not."""
        for settings in self.config.source:
            contract = self._known.contracts.get(settings.contract)
            if settings.needs == "intake" and contract and contract.name not in self._misfits:
                self._keep(contract)
        yield from super()._captures()

    def _keep(self, contract: Contract) -> None:
        """Have records of ``contract`` taken in at the desk."""
        assert self._outgoing
        assert self._desk
        kept = self._kept.get(contract.name)
        if kept is None:
            path = self._folder("outgoing.sqlite")
            kept = self._kept[contract.name] = Kept(self._outgoing, path, contract)
            self._desk.open(contract.name, kept)
        elif kept.contract != contract:
            kept.use(contract)
