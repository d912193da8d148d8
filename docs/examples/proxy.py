"""A page's way to the window: serves the page and passes /v1/ on, with the token a browser cannot send.

python proxy.py PORT. Who reaches it sees what the token may: let people log in before it.
"""

import os
import sys

import aiohttp
from aiohttp import web
from yarl import URL

WINDOW = os.environ.get("LEVELSYNC_WINDOW", "http://127.0.0.1:8700")
TOKEN = {"Authorization": f"Bearer {os.environ['LEVELSYNC_TOKEN']}"}
POLICY = {"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'"}


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(request.match_info["name"] or "window.html", headers=POLICY)


async def pass_on(request: web.Request) -> web.StreamResponse:
    kept = ("Last-Event-ID", "If-None-Match", "Accept")
    headers = TOKEN | {name: request.headers[name] for name in kept if name in request.headers}
    endless = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=15)
    async with (
        aiohttp.ClientSession(timeout=endless) as session,
        session.get(URL(WINDOW + request.raw_path, encoded=True), headers=headers) as answer,
    ):
        kept = ("Content-Type", "Complete-As-Of", "ETag", "Cache-Control", "Retry-After")
        headers = {name: answer.headers[name] for name in kept if name in answer.headers}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for piece in answer.content.iter_any():  # at once, never buffered
            await response.write(piece)
        return response


app = web.Application()
app.router.add_get("/v1/{rest:.*}", pass_on)
app.router.add_get("/{name:(?:window\\.(?:html|js))?}", page)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), handler_cancellation=True)
