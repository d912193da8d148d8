"""Real servers for the live tests: one broker and one PostgreSQL for all of them, and others for those few
modules that break them: an idle broker still takes its share of a core."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from agents.demo.servers import KafkaServer, NotInstalled, PostgresServer, free_ports
from tests.live.brokers import Behind, Three
from tests.live.secure import SecureKafka

_Kind = TypeVar("_Kind", KafkaServer, PostgresServer, Three, SecureKafka)


def _started(server: _Kind) -> Iterator[_Kind]:
    try:
        asyncio.run(server.start())
    except NotInstalled as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("servers")
    # PostgreSQL runs as another user when we are root.
    for each in (folder, *folder.parents):
        each.chmod(0o755)
        if each.name.startswith("pytest-of-"):
            break
    return folder


@pytest.fixture(scope="module")
def apart(servers: Path, request: pytest.FixtureRequest) -> Path:
    """A folder for servers of one module alone."""
    folder: Path = servers / request.module.__name__.rpartition(".")[2]
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def kafka(servers: Path) -> Iterator[KafkaServer]:
    """A broker of its own for this run; topics are named after their test."""
    yield from _started(KafkaServer(servers / "kafka", free_ports(1)[0]))


@pytest.fixture
def unshared(servers: Path) -> Iterator[KafkaServer]:
    """A broker for one test alone, where nobody else has the contracts it publishes."""
    port = free_ports(1)[0]
    yield from _started(KafkaServer(servers / f"kafka-{port}", port))


@pytest.fixture(scope="module")
def province(apart: Path) -> Iterator[KafkaServer]:
    """A broker behind a line, for tests that break lines and brokers."""
    yield from _started(Behind(apart / "province", "province"))


@pytest.fixture(scope="module")
def county(apart: Path) -> Iterator[KafkaServer]:
    """The broker at the other end of that line."""
    yield from _started(Behind(apart / "county", "county"))


@pytest.fixture(scope="module")
def three(apart: Path) -> Iterator[Three]:
    """Three brokers that are one cluster."""
    yield from _started(Three(apart))


@pytest.fixture(scope="module")
def secure(apart: Path) -> Iterator[SecureKafka]:
    """A broker that checks who comes and what they may do."""
    yield from _started(SecureKafka(apart / "secure", "secure", ("37", "3701", "3702", "hall")))


@pytest.fixture(scope="session")
def postgres(servers: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL of its own for this run."""
    yield from _started(PostgresServer(servers / "postgres", free_ports(1)[0]))


@pytest.fixture(scope="module")
def relative(apart: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL with wal2json: Debian's own. As an old one it also stands for old versions."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/lib/wal2json.so"))
    if not found:
        pytest.skip("no wal2json here: apt-get install postgresql-15-wal2json")
    programs = found[-1].parent.parent / "bin"
    yield from _started(
        PostgresServer(apart / "relative", free_ports(1)[0], "relative", programs=programs)
    )


@pytest.fixture
async def elsewhere(relative: PostgresServer) -> AsyncIterator[str]:
    """Connection string of a database, made for this test, where wal2json is."""
    name = f"t{uuid.uuid4().hex[:8]}"
    yield await relative.create(name)
    await _forget_slots(relative, name)


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[str]:
    """Connection string of a database made for this test."""
    name = f"t{uuid.uuid4().hex[:8]}"
    yield await postgres.create(name)
    await _forget_slots(postgres, name)


async def _forget_slots(server: PostgresServer, database: str) -> None:
    """A server has room for so many, and each holds back its log."""
    with contextlib.suppress(psycopg.Error):
        async with await psycopg.AsyncConnection.connect(
            server.dsn(database), autocommit=True, connect_timeout=2
        ) as connection:
            await connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE database = current_database() AND NOT active"
            )
