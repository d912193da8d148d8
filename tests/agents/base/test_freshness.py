"""A breach of the freshness promise is told once, and so is its end."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from agents.base.freshness import BROKEN, KEPT, watch_freshness
from agents.base.status import Status
from contracts.subjects import CONTRACTS


class Heard:
    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.facts: list[Mapping[str, Any]] = []

    def tell(self, kind: str, contract: str, facts: Mapping[str, Any]) -> None:
        assert contract == "resident.v2"
        self.kinds.append(kind)
        self.facts.append(facts)


async def test_a_breach_and_its_end_are_each_told_once() -> None:
    status, heard = Status("370102", "test"), Heard()
    hop = status.hop("window", "resident.v2", "", "window")
    status.hop("link", "resident.v2", "", "elsewhere").complete = 1
    watching = asyncio.create_task(watch_freshness(status, CONTRACTS, heard, every=0.005))
    await asyncio.sleep(0.03)
    assert heard.kinds == [], "what was never complete breaks nothing yet"
    hop.complete = int((time.time() - 1.0) * 1e6)
    await asyncio.sleep(0.03)
    assert heard.kinds == []
    hop.complete = int((time.time() - 5.0) * 1e6)
    await asyncio.sleep(0.05)
    assert heard.kinds == [BROKEN]
    hop.complete = int(time.time() * 1e6)
    await asyncio.sleep(0.05)
    assert heard.kinds == [BROKEN, KEPT]
    assert heard.facts[0]["age_s"] >= 5
    assert heard.facts[1]["lasted_s"] > 0
    assert hop.breaches == 1
    watching.cancel()
