"""From samples to figures: pure functions over what was measured."""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: The part of a topic's records whose copying is start-up and not counted.
WARM = 0.2


class Sample(NamedTuple):
    """A look at a copy under way: monotonic seconds, CPU seconds of its process since it began, and
    the offset after the last readable record of each partition."""

    at: float
    cpu_s: float
    ends: tuple[int, ...]


class Pace(NamedTuple):
    """How fast a copy was made."""

    records: int
    seconds: float
    cpu_s: float
    cpu_s_with_start: float

    def as_dict(self, what: str = "records") -> dict[str, float | None]:
        """``what`` is counted: records, or rows."""
        return {
            f"{what}_per_s": round(self.records / self.seconds),
            f"{what}_per_cpu_s": round(self.records / self.cpu_s),
            what: self.records,
            "seconds": round(self.seconds, 3),
            "cpu_s": round(self.cpu_s, 3),
            "cpu_s_with_start": round(self.cpu_s_with_start, 3),
        }


def pace(samples: Sequence[Sample], offsets: Sequence[Sequence[int]]) -> Pace:
    """From the first look at which a fifth of the records was readable to the first at which all
    were. ``offsets`` are those of the records of each partition, in order.

    Raises ValueError when the samples do not reach that far.
    """
    total = sum(map(len, offsets))
    begin = next((each for each in samples if _readable(each, offsets) >= total * WARM), None)
    end = next((each for each in samples if _readable(each, offsets) >= total), None)
    if begin is None or end is None or begin is end:
        raise ValueError("expected samples of a copy from a fifth to its end, found too few")
    return Pace(
        total - _readable(begin, offsets), end.at - begin.at, end.cpu_s - begin.cpu_s, end.cpu_s
    )


def pace_since(samples: Sequence[Sample], offsets: Sequence[Sequence[int]], begin: Sample) -> Pace:
    """From ``begin`` to the first look at which all records were readable.

    Those readable at ``begin`` are not counted. Raises ValueError when the samples do not reach that far.
    """
    total = sum(map(len, offsets))
    end = next((each for each in samples if _readable(each, offsets) >= total), None)
    if end is None or end.at <= begin.at:
        raise ValueError("expected samples of a copy to its end, found too few")
    return Pace(
        total - _readable(begin, offsets), end.at - begin.at, end.cpu_s - begin.cpu_s, end.cpu_s
    )


def _readable(sample: Sample, offsets: Sequence[Sequence[int]]) -> int:
    return sum(
        bisect.bisect_left(mine, end) for mine, end in zip(offsets, sample.ends, strict=True)
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that is not below ``share`` of them (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def added_ms(above: Mapping[int, float], below: Mapping[int, float]) -> list[float]:
    """Milliseconds by which each record was readable later below than above.

    Raises ValueError when one was seen on one side alone.
    """
    if above.keys() != below.keys():
        raise ValueError(f"expected {len(above)} records at the target, found {len(below)}")
    return [(below[number] - at) * 1000 for number, at in above.items()]


def side(
    pace_: Pace | None,
    rss_mb: float,
    latencies: Sequence[float] | None,
    what: str = "records",
) -> dict[str, Any]:
    """One side's entry in the answer; ``what`` was counted."""
    found: dict[str, Any] = dict(pace_.as_dict(what)) if pace_ else {}
    found["rss_mb"] = round(rss_mb, 1)
    found["p50_ms"] = round(percentile(latencies, 0.5), 2) if latencies else None
    found["p99_ms"] = round(percentile(latencies, 0.99), 2) if latencies else None
    return found
