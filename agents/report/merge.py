"""One scorecard over those of several nodes: each line stays its node's; uses and corrections add up."""

import datetime
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from agents.base.config import CHINA, is_below
from agents.report.model import Corrections, Report, Use
from contracts.text import Text

_Kind = TypeVar("_Kind")


def merged(reports: Sequence[Report]) -> Report:
    """``reports`` are of one period, at least one. What two of one node both say counts once, as it was
    made last: agents that share a node have a report each."""
    ordered = sorted(reports, key=lambda each: each.made)
    names = {each.node: each.name for each in ordered}
    top = min(ordered, key=lambda each: (len(each.node), each.node))
    lines = {
        (line.contract, line.way, line.node, line.from_, line.to): line
        for report in ordered
        for line in report.lines
    }
    return Report(
        node=top.node,
        name=f"{top.name} +{len(names) - 1}" if len(names) > 1 else top.name,
        level=top.level,
        from_=top.from_,
        to=top.to,
        made=datetime.datetime.now(CHINA).isoformat(timespec="seconds"),
        lines=tuple(
            msgspec.structs.replace(line, days=())
            for line in sorted(
                lines.values(),
                key=lambda each: (each.owner.en, each.contract, each.way, each.node, each.to),
            )
        ),
        corrections=tuple(_corrections(ordered)),
        uses=tuple(_uses(ordered)),
        given=tuple({each: None for report in ordered for each in report.given}),
        not_known=tuple(
            {
                Text(f"{each.node} {each.name}：{text.zh}", f"{each.node}: {text.en}"): None
                for each in ordered
                for text in each.not_known
            }
        ),
    )


def _topmost(known: dict[str, _Kind]) -> list[_Kind]:
    """Of what nodes know that which none above them knows too: what travels up is known on its way."""
    return [
        each
        for node, each in known.items()
        if not any(is_below(node, other) for other in known if other != node)
    ]


def _corrections(ordered: Sequence[Report]) -> list[Corrections]:
    known: dict[str, dict[str, Corrections]] = {}
    for report in ordered:
        for each in report.corrections:
            known.setdefault(each.contract, {})[report.node] = each
    found = []
    for name in sorted(known):
        parts = _topmost(known[name])
        sums = {
            field: sum(getattr(each, field) for each in parts)
            for field in ("filed", "open", "overdue", "accepted", "rejected", "in_time", "with_due")
        }
        longest = [each.longest_hours for each in parts if each.longest_hours is not None]
        found.append(
            msgspec.structs.replace(
                parts[0],
                **sums,
                # Medians do not add up.
                median_hours=parts[0].median_hours if len(parts) == 1 else None,
                longest_hours=max(longest, default=None),
            )
        )
    return found


def _uses(ordered: Sequence[Report]) -> list[Use]:
    known: dict[tuple[str, str, str, str], dict[str, Use]] = {}
    for report in ordered:
        for each in report.uses:
            key = (each.contract, each.kind, each.who, each.purpose)
            known.setdefault(key, {})[report.node] = each
    found = []
    for key in sorted(known):
        parts = _topmost(known[key])
        sums = {
            field: sum(getattr(each, field) for each in parts)
            for field in ("nodes", "look_ups", "pages", "follows")
        }
        found.append(msgspec.structs.replace(parts[0], **sums))
    return found
