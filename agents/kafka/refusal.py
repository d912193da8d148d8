"""Why a broker does not let us in: what was expected, what was found, where it is said and what to do."""

import asyncio
import contextlib
import datetime
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import aiokafka.errors as kafka_errors

from agents.base.tls import valid_until
from agents.kafka.access import Access
from agents.kafka.tokens import NoToken

#: Seconds to find out what a listener speaks.
PATIENCE = 1.5
#: What a listener turned out to speak: TLS or not, and whether it wants a login; empty when not known.
Speaks = Literal["", "plain", "plain, login", "tls", "tls, login", "tls, certificate"]

_CLIENT = b"\0\x09levelsync"
#: ApiVersions, version 0, and Metadata, version 4, of no topic: a listener with SASL answers the first
#: alone.
_VERSIONS = struct.pack(">hhi", 18, 0, 1) + _CLIENT
_METADATA = struct.pack(">hhi", 3, 4, 2) + _CLIENT + struct.pack(">ib", 0, 0)


class Why(NamedTuple):
    """For a person. ``field`` is a dotted path of the node file."""

    expected: str
    found: str
    field: str
    do: str


def why(error: BaseException, access: Access) -> Why | None:
    """Why ``error`` came, where it says so by itself."""
    for each in _causes(error):
        if isinstance(each, NoToken):
            return Why(each.expected, each.found, each.field, each.do)
        if isinstance(each, ssl.SSLCertVerificationError):
            return _untrusted(each, access)
        if isinstance(each, ssl.SSLError) and (found := _alert(each, access)):
            return found
        if found := _login(each, access):
            return found
    return None


async def looked_at(host: str, port: int, access: Access) -> Why | None:
    """Why a listener that says nothing may not want us: how it speaks, compared with how we do."""
    speaks = await what_speaks(host, port)
    field, at = access.field, f"{host}:{port}"
    if speaks.startswith("tls") and not access.tls:
        return Why(
            "a listener without TLS, since there is no table for it", f"one with TLS at {at}",
            f"{field}.tls", f"Add [{field}.tls] with `ca`, or name the listener without TLS.",
        )  # fmt: skip
    if speaks.startswith("plain") and access.tls:
        return Why(
            "a listener with TLS", f"one without at {at}", f"{field}.tls",
            f"Name the port of the listener with TLS in {field}.bootstrap, or take the table out.",
        )  # fmt: skip
    if speaks == "tls, certificate" and access.tls and not access.tls.certificate.name:
        return _certificate_wanted(field)
    if speaks.endswith("login") and not access.sasl:
        return Why(
            "a listener that asks for no login, since there is no table for it",
            f"one that ends connections without at {at}",
            f"{field}.sasl",
            f"Add [{field}.sasl] with `mechanism`, `user` and `password`.",
        )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


# ---- certificates --------------------------------------------------------------------------------


def _untrusted(error: ssl.SSLCertVerificationError, access: Access) -> Why:
    field, said = f"{access.field}.tls", error.verify_message
    if error.verify_code == 10:
        return Why(
            "a broker's certificate that is valid today", "one that has expired", field,
            "Have the broker's certificate renewed.",
        )  # fmt: skip
    if error.verify_code == 9:
        return Why(
            "a broker's certificate that is valid today", "one that is not valid yet", field,
            "Is this machine's clock right?",
        )  # fmt: skip
    if error.verify_code in (62, 64):
        return Why(
            "a broker's certificate for the address it was called by", said,
            f"{access.field}.bootstrap",
            "Have the certificate name the addresses that brokers advertise, or name one that it has.",
        )  # fmt: skip
    ca = access.tls.ca if access.tls and access.tls.ca.name else None
    return Why(
        f"a broker's certificate of an authority in {ca or 'the list of this system'}",
        f"one of another ({said})",
        f"{field}.ca",
        "Name the file (PEM) with the certificate of the brokers' authority.",
    )


def _certificate_wanted(field: str) -> Why:
    return Why(
        "a listener that takes us without a certificate, since none is named",
        "one that asks for one",
        f"{field}.tls.certificate",
        "Name `certificate` and `key`, of an authority that the brokers trust.",
    )


