"""What one hop did in a stretch of time: sums that add up, so that minutes become hours, hours months."""

import math
from collections.abc import Mapping

import msgspec

#: Ages are counted in buckets: the first is below this, in seconds; four of them make a factor of two.
_FIRST, _OCTAVE = 0.1, 4
#: The last bucket: three years and more.
_LAST = 120


def bucket_of(age: float) -> int:
    """The bucket of an age in seconds; see :func:`edge`."""
    if age < _FIRST:
        return 0
    return min(_LAST, 1 + int(math.log2(age / _FIRST) * _OCTAVE))


def edge(bucket: int) -> float:
    """Seconds below which every age of ``bucket`` lies: at most 19 % above any of them."""
    return float(_FIRST * 2 ** (bucket / _OCTAVE))


class Figures(msgspec.Struct):
    """Sums over seconds that were looked at. What was not looked at is in none of them."""

    #: Seconds looked at; of them those in which the hop ran.
    seen: int = 0
    running: int = 0
    #: Seconds in which its completeness was known and something is promised; of them those in which the
    #: promise held.
    known: int = 0
    kept: int = 0
    #: Age of completeness in seconds: the sum over the known seconds, the largest, and seconds by bucket.
    age_sum: float = 0.0
    age_max: float = 0.0
    ages: dict[int, int] = {}
    events: int = 0
    refused: int = 0
    gaps: int = 0
    breaches: int = 0
    #: Milliseconds from commit to here: the median of each minute, summed up, over how many minutes, and
    #: the largest of the minutes' 99th percentiles.
    p50_sum: float = 0.0
    measured: int = 0
    p99: float = 0.0
    #: Seconds promised, as last known; 0 for nothing.
    promise: float = 0.0

    def look(self, running: bool, age: float | None, promise: float, seconds: int = 1) -> None:
        """Count ``seconds`` in which the hop was so; ``age`` None where it is not known."""
        self.seen += seconds
        self.promise = promise
        if running:
            self.running += seconds
        if age is None or not promise:
            return
        self.known += seconds
        self.age_sum += age * seconds
        self.age_max = max(self.age_max, age)
        if age <= promise:
            self.kept += seconds
        bucket = bucket_of(age)
        self.ages[bucket] = self.ages.get(bucket, 0) + seconds

    def measure(self, latency: Mapping[str, float] | None) -> None:
        """Count the latencies of a minute."""
        if latency:
            self.p50_sum += latency["p50"]
            self.measured += 1
            self.p99 = max(self.p99, latency["p99"])

    def add(self, other: "Figures") -> None:
        """Count ``other``, which is later, too."""
        for name in (
            "seen", "running", "known", "kept", "age_sum", "events", "refused", "gaps", "breaches",
            "p50_sum", "measured",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.age_max, self.p99 = max(self.age_max, other.age_max), max(self.p99, other.p99)
        self.promise = other.promise or self.promise
        for bucket, seconds in other.ages.items():
            self.ages[bucket] = self.ages.get(bucket, 0) + seconds

    # ---- what a person asks --------------------------------------------------------------------

    @property
    def availability(self) -> float | None:
        """Share of the seconds looked at in which it ran; None where nobody looked."""
        return self.running / self.seen if self.seen else None

    @property
    def promise_kept(self) -> float | None:
        """Share of the known seconds in which the promise held."""
        return self.kept / self.known if self.known else None

    @property
    def mean_age(self) -> float | None:
        """Seconds."""
        return self.age_sum / self.known if self.known else None

    def age(self, share: float) -> float | None:
        """Seconds below which the age was in ``share`` of the known seconds, at most 19 % too much."""
        left = share * self.known
        for bucket in sorted(self.ages):
            left -= self.ages[bucket]
            if left <= 1e-9:
                return min(edge(bucket), self.age_max)
        return None

    @property
    def p50(self) -> float | None:
        """Milliseconds from commit to here: the mean of the minutes' medians."""
        return self.p50_sum / self.measured if self.measured else None

    @property
    def refused_share(self) -> float | None:
        """Share of what came that was refused."""
        came = self.events + self.refused
        return self.refused / came if came else None
