"""The page's own files: nothing but what lay in its folder when the agent began."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

PAGE = Path(__file__).parent / "page"
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    body: bytes
    kind: str
    tag: str


def _read(path: Path) -> File:
    body = path.read_bytes()
    return File(body, _KINDS[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


#: By address: ``/`` is the page, the others are what it is made of.
FILES = {
    "/" if path.name == "index.html" else f"/{path.name}": _read(path)
    for path in sorted(PAGE.iterdir())
    if path.suffix in _KINDS
}


def add_files(app: web.Application) -> None:
    """Add the page's addresses to ``app``."""
    for path in FILES:
        app.router.add_get(path, _file)


async def _file(request: web.Request) -> web.Response:
    file = FILES[request.path]
    headers = {"ETag": file.tag}
    if request.headers.get("If-None-Match") == file.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.kind, charset="utf-8", headers=headers)
