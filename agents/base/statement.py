"""What a signed watermark says: the two chains over everything above it, under its writer's key.

``events`` goes over each event as a reader sees it, whatever batch it lies in: it is signed by who
made the events. ``batches`` goes over the bytes of whole batches as they lie in the topic, so that a link
which passes them on unopened can verify them: it is signed by who wrote the topic. Both go on from
watermark to watermark, and 32 bytes are all there is to keep of them.

Signatures are Ed25519 (RFC 8032), chains SHA-256 (FIPS 180-4). A statement is signed as the text that
travels, so that nobody has to agree on how JSON is to be written.
"""

import base64
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contracts.envelope import Header
from contracts.signed import public_key, public_text

#: Others, such as SM2 with SM3, would be told apart by this word.
ALGORITHM = "ed25519-sha256"
#: Where a chain begins.
ZERO = bytes(32)
#: What is signed begins so: a signature over something else is none over a watermark.
_PREFIX = b"levelsync watermark\n"

_sha256 = hashlib.sha256
_packed = msgspec.msgpack.Encoder().encode


class Unproven(ValueError):
    """A statement does not carry the signature it claims, or cannot be read."""


class Seal(msgspec.Struct, frozen=True):
    """A :class:`Statement` as it travels: its JSON, and the signature over that text."""

    said: str
    signature: bytes


class Statement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the ``node`` that writes a topic says with one of its watermarks.

    ``stream``, ``number``, ``count`` and ``time`` are the watermark's own; ``at`` is when it was signed,
    in microseconds since 1970 UTC; ``since`` is the number of the first watermark of this unbroken row
    of signed ones. ``batches`` and ``events`` are the chains after it; a link, which makes no events, has
    no ``events``. With ``anew`` what came since the watermark before cannot be proven, and the chains
    go on from the values here. ``position`` is a digest of the watermark's position. ``made_from`` says
    of each topic a view was made from where it stood: stream, number, and digest of the statement.
    ``carries`` is the digest of what a link passes on of its upstream's, ``apart`` see
    :class:`agents.base.watermark.Watermark`.
    """

    node: str
    key: str
    topic: str
    partition: int
    stream: str
    number: int
    count: int
    time: int
    at: int
    since: int
    batches: bytes
    events: bytes = b""
    anew: bool = False
    position: str = ""
    made_from: dict[str, str] = {}
    carries: str = ""
    apart: str = ""
    algorithm: str = ALGORITHM


def chained(chain: bytes, item: bytes) -> bytes:
    """A chain one item further."""
    return _sha256(chain + item).digest()


def event_chained(
    chain: bytes, timestamp: int, key: bytes | None, value: bytes | None, headers: Sequence[Header]
) -> bytes:
    """A chain one event further: MessagePack in its shortest form of time in milliseconds, key, value,
    and the headers as pairs."""
    return _sha256(chain + _packed((timestamp, key, value, headers))).digest()


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON, in hexadecimal."""
    return _sha256(msgspec.json.encode(value)).hexdigest()


def key_id(key: str) -> str:
    """A public key, base64 of its 32 bytes, in the few characters by which people tell it."""
    return _sha256(base64.b64decode(key)).hexdigest()[:12]


def sealed(statement: Statement, key: Ed25519PrivateKey) -> Seal:
    """``statement``, whose ``key`` is that of ``key``, as it travels."""
    said = msgspec.json.encode(statement)
    return Seal(said.decode(), key.sign(_PREFIX + said))


def opened(seal: Seal) -> Statement:
    """What was signed, by the key it names itself. Raises Unproven."""
    statement = read(seal)
    if statement.algorithm != ALGORITHM:
        raise Unproven(f"expected a signature by {ALGORITHM}, got {statement.algorithm}")
    try:
        _public(statement.key).verify(seal.signature, _PREFIX + seal.said.encode())
    except InvalidSignature:
        raise Unproven("the signature is not over what the watermark says") from None
    except ValueError as error:
        raise Unproven(f"expected a public key, {error}") from None
    return statement


def read(seal: Seal) -> Statement:
    """What is said, whoever signed it. Raises Unproven."""
    try:
        return msgspec.json.decode(seal.said, type=Statement)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Unproven(f"expected a statement, {error}") from None


@functools.lru_cache(maxsize=256)
def _public(text: str) -> Ed25519PublicKey:
    return public_key(text)


def public_of(key: Ed25519PrivateKey) -> str:
    """The public key of a private one, as statements and node files have it."""
    return public_text(key.public_key())
