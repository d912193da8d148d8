"""What a node itself has to tell, put together: corrections, their answers and accesses."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agents.base.config import NodeFile, department_of
from agents.base.freshness import Audit
from agents.base.outgoing import Outgoing
from agents.base.requests import Requests
from agents.base.run import Job, Part
from agents.base.status import Status
from agents.kafka.cluster import Cluster
from agents.kafka.writers import Signatures
from agents.window.answer_table import AnswerTable
from agents.window.book import Book
from agents.window.corrections import Desk
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.journal import ChainedJournal
from agents.window.owner import Owner, Way
from agents.window.store import Store
from agents.window.webhook import Webhook
from contracts.model import Contract
from contracts.subjects import EVERYWHERE
from contracts.subjects.correction import ANSWER, CORRECTION


class Own:
    """One node's, where its file has ``[window]`` or ``[corrections]``. ``masked`` are the fields of a
    contract that reach this node less than whole; ``contracts`` those known at this moment."""

    def __init__(
        self,
        config: NodeFile,
        folder: Path,
        outgoing: Outgoing,
        contracts: Mapping[str, Contract],
        masked: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self.store = Store(folder / "corrections.sqlite")
        self.feed = Feed(self.store)
        self.book = Book(self.store, outgoing)
        self.journal = ChainedJournal(outgoing, config.node.id, contracts)
        self.desk = Desk(self.book, config.node.id, self._route, masked)
        self.use(config)
        self._follows: dict[str, Follow] = {}

    def use(self, config: NodeFile) -> None:
        """The node file has changed."""
        self._config = config

    def close(self, stack: contextlib.AsyncExitStack) -> None:
        """Close everything when ``stack`` does; what was gathered is put on its way before."""
        stack.callback(self.store.close)
        stack.callback(self.journal.flush)

    def _route(self, contract: str) -> str:
        config = self._config
        if config.corrections and contract in config.owned:
            return ""
        if config.parent and CORRECTION.name in config.parent.push:
            return ""
        if department_of(config.node.id):
            return ""  # the node of the level takes it on
        return f'Expected `push = ["{CORRECTION.name}"]` in [parent] of this node\'s file, got none'

    def jobs(
        self,
        stage: int,
        *,
        cluster: Cluster,
        seen: Status,
        held: Callable[[str], frozenset[str]],
        requests: Requests,
        audit: Audit,
        resync: Mapping[str, int],
        signatures: Signatures | None = None,
    ) -> Iterator[tuple[str, Job]]:
        """What follows the two contracts' topics, and what answers."""
        for contract in (CORRECTION, ANSWER):
            name = contract.name
            follow = self._follows.get(name)
            if follow is None:
                follow = self._follows[name] = Follow(
                    seen,
                    contract=contract,
                    cluster=cluster,
                    store=self.store,
                    feed=self.feed,
                    sources=partial(held, name),
                    signatures=signatures,
                )
            spec = (resync.get(name), contract)
            yield f"window {name}", Job(stage, spec, partial(self._following, follow, spec[0]))
        config = self._config
        if config.corrections:
            yield (
                f"answers {CORRECTION.name}",
                Job(
                    stage,
                    (config.corrections, config.owned, config.parent),
                    partial(self._owner, seen, requests, audit),
                ),
            )

    def _following(self, follow: Follow, resync: int | None) -> Part:
        follow.resync = resync or 0
        return follow

    def _owner(self, seen: Status, requests: Requests, audit: Audit) -> Part:
        config = self._config
        table = config.corrections
        assert table
        ways: list[Way] = []
        if table.table:
            ways.append(AnswerTable())
        if table.webhook:
            ways.append(Webhook())
        return Owner(
            seen.hop("answers", CORRECTION.name, CORRECTION.name, ANSWER.name),
            node=config.node.id,
            book=self.book,
            table=table,
            owned=config.owned - EVERYWHERE,
            topmost=not (config.parent and CORRECTION.name in config.parent.push)
            and not department_of(config.node.id),
            ready=self._caught_up,
            requests=requests,
            audit=audit,
            ways=tuple(ways),
        )

    def _caught_up(self) -> bool:
        """Has all that was filed and answered so far been read?"""
        hops = [follow.hop for follow in self._follows.values()]
        filed, answered = (hop.state == "running" and hop.lag == 0 for hop in hops)
        return answered and (filed or not self._follows[CORRECTION.name].shown)
