"""A change is one trace from the province's commit to a subscriber of the county's window."""

import asyncio
import gzip
import http.server
import threading
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.client import subscribe
from agents.demo.levels import Levels
from tests.live.levels import resident, started

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


class Collector:
    """Takes spans in by OTLP over HTTP, as any backend does."""

    def __init__(self) -> None:
        #: Node, name, trace, span and parent of each, in hexadecimal.
        self.spans: list[tuple[str, str, str, str, str]] = []
        self.raw = b""
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [
                    (
                        named["levelsync.node"], span.name, span.trace_id.hex(),
                        span.span_id.hex(), span.parent_span_id.hex(),
                    )
                    for span in scope.spans
                ]  # fmt: skip

    def whole(self) -> list[set[tuple[str, str]]]:
        """Of each trace that begins with a capture: node and name of its spans."""
        roots = {(trace, span) for _, _, trace, span, parent in self.spans if not parent}
        return [
            {
                (node, name)
                for node, name, trace, span, parent in self.spans
                if trace == root[0] and (parent == root[1] or span == root[1])
            }
            for root in roots
        ]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def levels(collector: Collector) -> AsyncIterator[Levels]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        async with started(residents=60, licences=5) as running:
            yield running


#: What one change passes: by node, hop and contract.
WAY = {
    ("37", "capture resident.v2"),
    ("37", "view resident.v2"),
    ("3701", "link resident.v2"),
    ("3701", "view resident.v2"),
    ("370102", "link resident.v2"),
    ("370102", "window resident.v2"),
    ("370102", "out resident.v2"),
}


async def test_a_change_is_one_trace_over_three_levels(
    levels: Levels, collector: Collector
) -> None:
    key, seen = resident(levels, 0), asyncio.Event()

    async def follow() -> None:
        async for _ in subscribe("resident.v2", url=levels.url("370102", ""), from_="now"):
            seen.set()

    following = asyncio.create_task(follow(), name="follow")
    try:
        async with asyncio.timeout(60):
            number = 0
            while not any(each >= WAY for each in collector.whole()):
                number += 1
                async with await psycopg.AsyncConnection.connect(
                    levels.postgres.dsn("province")
                ) as office:
                    await office.execute(
                        "UPDATE population.resident SET phone = %s WHERE citizen_no = %s",
                        (f"1390000{number:04}", key),
                    )
                await asyncio.sleep(0.5)
    except TimeoutError:
        pytest.fail(f"expected one trace of {sorted(WAY)}, got {collector.whole()}")
    finally:
        following.cancel()
    assert seen.is_set()
    assert key.encode() not in collector.raw, "a trace is about nobody"
