"""What every part of the agent is doing: the figures behind /status, /readyz and /metrics."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = structlog.get_logger()

State = Literal["starting", "aligning", "running", "ended", "retrying", "stopped"]
Kind = Literal["capture", "view", "link", "window", "out", "answers"]

#: Seconds without progress, where there should be some, after which a hop is not healthy.
STUCK = 10.0


class Hop(msgspec.Struct):
    """One step of one contract through this agent, kept up to date by the part that makes it."""

    hop: Kind
    contract: str
    from_: str
    to: str
    state: State = "starting"
    error: str | None = None
    events: int = 0
    rejected: int = 0
    #: How often the contract's freshness promise was broken here.
    breaches: int = 0
    #: Records upstream that were not read yet, None when not known.
    lag: int | None = None
    #: Microseconds since 1970 UTC up to which everything has arrived, 0 when not known.
    complete: int = 0
    #: Milliseconds from commit to here, ``{"p50": …, "p99": …}``, where it is measured.
    latency: Callable[[], dict[str, float] | None] = lambda: None
    #: Monotonic seconds at which the hop was last lost, 0 while it is not.
    lost_at: float = 0.0
    #: Monotonic seconds at which it last moved, or had nothing to move; 0 before the first time.
    moved_at: float = 0.0
    #: Microseconds since 1970 UTC at which it was last brought in line with upstream, 0 if never.
    aligned: int = 0
    #: Further figures of this part's own, by their name in a metric, the unit last.
    gauges: dict[str, float] = {}
    #: What a person should know though it works, by a short name of what it is about.
    warnings: dict[str, str] = {}
    #: What a person must see to soon though it works still, in the same way: not healthy.
    alarms: dict[str, str] = {}

    def running(self) -> None:
        """The part works: called by it when everything it needs answers."""
        self.state, self.error = "running", None
        if self.lost_at:
            after = round(time.monotonic() - self.lost_at, 1)
            log.info("back", hop=self.hop, contract=self.contract, topic=self.to, after_s=after)
            self.lost_at = 0.0

    @property
    def ready(self) -> bool:
        """Does it do what it is there for, or has it nothing left to do?

        A window answers whether the systems it delivers to are there or not.
        """
        return self.hop == "out" or self.state in ("running", "ended")

    def moved(self) -> None:
        """There was progress, or nothing that could have moved."""
        self.moved_at = time.monotonic()

    def trouble(self) -> str | None:
        """Why this hop is not healthy; None when it is. Connected is not enough: it must move."""
        if self.state == "stopped":
            return self.error or "stopped"
        if self.alarms:
            return "; ".join(self.alarms.values())
        now = time.monotonic()
        if self.state == "retrying" and now - self.lost_at > STUCK:
            return f"away for {now - self.lost_at:.0f} s: {self.error}"
        if self.state == "running" and self.moved_at and now - self.moved_at > STUCK:
            return f"nothing moved for {now - self.moved_at:.0f} s, {self.lag} records wait"
        return None

    def as_dict(self) -> dict[str, Any]:
        return {
            "hop": self.hop,
            "contract": self.contract,
            "from": self.from_,
            "to": self.to,
            "state": self.state,
            "error": self.error,
            "trouble": self.trouble(),
            "events": self.events,
            "rejected": self.rejected,
            "breaches": self.breaches,
            "lag": self.lag,
            "complete": self.complete / 1e6 if self.complete else None,
            "latency_ms": self.latency(),
            "figures": dict(self.gauges),
            "warnings": list(self.warnings.values()),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie. Raises IndexError without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Status(Collector):
    """All hops of an agent; also a Prometheus collector, so that counting costs the path nothing."""

    def __init__(self, node: str, version: str) -> None:
        self.node = node
        self.version = version
        self.hops: list[Hop] = []
        #: Further metrics of parts that are no hop of one contract.
        self.more: list[Callable[[], Iterator[Metric]]] = []
        #: Is it known which hops there are to be?
        self.planned = False

    def hop(self, kind: Kind, contract: str, from_: str, to: str) -> Hop:
        """A new hop, shown from now on."""
        hop = Hop(kind, contract, from_, to)
        self.show(hop)
        return hop

    def show(self, hop: Hop) -> None:
        """Show a hop made elsewhere, once."""
        if not any(other is hop for other in self.hops):
            self.hops.append(hop)

    def hide(self, hop: Hop) -> None:
        """Show a hop no more."""
        self.hops = [other for other in self.hops if other is not hop]

    @property
    def ready(self) -> bool:
        """Does everything run that should?"""
        return self.planned and all(hop.ready for hop in self.hops)

    def as_dict(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "version": self.version,
            "ready": self.ready,
            "hops": [hop.as_dict() for hop in self.hops],
        }

    def collect(self) -> Iterator[Metric]:
        labels = ["hop", "contract", "from", "to"]
        events = CounterMetricFamily("levelsync_events", "Events passed on.", labels=labels)
        rejected = CounterMetricFamily("levelsync_dead_letters", "Events refused.", labels=labels)
        breaches = CounterMetricFamily(
            "levelsync_freshness_breaches", "Freshness promises broken.", labels=labels
        )
        lag = GaugeMetricFamily("levelsync_lag_records", "Records not read yet.", labels=labels)
        age = GaugeMetricFamily(
            "levelsync_watermark_age_seconds", "Time since complete-as-of.", labels=labels
        )
        up = GaugeMetricFamily("levelsync_hop_running", "1 while the hop works.", labels=labels)
        healthy = GaugeMetricFamily(
            "levelsync_hop_healthy", "1 while the hop makes progress.", labels=labels
        )
        now = time.time()
        gauges: dict[str, GaugeMetricFamily] = {}
        for hop in self.hops:
            values = [hop.hop, hop.contract, hop.from_, hop.to]
            events.add_metric(values, hop.events)
            rejected.add_metric(values, hop.rejected)
            breaches.add_metric(values, hop.breaches)
            up.add_metric(values, hop.state == "running")
            healthy.add_metric(values, hop.trouble() is None)
            if hop.lag is not None:
                lag.add_metric(values, hop.lag)
            if hop.complete:
                age.add_metric(values, max(0.0, now - hop.complete / 1e6))
            for name, value in hop.gauges.items():
                if name not in gauges:
                    gauges[name] = GaugeMetricFamily(
                        f"levelsync_{name}", "A figure of the part's own.", labels=labels
                    )
                gauges[name].add_metric(values, value)
        yield from (events, rejected, breaches, lag, age, up, healthy, *gauges.values())
        for more in self.more:
            yield from more()