def _alert(error: ssl.SSLError, access: Access) -> Why | None:
    """What the broker says against us."""
    reason = error.reason or str(error)
    tls = access.tls
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason:
        return Why(
            "a listener with TLS", "one without", f"{access.field}.tls",
            f"Name the port of the listener with TLS in {access.field}.bootstrap, or take the table"
            " out.",
        )  # fmt: skip
    if "ALERT" not in reason or tls is None:
        return None
    if not tls.certificate.name:
        return _certificate_wanted(access.field)
    # Java says of one that has expired only that it is "unknown".
    expired = "CERTIFICATE_EXPIRED" in reason or _over(tls.certificate)
    return Why(
        "brokers to take our certificate",
        "a refusal: it has expired" if expired else f"a refusal ({reason.lower()})",
        f"{access.field}.tls.certificate",
        f"Have {tls.certificate} renewed; the agent takes it by itself."
        if expired
        else f"Is {tls.certificate} of an authority that the brokers trust, and still valid?",
    )


def _over(certificate: Path) -> bool:
    try:
        return valid_until(certificate) < datetime.datetime.now(datetime.UTC)
    except (OSError, ValueError):
        return False


# ---- logins --------------------------------------------------------------------------------------


def _login(error: BaseException, access: Access) -> Why | None:
    field, sasl = f"{access.field}.sasl", access.sasl
    if sasl is None:
        return None
    if isinstance(error, kafka_errors.SaslAuthenticationFailed):
        if sasl.mechanism == "OAUTHBEARER":
            return Why(
                "brokers to take our token", f"a refusal ({_short(error)})", field,
                "Is it still valid, and of the issuer, for the audience, that the brokers expect?",
            )  # fmt: skip
        return Why(
            f"brokers to know the user {sasl.user} by this password", "a refusal",
            f"{field}.password",
            f"Mend user or password; does the user exist with {sasl.mechanism}? The node file is read"
            " again when it changes and on SIGHUP.",
        )  # fmt: skip
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return Why(
            f"a listener that offers {sasl.mechanism}", "one that does not", f"{field}.mechanism",
            "Name one it offers (`sasl.enabled.mechanisms` of the brokers).",
        )  # fmt: skip
    if isinstance(error, kafka_errors.IllegalSaslStateError):
        return Why(
            "a listener that asks for a login", "one that does not", field,
            f"Name the port of the listener with SASL in {access.field}.bootstrap, or take the table"
            " out.",
        )  # fmt: skip
    if isinstance(error, ValueError) and "signature" in str(error):
        return Why(
            "a broker that knows the user's password too", "one that does not",
            f"{access.field}.bootstrap", "Do not go on: is this really your broker?",
        )  # fmt: skip
    return None


def _short(error: BaseException) -> str:
    return str(error).strip()[:200] or type(error).__name__


# ---- what a listener speaks ----------------------------------------------------------------------


async def what_speaks(host: str, port: int) -> Speaks:
    """Try a listener; it is told nothing but our name, and nothing it says is trusted."""
    if plain := await _answers(host, port, None):
        return "plain" if plain == "all" else "plain, login"
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    found = await _answers(host, port, unverified)
    if found == "certificate":
        return "tls, certificate"
    return "" if not found else "tls" if found == "all" else "tls, login"


async def _answers(
    host: str, port: int, tls: ssl.SSLContext | None
) -> Literal["", "all", "first", "certificate"]:
    writer: asyncio.StreamWriter | None = None
    found: Literal["", "all", "first", "certificate"] = ""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            for number, request in enumerate((_VERSIONS, _METADATA), 1):
                writer.write(struct.pack(">i", len(request)) + request)
                size, correlation = struct.unpack(">ii", await reader.readexactly(8))
                if correlation != number or not 4 <= size < 16 * 1024 * 1024:
                    break
                await reader.readexactly(size - 4)
                found = "first" if number == 1 else "all"
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            found = "certificate"
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await writer.wait_closed()
    return found
