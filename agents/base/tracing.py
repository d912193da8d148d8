"""Traces by OpenTelemetry: one event seen on its way through every hop, where somebody asks for it.

Off unless the environment names a collector, by OpenTelemetry's own variables; the library is loaded
only then. What makes a trace cross offices is the event's ``traceparent`` (W3C Trace Context). It comes
with the event from its sender or is made at capture for a few a second, stands in the event as
``ce_traceparent`` and is never changed on the way: each hop adds its span to it. A span says hop,
contract, topic and node; no key, no value.
"""

import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog

from agents.base.errors import ConfigError
from contracts.envelope import Header, header

if TYPE_CHECKING:
    from agents.base.status import Hop

#: Traces begun a second at most, unless the environment says otherwise, and spans made a second.
BEGUN, MOST = 10, 200
#: Events whose trace is remembered at a window, for what it delivers.
REMEMBERED = 2_000
#: Seconds that what is not sent yet is waited for at the end, and between two words on a collector away.
PATIENCE, SAID = 3.0, 600.0

log = structlog.get_logger()

HEADER = "ce_traceparent"
_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_HEADER_BYTES = HEADER.encode()

Done = Callable[[int], None]


def valid(traceparent: str | None) -> str:
    """``traceparent`` where it is one by W3C Trace Context, version 00; otherwise empty."""
    text = (traceparent or "").strip()
    return text if _PARENT.fullmatch(text) else ""


def wanted(environment: Mapping[str, str]) -> bool:
    """Does the environment ask for traces?"""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter:
        return exporter != "none"
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in names)


def open_tracing(node: str, version: str) -> "Tracing | None":
    """What the agent of ``node`` traces with, None where nobody asked. Raises ConfigError."""
    if not wanted(os.environ):
        return None
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((found for name in names if (found := os.environ.get(name))), "http/protobuf")
    if exporter != "otlp" or protocol != "http/protobuf":
        raise ConfigError(
            f"OTEL_TRACES_EXPORTER: expected otlp by http/protobuf, or none, got {exporter} by {protocol}"
        )
    try:
        there = find_spec("opentelemetry.sdk.trace") and find_spec("opentelemetry.exporter.otlp")
    except ModuleNotFoundError:
        there = None
    if not there:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: expected OpenTelemetry's library beside it, found none:"
            " pip install 'levelsync[otel]'"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    library = logging.getLogger("opentelemetry")
    library.handlers, library.propagate = [_Said()], False
    return Tracing(node, version, BatchSpanProcessor(OTLPSpanExporter()), begun=_begun())


def _begun() -> int:
    given = os.environ.get("LEVELSYNC_TRACES_PER_SECOND", str(BEGUN))
    if not given.isdigit():
        raise ConfigError(f"LEVELSYNC_TRACES_PER_SECOND: expected a number, got {given}")
    return int(given)


