"""The guide to contracts from its first line to its last, on a real PostgreSQL and a real Kafka."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from agents.demo.servers import KafkaServer, PostgresServer, free_ports
from tests.guide import ROOT, Reader

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


def test_the_guide_to_contracts_works_as_it_stands(
    tmp_path: Path, postgres: PostgresServer, unshared: KafkaServer
) -> None:
    dsn = asyncio.run(postgres.create("permits_of_the_guide"))
    agent, window = free_ports(2)
    instead = {
        "host=127.0.0.1 port=5432 user=postgres dbname=permits": dsn,
        "127.0.0.1:9092": unshared.bootstrap,
        "127.0.0.1:8600": f"127.0.0.1:{agent}",
        "127.0.0.1:8700": f"127.0.0.1:{window}",
    }
    try:
        with Reader(tmp_path, instead) as reader:
            reader.follow(TEXT)
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE database = current_database() AND NOT active"
            )
