"""The keys a node signs with: one in use, perhaps the next beside it, and the public ones of before.

``signing.key`` is in use; ``signing.key.next`` waits until everybody trusts it; ``signing.key.former``
lists the public keys that were in use, since what they signed still stands in topics. Private keys are
files of their owner alone.
"""

import contextlib
import os
import time
from pathlib import Path

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.base.keys import WrongKey, signing_key
from agents.base.statement import public_of

log = structlog.get_logger()


class NoKey(WrongKey):
    """This node has no signing key."""

    hint = "`levelsync keys new NODE.toml` makes one."


class Former(msgspec.Struct, frozen=True):
    """A public key that was in use from ``since`` until ``until``, seconds since 1970 UTC."""

    key: str
    since: float
    until: float


class Keyring:
    """The keys beside ``path``, a node file's ``[agent] key``. Files are read again by :meth:`look`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: The private key in use; None while there is none.
        self.key: Ed25519PrivateKey | None = None
        #: Its public one, empty while there is none.
        self.public = ""
        self._own: frozenset[str] = frozenset()
        self._stamp: object = None

    @property
    def next(self) -> Path:
        """Where the key is that is to be used next."""
        return self.path.with_name(f"{self.path.name}.next")

    @property
    def _former(self) -> Path:
        return self.path.with_name(f"{self.path.name}.former")

    def own(self) -> frozenset[str]:
        """The public keys by which this node signs or signed."""
        return self._own

    def look(self) -> None:
        """Take up what has changed on disk. A key that cannot be used any more is said, and the
        one before goes on: a stream that stops to be signed would stop everybody below."""
        stamp = tuple(_stamp(path) for path in (self.path, self._former))
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            key = signing_key(self.path) if self.path.exists() or self.key else None
            former = {each.key for each in self.former()}
        except WrongKey as error:
            log.error("the signing key is not taken", error=str(error), key=self.public or "none")
            return
        public = public_of(key) if key else ""
        if self.public and public != self.public:
            log.info("signing with another key from now on", key=public, before=self.public)
        self._own = frozenset(former | {self.public, public} - {""})
        self.key, self.public = key, public

    def former(self) -> list[Former]:
        """The public keys that were in use, oldest first. Raises WrongKey."""
        try:
            raw = self._former.read_bytes()
        except OSError:
            return []
        try:
            return msgspec.json.decode(raw, type=list[Former])
        except msgspec.DecodeError as error:
            raise WrongKey(f"Expected a list of keys in {self._former}, {error}.") from None

    def since(self) -> float:
        """When the key in use was made, seconds since 1970 UTC."""
        return self.path.stat().st_mtime

    def make_next(self) -> str:
        """The public key that is to be used next; made if there is none yet. Raises NoKey, WrongKey."""
        if not self.path.exists():
            raise NoKey(file=self.path)
        return public_of(signing_key(self.next, make=True))

    def take_next(self) -> str:
        """Use the next key from now on; its public one. Raises NoKey, WrongKey.

        The public key of before is noted first: whatever happens then, what it signed is known for ours.
        """
        now, public = time.time(), public_of(signing_key(self.next))
        before = public_of(signing_key(self.path))
        former = [each for each in self.former() if each.key != before]
        former.append(Former(before, self.since(), now))
        aside = self._former.with_name(f"{self._former.name}.new")
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(former)))
        os.replace(aside, self._former)
        os.utime(self.next, (now, now))
        os.replace(self.next, self.path)
        return public


class Signer:
    """Signs what ``node`` writes, by the key its ring has at that moment."""

    def __init__(self, node: str, ring: Keyring) -> None:
        self.node = node
        self._ring = ring

    @property
    def key(self) -> Ed25519PrivateKey | None:
        """The private key; None while the node has none."""
        return self._ring.key

    @property
    def public(self) -> str:
        """Its public key."""
        return self._ring.public


def _stamp(path: Path) -> object:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
    return None