class Tracing:
    """Makes the spans of one agent and hands them to ``processor``, a span processor of OpenTelemetry's.

    ``begun`` are the traces begun here a second at most.
    """

    def __init__(self, node: str, version: str, processor: Any, *, begun: int = BEGUN) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "levelsync"),
                "service.instance.id": node,
                "service.version": version,
                "levelsync.node": node,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("levelsync", version)
        self._propagator = TraceContextTextMapPropagator()
        self._begun, self._made = _Bound(begun), _Bound(MOST)
        self._known: OrderedDict[str, str] = OrderedDict()

    # ---- capture -----------------------------------------------------------------------------

    def capture(
        self, hop: "Hop", given: str, committed: int, *, begin: bool
    ) -> tuple[str, Done | None]:
        """The traceparent a captured event is to carry, and what ends its span once brokers have it.

        ``given`` is what came with it, ``committed`` microseconds since 1970 UTC. Without one a trace is
        begun, where one more is allowed and ``begin`` says so; otherwise there is none.
        """
        sampled = _sampled(given)
        bound = self._made if given else self._begun
        if (given and not sampled) or not (given or begin) or not bound.take():
            return given, None
        now = time.time_ns()
        span = self._tracer.start_span(
            f"capture {hop.contract}",
            context=self._context(given) if given else None,
            kind=_kind("PRODUCER"),
            attributes=_about(hop),
            start_time=min(committed * 1000, now) if committed else now,
        )
        if not span.is_recording():
            return given, None
        carried: dict[str, str] = {}
        from opentelemetry.trace import set_span_in_context

        self._propagator.inject(carried, set_span_in_context(span))
        return carried["traceparent"], lambda _: span.end()

    # ---- later hops --------------------------------------------------------------------------

    def follow(self, hop: "Hop", headers: Iterable[Header]) -> Done | None:
        """What makes the span of an event that ``hop`` has in hand, once it is called."""
        return self._ending(hop, [header(headers, HEADER)])

    def follow_batch(self, hop: "Hop", data: memoryview, records: Callable[[], Any]) -> Done | None:
        """As :meth:`follow`, for the events of a batch passed on unopened; ``data`` are its bytes.

        Those of a compressed batch are not seen; their trace has a span less.
        """
        if _HEADER_BYTES not in bytes(data):
            return None
        return self._ending(hop, [header(record.headers, HEADER) for record in records()])

    def _ending(self, hop: "Hop", parents: list[bytes | None]) -> Done | None:
        found = [
            text for each in parents
            if each and _sampled(text := valid(each.decode(errors="replace")))
        ]  # fmt: skip
        if not found:
            return None
        began = time.time_ns()

        def done(_: int) -> None:
            for parent in found:
                self.span(hop, parent, began)

        return done

    def span(self, hop: "Hop", parent: str, began: int) -> None:
        """One span of ``hop``, from ``began``, nanoseconds since 1970 UTC, until now."""
        if self._made.take():
            self._tracer.start_span(
                f"{hop.hop} {hop.contract}",
                context=self._context(parent),
                kind=_kind("CONSUMER"),
                attributes=_about(hop),
                start_time=began,
            ).end()

    # ---- a window's deliveries ---------------------------------------------------------------

    def remember(self, event: str, headers: Iterable[Header]) -> None:
        """Keep the trace of event id ``event`` for what is delivered of it."""
        parent = valid((header(headers, HEADER) or b"").decode(errors="replace"))
        if _sampled(parent):
            self._known[event] = parent
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def delivered(self, hop: "Hop", event: str, began: int) -> None:
        """``event`` was delivered by ``hop``, begun at ``began``, nanoseconds since 1970 UTC."""
        if parent := self._known.get(event):
            self.span(hop, parent, began)

    def close(self) -> None:
        """Send what waits, for a while; takes its time, so call it in a thread."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(PATIENCE)

    def _context(self, parent: str) -> Any:
        return self._propagator.extract({"traceparent": parent})


class _Said(logging.Handler):
    """What the library says of a collector that is away, in our words and seldom."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if not self._at or now - self._at > SAID:
            self._at = now
            log.warning("traces cannot be sent", error=record.getMessage()[:300])


class _Bound:
    """So many a second, and no more."""

    def __init__(self, most: int) -> None:
        self._most, self._second, self._count = most, 0, 0

    def take(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= self._most


def _sampled(traceparent: str) -> bool:
    """Does its sender keep the trace? The last bit of its flags."""
    return bool(traceparent) and int(traceparent[-2:], 16) & 1 == 1


def _kind(name: str) -> Any:
    from opentelemetry.trace import SpanKind

    return SpanKind[name]


def _about(hop: "Hop") -> dict[str, str]:
    return {
        "levelsync.hop": hop.hop,
        "levelsync.contract": hop.contract,
        "levelsync.from": hop.from_,
        "levelsync.to": hop.to,
        "messaging.system": "kafka",
    }
