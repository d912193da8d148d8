"""Metrics are named by Prometheus' rules, documented, and bounded."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from agents.base.metrics import FIGURES, LATENCY, Figure, Histogram
from agents.base.status import Hop, Status
from tests.guide import ROOT
from tests.metrics_page import documented

#: Last words of a name that say a unit or a thing counted, as Prometheus asks for.
ENDS = {
    "total", "seconds", "bytes", "ratio", "records", "rows", "events", "messages", "requests", "info",
    "ready", "ended", "waiting", "held", "running", "healthy", "paused", "subscribers", "sessions",
    "open", "overdue",
}  # fmt: skip


def written() -> dict[str, str]:
    """Every metric the code makes, and its kind, from the calls that make it."""
    found = {
        f"levelsync_{figure.metric}": figure.kind for figure in FIGURES.values() if figure.metric
    }
    for path in sorted((ROOT / "agents").rglob("*.py")):
        for name, kind in _made(ast.parse(path.read_text(encoding="utf-8"))):
            assert found.setdefault(name, kind) == kind, name  # type: ignore[arg-type]
    return {f"{name}_total" if kind == "counter" else name: kind for name, kind in found.items()}


def _made(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.endswith("MetricFamily") or called in ("_counter", "_gauge"):
            first = node.args[0]
            if isinstance(first, ast.Constant):
                kind = re.sub(r"MetricFamily|_", "", called).lower()
                yield str(first.value), kind
            else:
                assert "levelsync_" not in ast.unparse(first), "a name made up on the way"


def test_every_metric_is_documented_and_every_documented_one_is_there() -> None:
    assert {name: kind for name, (kind, _) in documented().items()} == written()


def test_names_end_in_what_they_count() -> None:
    for name, kind in written().items():
        assert name.startswith("levelsync_")
        assert name.rpartition("_")[2] in ENDS, name
        assert name.endswith("_total") == (kind == "counter")


def test_every_figure_of_a_hop_is_known() -> None:
    told = set()
    for path in sorted((ROOT / "agents").rglob("*.py")):
        told |= set(_figures(path))
    assert told
    assert told <= FIGURES.keys()


def _figures(path: Path) -> Iterator[str]:
    """The names under which ``path`` puts something into a hop's gauges."""
    text = path.read_text(encoding="utf-8")
    yield from re.findall(r'\bgauges\["(\w+)"\]\s*(?:,|=)', text)
    for group in re.findall(r"\.gauges (?:\|)?= (\{[^}]*\})", text):
        yield from re.findall(r'"(\w+)":', group)


def test_a_histogram_counts_what_lies_at_or_below_each_bound() -> None:
    seen = Status("37", "1.0")
    hop = seen.hop("window", "resident.v2", "resident.v2", "window")
    hop.latencies = Histogram(LATENCY)
    for took in (0.001, 0.005, 0.006, 59.0, 61.0):
        hop.latencies.observe(took)
    text = exposed(seen)
    labels = 'contract="resident.v2",from="resident.v2",hop="window"'
    for bound, count in (("0.005", 2), ("0.01", 3), ("30", 3), ("60", 4), ("+Inf", 5)):
        bucket = f'levelsync_latency_seconds_bucket{{{labels},le="{bound}",node="37",to="window"}}'
        assert f"{bucket} {count}.0" in text
    assert re.search(r"^levelsync_latency_seconds_count\{.*\} 5.0$", text, re.MULTILINE)
    assert hop.latencies.count == 5


def test_what_is_not_known_is_absent_rather_than_nought() -> None:
    seen = Status("37", "1.0")
    hop = seen.hop("capture", "resident.v2", "table", "resident.v2")
    text = exposed(seen)
    for name in ("lag_records", "watermark_age_seconds", "freshness_promise_seconds"):
        assert f"levelsync_{name}{{" not in text
    hop.lag, hop.complete, hop.promise, hop.gaps = 3, 1, 5.0, 2
    text = exposed(seen)
    labels = '{contract="resident.v2",from="table",hop="capture",node="37",to="resident.v2"}'
    assert f"levelsync_lag_records{labels} 3.0" in text
    assert f"levelsync_freshness_promise_seconds{labels} 5.0" in text
    assert f"levelsync_gaps_total{labels} 2.0" in text


def test_a_figure_nobody_named_is_told_all_the_same() -> None:
    seen = Status("37", "1.0")
    seen.hop("capture", "a.v1", "b", "c").gauges["new_bytes"] = 7.0
    assert "levelsync_new_bytes{" in exposed(seen)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_figure_says_what_it_is(figure: Figure) -> None:
    assert re.fullmatch(r"[A-Z1].*\.", figure.text) if figure.metric else not figure.text


def exposed(status: Status) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)
    return generate_latest(registry).decode()


def test_a_hop_that_begins_or_aligns_for_minutes_is_trouble_unless_it_waits_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr("agents.base.status.time.monotonic", lambda: now)
    hop = Hop("link", "resident.v2", "a", "b", made_at=now)
    hop.waits = "resident.v2.to.3701 upstream"
    now += 121
    assert hop.trouble() is None
    hop.waits = ""
    assert hop.trouble() == "has not begun for 121 s"
    hop.state = "aligning"
    assert hop.trouble() == "has not come in line for 121 s"
    hop.moved()
    assert hop.trouble() is None
