"""Is a connection string one? Said without its text: what libpq says of a wrong one quotes it, and with
it perhaps a password."""

import psycopg

from agents.base.table import Wrong

_EXPECTED = "libpq's `name=value …` or `postgresql://…`"


def check_dsn(dsn: str, path: str) -> None:
    """Raise :class:`Wrong` unless libpq can read ``dsn`` and its ports are numbers."""
    try:
        found = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise Wrong(_EXPECTED, "something else, not shown", path) from None
    for port in str(found.get("port") or "").split(","):
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise Wrong(f"{_EXPECTED} with a port of 1 to 65535", "another, not shown", path)
