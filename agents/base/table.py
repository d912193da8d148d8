"""What every table of a node file is made of: unknown fields are refused, and a wrong one is named."""

import hashlib
import re

import msgspec


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the node file."""


class Wrong(ValueError):
    """A setting that cannot be: what was expected, what was found, and its dotted path."""

    #: Whose rules it breaks, where it is a contract's.
    contract = ""

    def __init__(self, expected: str, found: str, path: str) -> None:
        self.expected, self.found, self.path = expected, found, path
        super().__init__(f"Expected {expected}, got {found} - at `$.{path}`")


def check_contract(name: str, path: str) -> None:
    """Raise :class:`Wrong` unless ``name`` could be a contract's."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*\.v[1-9]\d{0,3}", name):
        raise Wrong("a contract such as `resident.v2`", f"`{name}`", path)


def check_address(text: str, path: str, *, several: bool = False) -> None:
    """Raise :class:`Wrong` unless ``text`` is ``host:port``, or several with commas between them."""
    for part in text.split(",") if several else [text]:
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise Wrong("`host:port`", f"`{text}`", path)


def check_token(name: str, token: str, taken: dict[str, str], path: str) -> None:
    """Raise :class:`Wrong` unless ``token`` is long enough, or a hash, and nobody else's; ``name`` is
    whose it is, ``taken`` are those before it and is added to."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
        raise Wrong("a name such as `civil-affairs`", f"`{name}`", f"{path}.name")
    if name in taken.values():
        raise Wrong("each name once", f"`{name}`", f"{path}.name")
    hashed = token.startswith("sha256:")
    if hashed and not re.fullmatch(r"sha256:[0-9a-f]{64}", token):
        raise Wrong("`sha256:` and 64 hexadecimal digits", "others", f"{path}.token")
    if not hashed and len(token) < 16:
        raise Wrong("a token of 16 characters or more", f"{len(token)}", f"{path}.token")
    if sealed_token(token) in taken:
        raise Wrong(
            "a token of its own", f"that of `{taken[sealed_token(token)]}`", f"{path}.token"
        )
    taken[sealed_token(token)] = name


def sealed_token(token: str) -> str:
    """``sha256:`` and the hash of a token, which may be one already."""
    if token.startswith("sha256:"):
        return token
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"
