"""How clients are let into one cluster: what each of them is started with, made from the node file's
``[kafka.tls]`` and ``[kafka.sasl]``. Renewed files count from the next connection on."""

import contextlib
import datetime
import ssl
from pathlib import Path
from typing import Any

import structlog
from aiokafka.abc import AbstractTokenProvider

from agents.base.errors import ConfigError
from agents.base.kafka_access import Reach, Sasl, Tls
from agents.base.tls import valid_until
from agents.kafka.tokens import FileToken, GrantedToken

log = structlog.get_logger()

#: Days before the end of a certificate at which it is to be known.
SOON = 30


class Access:
    """The way into one cluster. ``field`` is the node file's table that says it: ``kafka``, ``parent``.

    Raises ConfigError where its files cannot be read. Clients that are open keep their connections; a new
    connection is made with what is right by then.
    """

    def __init__(
        self, field: str = "kafka", tls: Tls | None = None, sasl: Sasl | None = None
    ) -> None:
        self.field = field
        self.tls: Tls | None = None
        self.sasl: Sasl | None = None
        self._context: RenewedContext | None = None
        self._tokens: AbstractTokenProvider | None = None
        self._set(tls, sasl)

    def use(self, reach: Reach) -> None:
        """The node file has changed. Where its files cannot be read the old ones count on."""
        if (reach.tls, reach.sasl) == (self.tls, self.sasl):
            return
        try:
            self._set(reach.tls, reach.sasl)
        except ConfigError as error:
            log.error("new credentials are not taken; the old ones count on", error=str(error))
            return
        log.info("new credentials count from the next connection on", field=self.field)

    def _set(self, tls: Tls | None, sasl: Sasl | None) -> None:
        context = RenewedContext.of(tls, f"{self.field}.tls") if tls else None
        self.tls, self.sasl, self._context = tls, sasl, context
        self._tokens = _tokens(sasl, f"{self.field}.sasl") if sasl else None

    @property
    def protocol(self) -> str:
        """What Kafka calls this way in: ``SASL_SSL`` and its like."""
        kind = "SSL" if self.tls else "PLAINTEXT"
        return f"SASL_{kind}" if self.sasl else kind

    @property
    def name(self) -> str:
        """As whom we come, as far as we know; for messages."""
        if self.sasl:
            return self.sasl.user or self.sasl.client or "the bearer of the token"
        return (
            "the holder of our certificate"
            if self.tls and self.tls.certificate.name
            else "ANONYMOUS"
        )

    def arguments(self) -> dict[str, Any]:
        """What every client of aiokafka is to be started with, beside its address."""
        arguments: dict[str, Any] = {"security_protocol": self.protocol}
        if self._context:
            arguments["ssl_context"] = self._context
        if self.sasl:
            arguments["sasl_mechanism"] = self.sasl.mechanism
            if self._tokens:
                arguments["sasl_oauth_token_provider"] = self._tokens
            else:
                arguments["sasl_plain_username"] = self.sasl.user
                arguments["sasl_plain_password"] = self.sasl.password
        return arguments


def _tokens(sasl: Sasl, field: str) -> AbstractTokenProvider | None:
    if sasl.mechanism != "OAUTHBEARER":
        return None
    if sasl.token.name:
        return FileToken(sasl.token, field)
    return GrantedToken(sasl, field)


class RenewedContext(ssl.SSLContext):
    """A context whose connections are each made from the files as they are by then.

    Clients keep one context for their life and connect again and again; so this one makes a new
    context when the files have changed, and has that one make the connection.
    """

    @classmethod
    def of(cls, tls: Tls, field: str) -> "RenewedContext":
        """Raises ConfigError."""
        made = cls(ssl.PROTOCOL_TLS_CLIENT)
        made._tls, made._field = tls, field
        made._stamp = _stamped(tls)
        made._newest = _context(tls, field)
        _say_days(tls, field)
        return made

    _tls: Tls
    _field: str
    _stamp: list[tuple[int, int, int]]
    _newest: ssl.SSLContext

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """See :meth:`ssl.SSLContext.wrap_bio`."""
        self._renew()
        return self._newest.wrap_bio(*args, **named)

    def _renew(self) -> None:
        stamp = _stamped(self._tls)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._newest = _context(self._tls, self._field)
        except ConfigError as error:
            # As halfway through a renewal; the next change is looked at again.
            log.error("a renewed certificate is not taken; the old one counts on", error=str(error))
            return
        log.info("a renewed certificate is taken", field=self._field)
        _say_days(self._tls, self._field)


def _say_days(tls: Tls, field: str) -> None:
    """Say it of a certificate that is to be renewed soon; ``levelsync doctor`` looks at all of them."""
    if not tls.certificate.name:
        return
    with contextlib.suppress(OSError, ValueError):
        left = valid_until(tls.certificate) - datetime.datetime.now(datetime.UTC)
        if left.days < SOON:
            log.warning("a certificate ends soon", field=f"{field}.certificate", days=left.days)


def _context(tls: Tls, field: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca if tls.ca.name else None)
    except OSError as error:
        raise ConfigError(
            f"{field}.ca: expected certificates in PEM at {tls.ca}, got {error}"
        ) from None
    if tls.certificate.name:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            raise ConfigError(
                f"{field}.certificate: expected a certificate in PEM at {tls.certificate} and its key at"
                f" {tls.key}, got {error}"
            ) from None
    return context


def _stamped(tls: Tls) -> list[tuple[int, int, int]]:
    found = []
    for file in (tls.ca, tls.certificate, tls.key):
        if file != Path():
            with contextlib.suppress(OSError):
                stat = file.stat()
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found
