"""How an agent is let in at a Kafka cluster: ``[kafka.tls]`` and ``[kafka.sasl]`` of the node file, and
the same under ``[parent]``."""

from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from agents.base.table import Table, Wrong

Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Tls(Table, frozen=True):
    """PEM files, taken again when they are renewed; an empty table is TLS with the system's own
    authorities and no certificate of ours."""

    #: Whom to trust.
    ca: Path = Path()
    #: Who we are, where the broker asks: the certificate with those above it, and its key.
    certificate: Path = Path()
    key: Path = Path()


class Sasl(Table, frozen=True):
    """What the agent logs in with. A token comes from a file or from an OAuth 2 server."""

    mechanism: Mechanism
    user: str = ""
    password: str = ""
    #: A file with a bearer token, read anew for each connection.
    token: Path = Path()
    #: The token endpoint of an OAuth 2 server, for its client credentials grant, and whom to trust there.
    url: str = ""
    client: str = ""
    secret: str = ""
    scope: str = ""
    ca: Path = Path()

    def __repr__(self) -> str:
        return f"Sasl(mechanism={self.mechanism!r}, user={self.user or self.client!r}, …)"


class Reach(Table, frozen=True):
    """A table of the node file that names a cluster: where it is and how we are let in."""

    bootstrap: str
    #: Copies of each partition; three in production.
    replicas: int = 1
    #: None for a listener without TLS.
    tls: Tls | None = None
    #: None for one that asks for no login.
    sasl: Sasl | None = None
    #: What the brokers call this agent, ``User:CN=…``, where it does not follow from the login.
    principal: str = ""


_Reach = TypeVar("_Reach", bound=Reach)


def check_reach(reach: Reach, path: str) -> None:
    """Raise :class:`Wrong` for the first setting with which nobody is let in."""
    if reach.principal and not reach.principal.startswith("User:"):
        raise Wrong("`User:` and a name", f"`{reach.principal}`", f"{path}.principal")
    tls, sasl = reach.tls, reach.sasl
    if tls:
        for one, other in (("certificate", "key"), ("key", "certificate")):
            if getattr(tls, one) != Path() and getattr(tls, other) == Path():
                raise Wrong(f"`{other}` beside `{one}`", "none", f"{path}.tls.{other}")
    if sasl is None:
        return
    if sasl.mechanism in ("PLAIN", "OAUTHBEARER") and tls is None:
        raise Wrong(
            f"[{path}.tls] beside it: with {sasl.mechanism} the secret itself is sent",
            "none",
            f"{path}.sasl.mechanism",
        )
    if sasl.mechanism == "OAUTHBEARER":
        _check_token(sasl, f"{path}.sasl")
        return
    for name in ("user", "password"):
        if not getattr(sasl, name):
            raise Wrong(f"`{name}`, which {sasl.mechanism} needs", "none", f"{path}.sasl.{name}")
    _check_without(sasl, ("url", "client", "secret", "scope", "token", "ca"), f"{path}.sasl")


def _check_token(sasl: Sasl, path: str) -> None:
    _check_without(sasl, ("user", "password"), path)
    if sasl.token != Path():
        _check_without(sasl, ("url", "client", "secret", "scope", "ca"), path)
        return
    for name in ("url", "client", "secret"):
        if not getattr(sasl, name):
            raise Wrong(f"`{name}`, or `token`, a file with one", "neither", f"{path}.{name}")
    parts = urlsplit(sasl.url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise Wrong(
            "an address that begins with `https://`: a secret is sent there",
            f"`{sasl.url}`",
            f"{path}.url",
        )


def _check_without(sasl: Sasl, names: tuple[str, ...], path: str) -> None:
    for name in names:
        if getattr(sasl, name) not in ("", Path()):
            raise Wrong(
                f"no `{name}` where `mechanism` is {sasl.mechanism}", "one", f"{path}.{name}"
            )


def beside(reach: _Reach, folder: Path) -> _Reach:
    """The same, with its files seen from ``folder``, where the node file is."""
    changed: dict[str, object] = {}
    for table in ("tls", "sasl"):
        found = getattr(reach, table)
        if found is None:
            continue
        files = {
            name: folder / file
            for name in ("ca", "certificate", "key", "token")
            if isinstance(file := getattr(found, name, None), Path) and file != Path()
        }
        changed[table] = msgspec.structs.replace(found, **files)
    return msgspec.structs.replace(reach, **changed)
