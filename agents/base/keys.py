"""The key a node signs with: one file, made when it is first needed."""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from agents.base.errors import LevelsyncError


class WrongKey(LevelsyncError):
    """The signing key cannot be used."""


def signing_key(path: Path, *, make: bool = False) -> Ed25519PrivateKey:
    """The private key in the PEM file at ``path``; with ``make`` a new one where there is none.

    Raises WrongKey when there is none, when others than its owner may read it, or when it is not an
    Ed25519 key.
    """
    if make and not path.exists():
        return _made(path)
    try:
        loose = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        raw = path.read_bytes()
    except OSError as error:
        raise WrongKey(f"Expected a readable key, got {error}.") from None
    if loose:
        raise WrongKey(f"Expected {path} to be its owner's alone: `chmod 600 {path}`.")
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError) as error:
        raise WrongKey(f"Expected a PEM file without password at {path}, got {error}.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongKey(f"Expected an Ed25519 key in {path}, got {type(key).__name__}.")
    return key


def _made(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key
