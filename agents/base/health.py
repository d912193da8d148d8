"""What an agent says of itself over HTTP: /healthz, /readyz, /status and /metrics."""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from agents.base.errors import ConfigError
from agents.base.status import Status


def health_app(status: Status) -> web.Application:
    """An application of these four alone."""
    app = web.Application()
    add_health(app, status)
    return app


def add_health(app: web.Application, status: Status) -> None:
    """Add the four to ``app``; they read ``status`` and change nothing."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)

    async def healthz(_: web.Request) -> web.Response:
        trouble = {hop.to: why for hop in status.hops if (why := hop.trouble())} | status.trouble()
        stopped = [hop.to for hop in status.hops if hop.state == "stopped"]
        return web.json_response(
            {"ok": not trouble, "stopped": stopped, "trouble": trouble},
            status=503 if trouble else 200,
        )

    async def readyz(_: web.Request) -> web.Response:
        waiting = [hop.to for hop in status.hops if not hop.ready]
        return web.json_response(
            {"ready": status.ready, "waiting": waiting}, status=200 if status.ready else 503
        )

    async def show(_: web.Request) -> web.Response:
        return web.json_response(status.as_dict())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/status", show)
    app.router.add_get("/metrics", metrics)


class _Unquoted(logging.Filter):
    """Leaves out what a request that is no HTTP was: a token may be in it, or a number of somebody's."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


_UNQUOTED = _Unquoted()
#: Bytes of a request's first line: an expression has 1,000 characters, each of them 12 when quoted.
_LINE = 32 * 1024
#: Seconds a connection may be without a whole request, also one whose bytes come one by one.
IDLE = 75.0


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, address: str, field: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve ``app`` at ``host:port`` meanwhile, with ``tls`` alone where given; raises ConfigError naming
    the node file's field."""
    host, _, port = address.rpartition(":")
    logging.getLogger("aiohttp.server").addFilter(_UNQUOTED)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=1.0, max_line_size=_LINE, keepalive_timeout=IDLE
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=tls).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            f"{field}: expected a free address, got {address}: {error.strerror}"
        ) from None
    try:
        yield
    finally:
        await runner.cleanup()
