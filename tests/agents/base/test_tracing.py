"""Traces: off unless asked for, bounded, across hops by one header, and about nobody."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agents.base.errors import ConfigError
from agents.base.status import Hop
from agents.base.tracing import MOST, Tracing, open_tracing, valid, wanted

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HOP = Hop("capture", "resident.v2", "population.resident", "resident.v2")
LINK = Hop("link", "resident.v2", "resident.v2.to.3701", "resident.v2.from.37")


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    made = InMemorySpanExporter()
    yield made
    made.shutdown()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    return Tracing("37", "1.0", SimpleSpanProcessor(exporter), begun=3)


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_traces_are_made_when_the_environment_names_where_to(
    environment: dict[str, str], on: bool
) -> None:
    assert wanted(environment) is on


def test_a_wrong_environment_says_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="expected otlp by http/protobuf"):
        open_tracing("37", "1.0")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    monkeypatch.setenv("LEVELSYNC_TRACES_PER_SECOND", "many")
    with pytest.raises(ConfigError, match="expected a number, got many"):
        open_tracing("37", "1.0")
    monkeypatch.setattr("agents.base.tracing.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"levelsync\[otel\]"):
        open_tracing("37", "1.0")


def test_an_agent_that_does_not_trace_never_loads_the_library() -> None:
    code = "import agents.agent, sys; sys.exit(any(n.startswith('opentelemetry') for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GIVEN, GIVEN),
        (f" {GIVEN} ", GIVEN),
        (None, ""),
        (GIVEN.upper(), ""),
        (GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), ""),
        (f"{GIVEN}-370102199003070012", ""),
    ],
)
def test_what_is_no_trace_context_is_not_carried(text: str | None, found: str) -> None:
    assert valid(text) == found


def test_a_captured_event_begins_a_trace_and_every_hop_adds_to_it(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    committed = time.time_ns() // 1000 - 5_000
    carried, done = tracing.capture(HOP, "", committed, begin=True)
    assert valid(carried) == carried
    assert done
    done(7)
    headers = [("ce_id", b"1"), ("ce_traceparent", carried.encode())]
    follow = tracing.follow(LINK, headers)
    assert follow
    follow(9)
    first, second = exporter.get_finished_spans()
    assert (first.name, second.name) == ("capture resident.v2", "link resident.v2")
    assert first.context
    assert second.context
    assert second.parent
    assert second.context.trace_id == first.context.trace_id
    assert second.parent.span_id == first.context.span_id
    assert first.start_time == committed * 1000, "from the commit at the source"
    assert first.resource.attributes["levelsync.node"] == "37"
    assert dict(second.attributes or {}) == {
        "levelsync.hop": "link",
        "levelsync.contract": "resident.v2",
        "levelsync.from": "resident.v2.to.3701",
        "levelsync.to": "resident.v2.from.37",
        "messaging.system": "kafka",
    }, "no key, no value"


def test_a_senders_trace_goes_on_here(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    carried, done = tracing.capture(HOP, GIVEN, 0, begin=True)
    assert done
    done(1)
    (span,) = exporter.get_finished_spans()
    assert carried[3:35] == GIVEN[3:35]
    assert carried != GIVEN, "what comes after is below our span"
    assert span.parent
    assert f"{span.parent.span_id:016x}" == GIVEN[36:52]


def test_what_its_sender_does_not_sample_is_carried_and_gets_no_span(tracing: Tracing) -> None:
    unsampled = f"{GIVEN[:-2]}00"
    assert tracing.capture(HOP, unsampled, 0, begin=True) == (unsampled, None)
    assert tracing.follow(LINK, [("ce_traceparent", unsampled.encode())]) is None
    assert tracing.follow(LINK, [("ce_traceparent", b"nonsense \xff")]) is None
    assert tracing.follow(LINK, []) is None


def test_so_many_a_second_and_no_more(
    tracing: Tracing, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when ``_Bound`` never refuses: tried."""
    now = 1_000.0
    monkeypatch.setattr("agents.base.tracing.time.monotonic", lambda: now)
    begun = [tracing.capture(HOP, "", 0, begin=True)[0] for _ in range(1_000)]
    assert len([each for each in begun if each]) == 3
    follow = tracing.follow(LINK, [("ce_traceparent", GIVEN.encode())])
    assert follow
    for offset in range(MOST * 2):
        follow(offset)
    assert len(exporter.get_finished_spans()) == MOST
    now += 1.0
    assert tracing.capture(HOP, "", 0, begin=True)[0]


def test_a_first_copy_begins_no_traces(tracing: Tracing) -> None:
    assert tracing.capture(HOP, "", 0, begin=False) == ("", None)


def test_what_a_window_delivers_is_found_by_the_events_id(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    out = Hop("out", "resident.v2", "resident.v2", "feed")
    tracing.remember("id-1", [("ce_traceparent", GIVEN.encode())])
    tracing.delivered(out, "id-1", time.time_ns())
    tracing.delivered(out, "id-2", time.time_ns())
    (span,) = exporter.get_finished_spans()
    assert span.name == "out resident.v2"


def test_a_batch_is_looked_into_only_where_a_trace_is_in_it(tracing: Tracing) -> None:
    def never() -> None:
        raise AssertionError("looked into")

    assert tracing.follow_batch(LINK, memoryview(b"nothing of it"), never) is None
