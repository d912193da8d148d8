"""The publication: what of a table goes into the stream. Made by us, or by the owner before."""

from typing import Any

import psycopg
from psycopg import sql

from agents.base.errors import SourceMismatch
from agents.capture.postgres_setup import Connection, Table

#: From this server version on stored generated columns can be published.
GENERATED = 180_000


def statement(table: Table, version: int) -> sql.Composed:
    """The SQL that makes it, for a server of ``version``. Partitions are told of one by one: published
    as the table's own, one that is truncated alone would not be told of at all."""
    generated = ", publish_generated_columns = stored" if version >= GENERATED else ""
    return sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {}{})").format(
        sql.Identifier(table.name),
        table.identifier,
        sql.Literal(table.publish),
        sql.SQL(generated),
    )


async def faults(side: Connection, table: Table) -> list[str] | None:
    """What of the publication is not as it must be; None where there is none.

    One that leaves out rows, columns or kinds of changes would be a gap that nobody is told of.
    """
    row = await _one(
        side,
        "SELECT to_jsonb(p) FROM pg_publication p WHERE pubname = %s",
        table.name,
    )
    if row is None:
        return None
    found = []
    wanted = table.publish.split(", ")
    if lacking := [change for change in wanted if not row[0][f"pub{change}"]]:
        found.append(f"it does not publish {', '.join(lacking)}")
    cursor = await side.execute(
        "SELECT format('%%I.%%I', schemaname, tablename), to_jsonb(t) FROM pg_publication_tables t"
        " WHERE pubname = %s",
        (table.name,),
    )
    tables: dict[str, Any] = dict(await cursor.fetchall())
    own = await _one(
        side,
        "SELECT format('%%I.%%I', nspname, relname), relkind::text FROM pg_class"
        " JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = %s::regclass",
        table.identifier.as_string(),
    )
    assert own
    if own[1] == "p":
        if row[0].get("pubviaroot"):
            found.append(
                "it tells changes of partitions as the table's own, and nothing of one that is"
                " truncated alone: expected publish_via_partition_root = false"
            )
        elif others := sorted(set(tables) - set(await _partitions(side, table))):
            found.append(f"it is also for {', '.join(others)}, expected {own[0]}")
    elif set(tables) != {own[0]}:
        found.append(f"it is for {', '.join(sorted(tables)) or 'no table'}, expected {own[0]}")
    for told in tables.values():
        if told.get("rowfilter"):
            found.append(f"it leaves out rows: WHERE {told['rowfilter']}")
        names = told.get("attnames")
        missing = sorted(set(table.columns.values()) - set(names)) if names is not None else []
        if missing:
            found.append(f"it leaves out columns: {', '.join(missing)}")
    return found


async def _partitions(side: Connection, table: Table) -> list[str]:
    cursor = await side.execute(
        "SELECT format('%%I.%%I', nspname, relname) FROM pg_partition_tree(%s::regclass) part"
        " JOIN pg_class ON pg_class.oid = part.relid JOIN pg_namespace n ON n.oid = relnamespace",
        (table.identifier.as_string(),),
    )
    return [row[0] for row in await cursor.fetchall()]


async def see_publication(side: Connection, table: Table) -> None:
    """Make the publication if there is none. Raises SourceMismatch where it is not as it must be."""
    wrong = await faults(side, table)
    if wrong is None:
        await side.execute(statement(table, side.info.server_version))
    elif wrong:
        raise SourceMismatch(
            f"The publication {table.name} is not as it must be: {'; '.join(wrong)}",
            table=table.name_,
            do=f"DROP PUBLICATION {table.name}; the agent makes it anew, or you do: "
            + statement(table, side.info.server_version).as_string(side),
        )


async def _one(side: psycopg.AsyncConnection[Any], query: str, value: str) -> Any:
    return await (await side.execute(query.encode(), (value,))).fetchone()
