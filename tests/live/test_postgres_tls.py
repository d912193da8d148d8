"""Credentials and TLS as libpq does them: passwords in files, services, certificates that are verified."""

import asyncio
import datetime
import ipaddress
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.base.errors import Unavailable
from agents.demo.servers import PostgresServer, free_ports
from tests.live.reading import Reading
from tests.live.test_postgres_source import opened, source

pytestmark = pytest.mark.live

#: Servers with TLS: that of the wheel has none.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def certificates(folder: Path) -> None:
    """``ca.crt``, and ``server.crt`` with ``server.key`` for localhost, signed by it."""
    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    for name, subject in (("ca", "a CA of this test"), ("server", "localhost")):
        made = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("a CA of this test"))
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(keys["ca"], hashes.SHA256())
        )
        (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        keys["server"].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture(scope="module")
def guarded(servers: Path) -> Iterator[PostgresServer]:
    """A server that takes logins over TLS and by password alone, but for its owner."""
    if not PROGRAMS:
        pytest.skip("Expected a PostgreSQL with TLS in /usr/lib/postgresql, found none")
    folder = servers / "guarded"
    folder.mkdir()
    certificates(folder)
    settings = {
        "ssl": "on",
        "ssl_cert_file": folder / "server.crt",
        "ssl_key_file": folder / "server.key",
    }
    server = PostgresServer(folder, free_ports(1)[0], "guarded", PROGRAMS[-1], settings)
    for name in ("server.crt", "server.key"):
        if server._user:
            shutil.chown(folder / name, server._user)
        (folder / name).chmod(0o600)
    asyncio.run(server.start())
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as base:
        base.execute("CREATE ROLE agent LOGIN REPLICATION PASSWORD 'first'")
        base.execute("CREATE ROLE owner LOGIN SUPERUSER")
    rules = "host all postgres 127.0.0.1/32 trust\nhostssl all agent 127.0.0.1/32 scram-sha-256\n"
    (folder / "pgdata" / "pg_hba.conf").write_text(rules)
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as base:
        base.execute("SELECT pg_reload_conf()")
    yield server
    asyncio.run(server.stop())


async def test_a_verified_server_and_a_password_that_changes(
    guarded: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = await guarded.create("tls")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as base:
        await base.execute(
            "CREATE SCHEMA office; CREATE TABLE office.person (id text PRIMARY KEY, full_name text,"
            " note text, alive boolean, at timestamptz); GRANT USAGE ON SCHEMA office TO agent;"
            "GRANT SELECT ON office.person TO agent; GRANT CREATE ON DATABASE tls TO agent;"
            "ALTER TABLE office.person OWNER TO agent"
        )
        passwords = tmp_path / "passwords"
        passwords.write_text("localhost:*:*:agent:first\n")
        passwords.chmod(0o600)
        theirs = (
            f"host=localhost hostaddr=127.0.0.1 port={guarded.port} user=agent passfile={passwords}"
            f" sslmode=verify-full sslrootcert={guarded.folder / 'ca.crt'} dbname=tls"
        )
        reading = Reading(source(theirs))
        await reading.open(None)
        await reading.quiet()
        await base.execute("ALTER ROLE agent PASSWORD 'second'")
        await base.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agent'"
        )
        with pytest.raises(Unavailable):
            await reading.until(lambda: False)
        assert reading.last
        position = reading.last.position
        await reading.close()
        with pytest.raises(Unavailable, match="password authentication failed") as caught:
            await opened(source(theirs), position)
        assert "first" not in str(caught.value)

        # An administrator puts the new password where the agent reads it: no restart.
        passwords.write_text("localhost:*:*:agent:second\n")
        await base.execute("INSERT INTO office.person (id) VALUES ('1')")
        services = tmp_path / "services"
        services.write_text("[office]\n" + theirs.replace(" ", "\n") + "\n")
        monkeypatch.setenv("PGSERVICEFILE", str(services))
        again = Reading(source("service=office dbname=tls"))
        await again.open(position)
        try:
            await again.until(lambda: len(again.told) == 1)
        finally:
            await again.close()

    certificates(tmp_path)  # of another CA
    other = theirs.replace(str(guarded.folder / "ca.crt"), str(tmp_path / "ca.crt"))
    with pytest.raises(Unavailable, match="SSL error"):
        await opened(source(other), position)
    with pytest.raises(Unavailable, match="no encryption"):
        await opened(source(theirs.replace("verify-full", "disable")), position)
