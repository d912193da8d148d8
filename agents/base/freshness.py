"""Watching the contracts' freshness promises: a breach is an event of its own, and so is its end."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import structlog

from agents.base.status import Hop, Status
from contracts.model import Contract

log = structlog.get_logger()

BROKEN, KEPT = "levelsync.freshness.broken", "levelsync.freshness.kept"


class Audit(Protocol):
    """Where events about the promises themselves go."""

    def tell(self, kind: str, contract: str, facts: Mapping[str, Any]) -> None: ...


async def watch_freshness(
    status: Status, contracts: Mapping[str, Contract], audit: Audit, *, every: float = 0.25
) -> None:
    """Compare each window hop with the seconds its contract promises, until cancelled.

    A hop that was never complete has no age and breaks nothing yet. Every hop learns what is promised.
    """
    broken: dict[int, tuple[Hop, float]] = {}
    while True:
        now = time.time()
        for hop in status.hops:
            contract = contracts.get(hop.contract)
            hop.promise = contract.freshness if contract else None
            if hop.hop == "window" and hop.complete and contract:
                _compare(hop, now, contract.freshness, broken, audit)
        await asyncio.sleep(every)


def _compare(
    hop: Hop, now: float, promise: float, broken: dict[int, tuple[Hop, float]], audit: Audit
) -> None:
    age = now - hop.complete / 1e6
    facts: dict[str, Any] = {"promised_s": promise, "age_s": round(age, 3)}
    if age > promise and id(hop) not in broken:
        broken[id(hop)] = hop, now
        hop.breaches += 1
        log.warning("freshness promise broken", contract=hop.contract, **facts)
        audit.tell(BROKEN, hop.contract, facts)
    elif age <= promise and id(hop) in broken:
        _, since = broken.pop(id(hop))
        facts["lasted_s"] = round(now - since, 3)
        log.info("freshness promise kept again", contract=hop.contract, **facts)
        audit.tell(KEPT, hop.contract, facts)
