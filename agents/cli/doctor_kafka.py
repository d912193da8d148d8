"""``levelsync doctor``: certificates of a cluster and their days, and what the agent may do there."""

import datetime
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

from agents.base.findings import Finding, ok, warning, wrong
from agents.base.tls import valid_until
from agents.kafka.access import SOON, Access
from agents.kafka.acls import may, may_write_as
from agents.kafka.cluster import Cluster
from agents.kafka.rights import TOPIC, WRITER, Need
from agents.kafka.wire import Connection

#: Days before the end of a certificate at which it is urgent.
URGENT = 7


def examine_access(access: Access) -> list[Finding]:
    """Of the files that ``access`` names: how long they are good for."""
    found: list[Finding] = []
    if access.tls is None:
        if access.sasl:
            found.append(
                warning(
                    f"{access.field}.tls", "none: who listens on the line reads everything",
                    f"Add [{access.field}.tls] and name the brokers' listener with TLS.",
                )
            )  # fmt: skip
        return found
    for name in ("ca", "certificate"):
        file: Path = getattr(access.tls, name)
        if file.name:
            found.append(days_left(f"{access.field}.tls.{name}", file))
    return found


def days_left(about: str, file: Path) -> Finding:
    """For how long the certificates in ``file`` are good."""
    try:
        left = valid_until(file) - datetime.datetime.now(datetime.UTC)
    except (OSError, ValueError) as error:
        return wrong(
            about, f"{file} cannot be read: {error}", "Name a file with certificates in PEM."
        )
    return judged(about, str(file), left)


def judged(about: str, what: str, left: datetime.timedelta) -> Finding:
    """What is to be said of a certificate that is good for ``left``."""
    days = left.days
    do = f"Have {what} renewed; the agent takes the new one by itself."
    if left < datetime.timedelta():
        return wrong(about, f"{what} has expired {(-left).days} days ago", do)
    if days < URGENT:
        return wrong(about, f"{what} is good for {days} days", do)
    if days < SOON:
        return warning(about, f"{what} is good for {days} days", do)
    return ok(about, f"{what} is good for {days} days")


def examine_broker(cluster: Cluster, connection: Connection) -> Iterator[Finding]:
    """How long the certificate of the broker we speak with is good for."""
    moment = connection.peer_until()
    if moment:
        left = datetime.timedelta(seconds=ssl.cert_time_to_seconds(moment)) - datetime.timedelta(
            seconds=datetime.datetime.now(datetime.UTC).timestamp()
        )
        found = judged(f"{cluster.bootstrap} certificate", "the broker's certificate", left)
        yield found


async def examine_rights(connection: Connection, needs: Iterable[Need]) -> list[Finding]:
    """What of ``needs`` the agent is in want of, on its own word from the brokers. Raises Unavailable,
    NotAllowed."""
    needs = list(needs)
    allowed = await may(connection, [each.name for each in needs if each.kind == TOPIC])
    found: list[Finding] = []
    unknown = 0
    for need in needs:
        if need.kind == TOPIC:
            mine = allowed[need.name]
            if mine is None:
                unknown += 1
                continue
            missing = [each for each in need.operations if each not in mine]
        elif need.kind == WRITER and not need.prefixed:
            missing = [] if await may_write_as(connection, need.name) else ["Write"]
        else:
            continue
        if missing:
            found.append(
                wrong(
                    f"rights {need.kind} {need.name}",
                    f"{need.principal.removeprefix('User:')} lacks {', '.join(missing)}: {need.why}",
                    "Have them given: `levelsync acl NODE.toml` prints the lines, `--apply` makes them.",
                )
            )
    if not found:
        rest = f"; {unknown} topics are not there yet" if unknown else ""
        found.append(ok("rights", f"all that are needed on {len(needs) - unknown} resources{rest}"))
    return found
