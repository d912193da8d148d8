"""Uses are counted once, by system and purpose, and no person is named."""

import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.kafka.accesses import Access
from agents.kafka.cluster import Cluster
from agents.report import uses as module
from agents.report.period import Period, midnight
from agents.report.uses import uses
from contracts.subjects import CONTRACTS

DAY = datetime.date(2026, 11, 1)
PERIOD = Period(DAY, DAY, midnight(DAY) + 200_000)


def access(topic: str, number: int, *at: str, **more: Any) -> Access:
    record = {
        "chain": "c1", "number": number, "node": "370102", "who": "civil-affairs", "kind": "system",
        "purpose": "counter", "contract": "resident.v2", "action": "look-up",
        "what": [{"at": each, "what": "key"} for each in at], **more,
    }  # fmt: skip
    return Access(topic, number, record, False)


async def test_a_journal_that_came_on_two_ways_counts_once_and_clerks_have_no_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, before, after = "2026-11-01T01:00:00Z", "2026-10-31T15:59:59Z", "2026-11-01T16:00:00Z"
    all_ = [
        access("access.v1.from.370102", 5, inside, inside, after),
        access("access.v1.from.370102", 6, inside, action="follow"),
        access("access.v1.from.370103", 3, before, inside),
        access("access.v1.from.370103", 5, inside, inside),
        access(
            "access.v1.from.370103", 1, inside, chain="c2", who="王某", kind="clerk", node="370103"
        ),
        access(
            "access.v1.from.370103", 2, inside, chain="c2", who="李某", kind="clerk", node="370103"
        ),
    ]

    async def told(_: Cluster, since: float) -> AsyncIterator[Access]:
        assert since == PERIOD.since
        for each in all_:
            yield each

    monkeypatch.setattr(module, "accesses", told)
    clerks, system = await uses(Cluster("nowhere:1"), PERIOD, CONTRACTS)
    assert (system.who, system.look_ups, system.follows) == ("civil-affairs", 3, 1)
    assert (clerks.who, clerks.kind, clerks.look_ups, clerks.nodes) == ("", "clerk", 2, 1)
