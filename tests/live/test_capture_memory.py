"""What a capture keeps in memory does not grow with a transaction."""

from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, PostgresServer
from tests.bench.capture import Servers, Side
from tests.bench.levelsync import Levelsync

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROWS = 2_000_000
#: What the whole agent may have resident at most, in MiB.
MOST = 150


async def test_two_million_rows_in_one_transaction_pass_in_bounded_memory(
    kafka: KafkaServer, postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    """The transaction is larger than all the memory allowed, and every row of it arrives once."""
    side = Side(Servers(tmp_path, kafka, postgres), tmp_path, database, Levelsync)
    async with side:
        await side.start()
        await side.insert(range(1))
        await side.streaming(1)
        await side.insert(range(1, ROWS))
        await side.arrived(ROWS)
        assert side.rss_mb < MOST
        assert await side.equal()
