"""What an agent's figures are called in Prometheus, and how they are told.

Names follow Prometheus: base units, ``_total`` for what only grows. Labels are bounded: they are
hops, contracts, topics and senders as the node file names them, and short words of ours; never a key, a
person or an address. Every metric stands in ``docs/metrics.md``.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

if TYPE_CHECKING:
    from agents.base.status import Hop

#: Upper bounds in seconds from a commit at the source to a change at the window.
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The same from a correction's filing to its answer: an hour, a working day, one, two, … thirty days.
ANSWER = tuple(3600.0 * hours for hours in (1, 8, 24, 48, 72, 120, 168, 240, 336, 720))

HOP = ("hop", "contract", "from", "to")


class Histogram:
    """How many values lay at or below each of ``bounds``; adding one costs the path next to nothing."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def tell(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Put it into ``family`` under ``labels``."""
        names = (*(f"{bound:g}" for bound in self.bounds), "+Inf")
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self.sum)


class Figure(NamedTuple):
    """One of :attr:`agents.base.status.Hop.gauges` as a metric; without a name it is none."""

    metric: str
    text: str
    kind: Literal["gauge", "counter"] = "gauge"


#: By the figure's name in ``/status``.
FIGURES: dict[str, Figure] = {
    "dead_letters_waiting": Figure(
        "dead_letters_waiting", "Dead letters that wait for an operator."
    ),
    "store_records": Figure("store_records", "Records in the window's store."),
    "store_bytes": Figure("store_bytes", "Size of the window's store."),
    "copy_rows": Figure("copy_rows", "Rows that the copy under way has told."),
    "copy_share": Figure("copy_ratio", "Share of the copy under way that was told."),
    "file_rows": Figure("file_rows", "Rows read of the file under way."),
    "file_share": Figure("file_read_ratio", "Share of the file under way that was read."),
    "file_share_told": Figure("file_told_ratio", "Share of the file under way that was told."),
    "files_waiting": Figure("files_waiting", "Files that wait to be read."),
    "files_held": Figure("files_held", "Files that are held for an operator's word."),
    "mqtt_queue_messages": Figure("mqtt_queue_messages", "MQTT messages not looked at yet."),
    "mqtt_unacknowledged_messages": Figure(
        "mqtt_unacknowledged_messages", "MQTT messages that Kafka does not have yet."
    ),
    "mqtt_repeated_messages": Figure(
        "mqtt_repeated_messages", "MQTT messages that came again and were left out.", "counter"
    ),
    "mqtt_paused": Figure("mqtt_paused", "1 while reading from the MQTT broker is paused."),
    "outgoing_waiting_events": Figure(
        "outgoing_waiting_events", "Events on this node's disk that Kafka does not have yet."
    ),
    "outgoing_waiting_seconds": Figure(
        "outgoing_waiting_seconds", "For how long the oldest of them waits."
    ),
    "intake_ledger_read_events": Figure(
        "intake_ledger_read_events", "Events read back at the start to know what was sent before."
    ),
    "intake_waiting_events": Figure(
        "intake_waiting_events", "Events taken over HTTP that Kafka does not have yet."
    ),
    "wal_retained_bytes": Figure(
        "wal_retained_bytes", "PostgreSQL's log that the replication slot holds back."
    ),
    "wal_safe_bytes": Figure(
        "wal_safe_bytes", "Log that may still be written before the slot is lost."
    ),
    "wal_limit_bytes": Figure("wal_limit_bytes", "Log that a slot may hold back at most."),
    "outbox_deleted_rows": Figure(
        "outbox_deleted_rows", "Rows of the outbox deleted since Kafka has them.", "counter"
    ),
    "refused_rows": Figure("refused_rows", "Rows that the table delivered to refuses."),
    # Told by contract instead: see agents.window.owner.
    "corrections_open": Figure("", ""),
    "corrections_overdue": Figure("", ""),
}


def told_by(hops: Sequence["Hop"], now: float) -> Iterator[Metric]:
    """The metrics of ``hops`` at ``now``, seconds since 1970 UTC."""
    events = _counter("levelsync_events", "Events passed on.")
    rejected = _counter("levelsync_dead_letters", "Events refused on their way.")
    breaches = _counter(
        "levelsync_freshness_breaches", "Times the freshness promise was broken here."
    )
    gaps = _counter(
        "levelsync_gaps", "Times events were missing or repeated, or the place to go on was gone."
    )
    verified = _counter("levelsync_signatures_verified", "Watermarks whose signature holds.")
    failed = _counter("levelsync_signatures_failed", "Watermarks that prove nothing.")
    lag = _gauge("levelsync_lag_records", "Records upstream that were not read yet.")
    age = _gauge("levelsync_watermark_age_seconds", "Time since all up to it has arrived.")
    promise = _gauge("levelsync_freshness_promise_seconds", "The age promised at most.")
    up = _gauge("levelsync_hop_running", "1 while the hop works.")
    healthy = _gauge(
        "levelsync_hop_healthy", "1 while the hop makes progress or has nothing to do."
    )
    latency = HistogramMetricFamily(
        "levelsync_latency_seconds", "From the commit at the source to the change here.", labels=HOP
    )
    figures: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for hop in hops:
        labels = [hop.hop, hop.contract, hop.from_, hop.to]
        events.add_metric(labels, hop.events)
        rejected.add_metric(labels, hop.rejected)
        breaches.add_metric(labels, hop.breaches)
        gaps.add_metric(labels, hop.gaps)
        verified.add_metric(labels, hop.verified)
        failed.add_metric(labels, hop.failed)
        up.add_metric(labels, hop.state == "running")
        healthy.add_metric(labels, hop.trouble() is None)
        if hop.lag is not None:
            lag.add_metric(labels, hop.lag)
        if hop.complete:
            age.add_metric(labels, max(0.0, now - hop.complete / 1e6))
        if hop.promise is not None:
            promise.add_metric(labels, hop.promise)
        if hop.latencies is not None:
            hop.latencies.tell(latency, labels)
        for name, value in hop.gauges.items():
            figure = FIGURES.get(name, Figure(name, "A figure of the part's own."))
            if not figure.metric:
                continue
            if name not in figures:
                make = _counter if figure.kind == "counter" else _gauge
                figures[name] = make(f"levelsync_{figure.metric}", figure.text)
            figures[name].add_metric(labels, value)
    yield from (
        events,
        rejected,
        breaches,
        gaps,
        verified,
        failed,
        lag,
        age,
        promise,
        up,
        healthy,
        latency,
    )
    yield from figures.values()
    for hop in hops:
        if hop.metrics is not None:
            yield from hop.metrics()


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=HOP)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=HOP)


def of_node(metrics: Iterator[Metric], node: str) -> Iterator[Metric]:
    """``metrics`` with the label ``node`` on every sample: whoever looks at many agents needs it."""
    for metric in metrics:
        metric.samples = [
            sample._replace(labels={**sample.labels, "node": node}) for sample in metric.samples
        ]
        yield metric
