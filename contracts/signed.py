"""A contract under its publisher's signature: how it travels to nodes that have no class for it.

Signatures are Ed25519 (RFC 8032) over the contract's text exactly as it travels, so that nobody has to
agree on how JSON is to be written.
"""

import base64
import datetime

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contracts.examine import examine
from contracts.model import Contract, WrongContract

#: Bytes of a signed contract at most.
LARGEST = 900_000


class Forged(ValueError):
    """It does not carry the signature it claims, or is no signed contract at all."""


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """``contract`` is its JSON; ``publisher`` the node that says so; ``time`` microseconds since 1970
    UTC; ``sunset`` the last day on which the owner fills this major; ``key`` and ``signature`` are
    base64."""

    contract: str
    publisher: str
    time: int
    sunset: datetime.date | None = None
    key: str
    signature: str


def sign(
    contract: Contract,
    *,
    publisher: str,
    key: Ed25519PrivateKey,
    time: int,
    sunset: datetime.date | None = None,
) -> bytes:
    """``contract`` as ``publisher`` sends it."""
    said = Signed(
        contract=msgspec.json.encode(contract).decode(),
        publisher=publisher,
        time=time,
        sunset=sunset,
        key=public_text(key.public_key()),
        signature="",
    )
    signature = base64.b64encode(key.sign(_covered(said))).decode()
    return msgspec.json.encode(msgspec.structs.replace(said, signature=signature))


def opened(raw: bytes) -> tuple[Signed, Contract]:
    """What was signed, and the contract in it. Raises Forged, or WrongContract for one that is
    truly signed but cannot be."""
    if len(raw) > LARGEST:
        raise Forged(f"Expected at most {LARGEST} bytes, got {len(raw)}")
    try:
        said = msgspec.json.decode(raw, type=Signed)
        public_key(said.key).verify(base64.b64decode(said.signature, validate=True), _covered(said))
    except InvalidSignature:
        raise Forged("Expected a signature over this contract, got another") from None
    except (ValueError, RecursionError, UnicodeError) as error:
        raise Forged(f"Expected a signed contract, {error}") from None
    try:
        contract = msgspec.json.decode(said.contract, type=Contract)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongContract(
            f"Expected a contract that this version can read, {error}; an agent of a newer version may"
        ) from None
    examine(contract)
    return said, contract


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as node files and signed contracts have it: base64 of its 32 bytes."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """The key in such a text. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def _covered(said: Signed) -> bytes:
    return msgspec.json.encode(
        ["levelsync contract", said.contract, said.publisher, said.time, said.sunset]
    )
