"""What ``levelsync doctor`` looks at in a PostgreSQL server."""

from agents.base.findings import Finding
from agents.capture.postgres_setup import Table


async def examine_table(dsn: str, table: Table, budget: int) -> list[Finding]:
    return []
