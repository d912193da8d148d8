"""Who uses what, from the journals of accesses that reached this node. No person is named."""

import datetime
from collections.abc import Mapping

import msgspec

from agents.kafka.accesses import accesses
from agents.kafka.cluster import Cluster
from agents.report.lines import title_of
from agents.report.model import Use
from agents.report.period import Period
from contracts.model import Contract

_ACTIONS = {"look-up": "look_ups", "page": "pages", "follow": "follows"}


class _Count(msgspec.Struct):
    nodes: set[str]
    look_ups: int = 0
    pages: int = 0
    follows: int = 0


async def uses(cluster: Cluster, period: Period, contracts: Mapping[str, Contract]) -> list[Use]:
    """Looks in ``period``, by contract, system and purpose. Raises Unavailable, NotAllowed."""
    counts: dict[tuple[str, str, str, str], _Count] = {}
    #: Of each chain the numbers counted: a node that was moved has its journal in two topics.
    seen: dict[str, tuple[int, int]] = {}
    async for access in accesses(cluster, period.since):
        record = access.record
        chain, number = record["chain"], record["number"]
        least, most = seen.get(chain, (number, number - 1))
        if least <= number <= most:
            continue
        seen[chain] = (min(least, number), max(most, number))
        looks = sum(_within(each["at"], period) for each in record["what"])
        if not looks:
            continue
        # A clerk is a person: only that clerks looked, and what for.
        who = "" if record["kind"] == "clerk" else record["who"]
        key = (record["contract"], record["kind"], who, record["purpose"])
        count = counts.setdefault(key, _Count(set()))
        count.nodes.add(record["node"])
        action = _ACTIONS[record["action"]]
        setattr(count, action, getattr(count, action) + looks)
    return [
        Use(
            contract=contract,
            title=title_of(contract, contracts),
            who=who,
            kind=kind,
            purpose=purpose,
            nodes=len(count.nodes),
            look_ups=count.look_ups,
            pages=count.pages,
            follows=count.follows,
        )
        for (contract, kind, who, purpose), count in sorted(counts.items())
    ]


def _within(at: str, period: Period) -> bool:
    return period.since <= datetime.datetime.fromisoformat(at).timestamp() < period.until
