"""Two revisions' promises: who owns, who may have it, how it is protected, how fresh it is."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from contracts.evolution.findings import Finding, found, said
from contracts.model import Classification, Contract, Mask, Sharing, Updates

#: What each mask lets its reader know of a value: its end, its beginning, or whether two are the same.
#: One mask is tighter than another when it tells less and nothing else; ``last4`` and ``hash``
#: tell different things, so to change one for the other is to loosen and to tighten.
TOLD: dict[Mask | None, frozenset[str]] = {
    "null": frozenset(),
    "hash": frozenset({"same"}),
    "last4": frozenset({"end"}),
    "year": frozenset({"beginning"}),
    None: frozenset({"same", "end", "beginning", "all"}),
}


def promises_compared(old: Contract, new: Contract) -> Iterator[Finding]:
    """What changed beside the records themselves."""
    for path in ("subject", "key", "scope", "level", "catalogue"):
        was, now = getattr(old, path), getattr(new, path)
        if was != now:
            yield found(f"{path}-changed", path, was, now)
    for path in ("owner", "condition", "title", "description", "basis"):
        was, now = getattr(old, path), getattr(new, path)
        if was != now:
            rule = f"{path}-changed" if path in ("owner", "condition") else "words-changed"
            yield found(rule, path, *said((was, now)))
    if new.partitions != old.partitions:
        rule = "partitions-fewer" if new.partitions < old.partitions else "partitions-more"
        yield found(rule, "partitions", old.partitions, new.partitions)
    if new.journal != old.journal:
        yield found("journal-changed", "journal", old.journal, new.journal)
    yield from _searchable(old, new)
    yield from _masks(old, new)
    yield from _sharing(old, new)
    yield from _times(old, new)


def _searchable(old: Contract, new: Contract) -> Iterator[Finding]:
    for name in sorted({*old.searchable} - {*new.searchable}):
        yield found("search-removed", f"$.{name}", True, False)
    for name in sorted({*new.searchable} - {*old.searchable}):
        yield found("search-added", f"$.{name}", False, True)


def _masks(old: Contract, new: Contract) -> Iterator[Finding]:
    for name in old.field_names:
        was, now = old.personal.get(name), new.personal.get(name)
        if name not in new.field_names or was == now:
            continue
        if TOLD[now] - TOLD[was]:
            yield found("mask-loosened", f"$.{name}", was or "whole", now or "whole")
        if TOLD[was] - TOLD[now]:
            yield found("mask-tightened", f"$.{name}", was or "whole", now or "whole")


def _ordered(
    path: str, values: Sequence[Any], down: str, up: str, old: Contract, new: Contract
) -> Iterator[Finding]:
    """A change along ``values``: ``down`` is the rule for towards its end."""
    was, now = getattr(old, path), getattr(new, path)
    if was != now:
        rule = down if values.index(now) > values.index(was) else up
        yield found(rule, path, was, now)


def _sharing(old: Contract, new: Contract) -> Iterator[Finding]:
    yield from _ordered(
        "classification", get_args(Classification), "classification-raised",
        "classification-lowered", old, new,
    )  # fmt: skip
    yield from _ordered(
        "sharing", get_args(Sharing), "sharing-narrowed", "sharing-widened", old, new
    )
    # No purposes at all is every lawful purpose. Their English may be corrected.
    was, now = {each.zh for each in old.purposes}, {each.zh for each in new.purposes}
    if now and (not was or was - now):
        yield found("purposes-narrowed", "purposes", sorted(was), sorted(now))
    if was and (not now or now - was):
        yield found("purposes-widened", "purposes", sorted(was), sorted(now))
    if was == now and {*old.purposes} != {*new.purposes}:
        yield found("words-changed", "purposes", sorted(was), sorted(now))


def _times(old: Contract, new: Contract) -> Iterator[Finding]:
    # Irregular, the last of them, promises nothing.
    yield from _ordered("updates", get_args(Updates), "updates-slower", "updates-faster", old, new)
    if old.on_refusal != new.on_refusal:
        yield found("on-refusal-changed", "on_refusal", old.on_refusal, new.on_refusal)
    if old.freshness != new.freshness:
        weaker = new.freshness > old.freshness
        rule = "freshness-weakened" if weaker else "freshness-strengthened"
        yield found(rule, "freshness", old.freshness, new.freshness)
    if old.retention != new.retention:
        shorter = new.retention is not None and (
            old.retention is None or new.retention < old.retention
        )
        rule = "retention-shortened" if shorter else "retention-lengthened"
        yield found(rule, "retention", old.retention, new.retention)
