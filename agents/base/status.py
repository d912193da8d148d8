"""What every part of the agent is doing: the figures behind /status, /readyz and /metrics."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.base.metrics import Histogram, of_node, told_by
from agents.base.tracing import Tracing

log = structlog.get_logger()

State = Literal["starting", "aligning", "running", "ended", "retrying", "stopped"]
Kind = Literal["capture", "view", "link", "window", "out", "answers"]

#: How a stream is signed, from well to ill.
SignedState = Literal["proven", "unsigned", "untrusted", "stopped"]
SIGNED: tuple[SignedState, ...] = ("proven", "unsigned", "untrusted", "stopped")


class Signature(NamedTuple):
    """How a partition is signed: by which node, and in a few words for a person."""

    state: SignedState
    node: str
    text: str


#: Seconds without progress, where there should be some, after which a hop is not healthy.
STUCK = 10.0
#: The same while it begins or is brought in line, which takes its time where much is there.
SLOW = 120.0


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
    #: How often events were missing or repeated, or the place to go on was gone.
    gaps: int = 0
    #: Seconds the contract promises to be younger than, None when it is not known.
    promise: float | None = None
    #: Records upstream that were not read yet, None when not known.
    lag: int | None = None
    #: Microseconds since 1970 UTC up to which everything has arrived, 0 when not known.
    complete: int = 0
    #: Milliseconds from commit to here, ``{"p50": …, "p99": …}``, where it is measured.
    latency: Callable[[], dict[str, float] | None] = lambda: None
    #: Seconds from commit to here of every event since the start, where it is measured.
    latencies: Histogram | None = None
    #: Monotonic seconds at which the hop was last lost, 0 while it is not.
    lost_at: float = 0.0
    #: Monotonic seconds at which it last moved, or had nothing to move; 0 before the first time.
    moved_at: float = 0.0
    #: Microseconds since 1970 UTC at which it was last brought in line with upstream, 0 if never.
    aligned: int = 0
    #: What it waits for that somebody else has to give, empty when for nothing: no trouble of this hop.
    waits: str = ""
    #: Monotonic seconds at which it was made.
    made_at: float = msgspec.field(default_factory=time.monotonic)
    #: What spans are made with, None while nobody asks for traces.
    tracing: Tracing | None = None
    #: Further metrics of this part's own, for as long as the hop is shown.
    metrics: Callable[[], Iterator[Metric]] | None = None
    #: How each partition that is read is signed.
    signed: dict[tuple[str, int], Signature] = {}
    #: Signatures that were verified, and those that proved nothing.
    verified: int = 0
    failed: int = 0
    #: Further figures of this part's own; :data:`agents.base.metrics.FIGURES` says what each is.
    gauges: dict[str, float] = {}
    #: What a person should know though it works, by a short name of what it is about.
    warnings: dict[str, str] = {}
    #: What a person must see to soon though it works still, in the same way: not healthy.
    alarms: dict[str, str] = {}

    def running(self) -> None:
        """The part works: called by it when everything it needs answers."""
        self.state, self.error, self.waits = "running", None, ""
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
            wait = "" if self.lag is None else f", {self.lag} records wait"
            return f"nothing moved for {now - self.moved_at:.0f} s{wait}"
        if self.state in ("starting", "aligning") and not self.waits:
            still = now - max(self.moved_at, self.made_at)
            if still > SLOW:
                doing = "begun" if self.state == "starting" else "come in line"
                return f"has not {doing} for {still:.0f} s"
        return None

    def signatures(self) -> dict[str, Any] | None:
        """How what is read here is signed: the worst ``state`` of any partition, ``by`` which nodes, and
        what is ``said`` of it; None where nothing was looked at."""
        if not self.signed:
            return None
        found = self.signed.values()
        return {
            "state": max((each.state for each in found), key=SIGNED.index),
            "by": sorted({each.node for each in found} - {""}),
            "said": "; ".join(sorted({each.text for each in found})),
        }

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
            "gaps": self.gaps,
            "promised_s": self.promise,
            "waits": self.waits,
            "lag": self.lag,
            "complete": self.complete / 1e6 if self.complete else None,
            "latency_ms": self.latency(),
            "signed": self.signatures(),
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
        #: Why what works beside the hops does not, by a short name; empty while it does.
        self.troubles: dict[str, Callable[[], str]] = {}
        #: How many parts beside the hops ended that should not have.
        self.ended = 0
        #: Is it known which hops there are to be?
        self.planned = False
        #: What hops make spans with, None while nobody asks for traces.
        self.tracing: Tracing | None = None
        #: The revision of each contract known here, by its name.
        self.revisions: Callable[[], dict[str, str]] = dict
        #: What a person should know of the agent itself, by a short name of what it is about.
        self.warnings: dict[str, str] = {}

    def hop(self, kind: Kind, contract: str, from_: str, to: str) -> Hop:
        """A new hop, shown from now on."""
        hop = Hop(kind, contract, from_, to)
        self.show(hop)
        return hop

    def show(self, hop: Hop) -> None:
        """Show a hop made elsewhere, once."""
        hop.tracing = self.tracing
        if not any(other is hop for other in self.hops):
            self.hops.append(hop)

    def hide(self, hop: Hop) -> None:
        """Show a hop no more."""
        self.hops = [other for other in self.hops if other is not hop]

    @property
    def ready(self) -> bool:
        """Does everything run that should?"""
        return self.planned and all(hop.ready for hop in self.hops)

    def trouble(self) -> dict[str, str]:
        """Why not everything beside the hops works, by a short name."""
        return {name: why for name, ask in self.troubles.items() if (why := ask())}

    def as_dict(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "version": self.version,
            "time": time.time(),
            "ready": self.ready,
            "troubles": self.trouble(),
            "contracts": self.revisions(),
            "warnings": list(self.warnings.values()),
            "hops": [hop.as_dict() for hop in self.hops],
        }

    def collect(self) -> Iterator[Metric]:
        """For Prometheus; see :mod:`agents.base.metrics`."""
        return of_node(self._collect(), self.node)

    def _collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("levelsync_agent_info", "1; who runs here.", labels=["version"])
        info.add_metric([self.version], 1)
        ready = GaugeMetricFamily("levelsync_agent_ready", "1 while everything runs that should.")
        ready.add_metric([], self.ready)
        broken = GaugeMetricFamily(
            "levelsync_agent_tasks_ended", "Parts beside the hops that ended and should not have."
        )
        broken.add_metric([], self.ended)
        yield from (info, ready, broken)
        yield from told_by(self.hops, time.time())
        for more in self.more:
            yield from more()
