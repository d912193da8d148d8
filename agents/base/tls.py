"""TLS of what listens: a certificate and its key in PEM, taken again when they are renewed."""

import asyncio
import contextlib
import datetime
import ssl
from pathlib import Path

import structlog

from agents.base.errors import ConfigError

log = structlog.get_logger()

#: Seconds between looks at the files.
LOOK = 10.0


class Certificate:
    """What one listener speaks TLS with; ``field`` is the node file's table. Raises ConfigError."""

    def __init__(self, certificate: Path, key: Path, field: str) -> None:
        self._files = (certificate, key)
        self._field = field
        self._stamp = self._stamped()
        self.context = self._made()

    def renew(self) -> bool:
        """Take the files again if they have changed; True if so. Connections stay as they are.

        With files that do not fit each other, as halfway through a renewal, the old ones serve on."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            # Tried on another first: a key that does not fit would leave this one with none.
            self._made()
            self.context.load_cert_chain(*self._files)
        except (ConfigError, OSError) as error:
            log.error("a renewed certificate is not taken; the old one serves on", error=str(error))
            return False
        log.info("a renewed certificate is taken", field=self._field)
        return True

    async def watch(self) -> None:
        """Renew it whenever the files change."""
        while True:
            await asyncio.sleep(LOOK)
            self.renew()

    def _made(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self._files)
        except OSError as error:
            raise ConfigError(
                f"{self._field}.certificate: expected a certificate and its key in PEM, got {error}"
            ) from None
        return context

    def _stamped(self) -> list[tuple[int, int, int]]:
        found = []
        for file in self._files:
            with contextlib.suppress(OSError):
                stat = file.stat()
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return found


def valid_until(file: Path) -> datetime.datetime:
    """The moment, UTC, from which one of the certificates in a PEM file is not valid any more. Raises
    OSError, ValueError."""
    from cryptography import x509

    found = x509.load_pem_x509_certificates(file.read_bytes())
    return min(each.not_valid_after_utc for each in found)


def subject_of(file: Path) -> str:
    """The subject of the first certificate in a PEM file, ``CN=3701,O=…`` (RFC 4514). Raises OSError,
    ValueError."""
    from cryptography import x509

    return x509.load_pem_x509_certificates(file.read_bytes())[0].subject.rfc4514_string()


def certificate_of(certificate: Path, key: Path, field: str) -> Certificate | None:
    """The certificate of a listener; None where TLS is not wanted. Raises ConfigError."""
    return Certificate(certificate, key, field) if certificate.name else None
