"""What a history proves: pure functions over what was really sent and really received."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from agents.demo.office import Write


class Seen(msgspec.Struct, frozen=True):
    """One event as a reader received it; ``version`` is empty for a deletion."""

    key: str
    version: str
    id: str
    sequence: str


class Verdict(msgspec.Struct):
    """How far a history is from what should have been seen; all zero when it is exactly that."""

    expected: int = 0
    arrived: int = 0
    missing: int = 0
    repeated: int = 0
    out_of_order: int = 0
    #: Seen, but nobody wrote it for this reader.
    unexpected: int = 0


def expected_in(scope: str, journal: Iterable[Write]) -> dict[str, list[str]]:
    """Versions of each key that a reader of ``scope`` must see, in order; "" is a deletion.

    A record that comes from another scope is new there, and one that leaves is deleted.
    """
    found: dict[str, list[str]] = {}
    for write in journal:
        if write.kind == "wrong":
            continue
        if write.version and write.street.startswith(scope):
            found.setdefault(write.key, []).append(write.version)
        elif write.was and write.was.startswith(scope):
            found.setdefault(write.key, []).append("")
    return found


def judge(expected: dict[str, list[str]], seen: Sequence[Seen]) -> Verdict:
    """Compare what was seen with what should have been, key by key."""
    verdict = Verdict(expected=sum(map(len, expected.values())))
    by_key: dict[str, list[str]] = {}
    ids: set[str] = set()
    for event in seen:
        if event.id in ids:
            verdict.repeated += 1
            continue
        ids.add(event.id)
        by_key.setdefault(event.key, []).append(event.version)
    for key in expected.keys() | by_key.keys():
        wanted, got = expected.get(key, []), by_key.get(key, [])
        common = Counter(wanted) & Counter(got)
        verdict.arrived += common.total()
        verdict.missing += len(wanted) - common.total()
        verdict.unexpected += len(got) - common.total()
        verdict.out_of_order += _disorder(_kept(wanted, common), _kept(got, common))
    return verdict


def _kept(versions: list[str], common: Counter[str]) -> list[str]:
    left = common.copy()
    kept = []
    for version in versions:
        if left[version] > 0:
            left[version] -= 1
            kept.append(version)
    return kept


def _disorder(wanted: list[str], got: list[str]) -> int:
    return sum(1 for one, other in zip(wanted, got, strict=True) if one != other)


def judge_topic(events: Iterable[Seen]) -> Verdict:
    """Repeats by id, and sequences of a key that go back, in one topic."""
    verdict = Verdict()
    ids: set[str] = set()
    latest: dict[str, str] = {}
    for event in events:
        verdict.arrived += 1
        if event.id in ids:
            verdict.repeated += 1
        elif event.sequence <= latest.get(event.key, ""):
            verdict.out_of_order += 1
        ids.add(event.id)
        latest[event.key] = max(latest.get(event.key, ""), event.sequence)
    return verdict


def leaked(allowed: set[str], keys: Iterable[str]) -> int:
    """Keys that are where they must never be."""
    return len(set(keys) - allowed)
