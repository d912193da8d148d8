"""The guide to contracts from its first line to its last, on a real PostgreSQL and a real Kafka."""

import argparse
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from agents.cli import _parser
from agents.demo.servers import KafkaServer, NotInstalled, PostgresServer, free_ports
from tests.guide import ROOT, Reader

pytestmark = pytest.mark.live

TEXT = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


def missing() -> list[str]:
    """Commands of the guide that this version does not have."""

    def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        return next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))

    there = below(below(_parser(contract=True))["contract"])
    return sorted(set(re.findall(r"levelsync contract ([a-z-]+)", TEXT)) - there.keys())


@pytest.fixture
def broker(servers: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(servers / "kafka-of-the-guide", free_ports(1)[0])
    try:
        asyncio.run(server.start())
    except NotInstalled as error:
        pytest.skip(str(error))
    yield server
    asyncio.run(server.stop())


@pytest.mark.skipif(bool(missing()), reason=f"no levelsync contract {', '.join(missing())} yet")
def test_the_guide_to_contracts_works_as_it_stands(
    tmp_path: Path, postgres: PostgresServer, broker: KafkaServer
) -> None:
    dsn = asyncio.run(postgres.create("permits_of_the_guide"))
    agent, window = free_ports(2)
    instead = {
        "host=127.0.0.1 port=5432 user=postgres dbname=permits": dsn,
        "127.0.0.1:9092": broker.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{agent}",
        "127.0.0.1:8700": f"127.0.0.1:{window}",
    }
    try:
        with Reader(tmp_path, instead) as reader:
            reader.follow(TEXT)
    except AssertionError as error:
        log = tmp_path / "agent.log"
        error.add_note(log.read_text(encoding="utf-8")[-3000:] if log.exists() else "no agent yet")
        raise
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE database = current_database() AND NOT active"
            )
