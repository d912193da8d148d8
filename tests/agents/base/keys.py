"""Signers for tests, whose keys are made in memory."""

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.base.statement import public_of


class Signs:
    """As :class:`agents.base.keyring.Signer`, with a key of its own."""

    def __init__(self, node: str, key: Ed25519PrivateKey | None = None) -> None:
        self.node = node
        self.key: Ed25519PrivateKey | None = key or Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        assert self.key
        return public_of(self.key)

    def rotate(self) -> None:
        self.key = Ed25519PrivateKey.generate()


def private_text(key: Ed25519PrivateKey) -> str:
    """A key as one word, for another process."""
    return key.private_bytes_raw().hex()


def from_text(text: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def changed(value: object, **fields: object) -> object:
    """A frozen struct with other fields."""
    return msgspec.structs.replace(value, **fields)  # type: ignore[type-var]
