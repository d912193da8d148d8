"""Where an MQTT broker is, how to get in, and what a node file may say of either."""

import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from agents.base.errors import SourceMismatch
from agents.base.table import Wrong

_EXPECTED = "`mqtt://host:port` or `mqtts://host:port`"


class Address(NamedTuple):
    """Where a broker is, and how to get in."""

    host: str
    port: int
    client_id: str
    version: int
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    #: Seconds the broker keeps the session without us; MQTT 5.
    expiry: int
    #: Messages under way to us at once; MQTT 5, where it is the broker's word otherwise.
    receive: int


def place_of(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken there."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    return parts.hostname or "", parts.port or (8883 if tls else 1883), tls


def check_url(url: str, path: str) -> None:
    """Raise :class:`Wrong` unless ``url`` names a broker and nothing else."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0:
        raise Wrong(_EXPECTED, f"`{url}`" if "@" not in url else "another", path)
    if parts.username is not None or parts.path.strip("/") or parts.query:
        raise Wrong(f"{_EXPECTED}, and `username` and `password` beside it", "more", path)


def tls_of(ca: str | Path, cert: str | Path, key: str | Path) -> ssl.SSLContext:
    """TLS by PEM files, each empty where there is none. Raises SourceMismatch where one is of no use."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if cert:
            context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise SourceMismatch(
            "A file for TLS cannot be used", ca=str(ca), cert=str(cert), said=str(error),
            do="expected PEM: an authority's certificate, ours, and its key without a passphrase",
        ) from None  # fmt: skip
    return context
