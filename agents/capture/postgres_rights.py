"""What ``levelsync doctor`` looks at in a PostgreSQL server: everything an agent needs of it. Read only.

The least a user of ours needs: LOGIN and REPLICATION (or a provider's role for it), CONNECT, USAGE on
the schema and SELECT on the columns the contract has. Only where the agent is to make the publication
itself it must own the table, too, and have CREATE on the database; one made beforehand spares both.
"""

from collections.abc import AsyncIterator
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from agents.base.errors import SourceMismatch
from agents.base.findings import Finding, ok, warning, wrong
from agents.capture import postgres_family
from agents.capture.postgres_key import key_of
from agents.capture.postgres_publication import faults, statement
from agents.capture.postgres_setup import Connection, Table, examine
from agents.capture.postgres_slot import look_at_slot
from agents.capture.postgres_wal import judge, retained, told_size

#: The oldest server that has all that is needed.
OLDEST = 120_000
#: Hours after which a prepared transaction is told of.
PREPARED = 1


async def examine_table(dsn: str, table: Table, budget: int, plugin: str) -> list[Finding]:
    """Everything around ``table``; ``budget`` is the WAL budget in bytes, 0 for none, and ``plugin`` the
    one that the source asks for."""
    try:
        side = await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5)
    except psycopg.Error as error:
        return [
            wrong(
                "PostgreSQL",
                f"no connection: {str(error).strip()}",
                "Is the server there, does pg_hba.conf let this user in, is the password right?"
                " `psql` with the same connection string says the same.",
            )
        ]
    async with side:
        # Nothing here may write, whatever it calls.
        await side.execute("SET default_transaction_read_only = on")
        found = [each async for each in _server(side)]
        found += await _replication(dsn, side)
        if any(each.judgement == "wrong" for each in found[:1]):
            return found
        there = [each async for each in _table(side, table)]
        found += there
        if plugin != "wal2json" and all(each.judgement != "wrong" for each in there):
            found += [each async for each in _publication(side, table)]
        found += [each async for each in _slot(side, table, budget)]
        return found


async def examine_deletion(dsn: str, table: Table) -> list[Finding]:
    """May we delete what was told of an outbox?"""
    name = table.identifier.as_string()
    try:
        async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5) as side:
            (may,) = await _one(side, "SELECT has_table_privilege(%s, 'DELETE')", name)
            user = sql.Identifier(side.info.user).as_string(side)
    except psycopg.Error:
        return []  # said by whoever looked before
    if may:
        return [ok("right: clean up", f"DELETE on {name}")]
    do = f"GRANT DELETE ON {name} TO {user}; or say cleanup = false, and delete told rows yourself."
    return [wrong("right: clean up", f"no DELETE on {name}", do)]


async def _server(side: Connection) -> AsyncIterator[Finding]:
    version = side.info.server_version
    name = f"{version // 10_000}.{version % 10_000}"
    if version < OLDEST:
        yield wrong("server version", name, "PostgreSQL 12 or newer is needed.")
        return
    yield ok("server version", name)
    level, standby, keep = await _one(
        side,
        "SELECT current_setting('wal_level'), pg_is_in_recovery(),"
        " current_setting('max_slot_wal_keep_size', true)",
    )
    if level == "logical":
        yield ok("wal_level", level)
    else:
        yield wrong(
            "wal_level", level, "ALTER SYSTEM SET wal_level = 'logical', and restart PostgreSQL."
        )
    if standby:
        yield wrong(
            "the server's part",
            "a standby, on which no publication and no copy can be made",
            "Name the primary in the dsn, with target_session_attrs=read-write where it may move.",
        )
    if keep in (None, "-1"):
        yield ok("max_slot_wal_keep_size", "no bound: the server keeps all a slot needs")
    else:
        yield warning(
            "max_slot_wal_keep_size",
            f"{keep}: the server gives up a slot that holds back more",
            "An agent that is away for longer must copy anew. Raise it if the disk allows.",
        )
    row = await _one(
        side,
        "SELECT count(*)::int, coalesce(max(extract(epoch FROM now() - prepared)), 0)::int,"
        " min(gid) FROM pg_prepared_xacts",
    )
    if row[1] > PREPARED * 3600:
        yield warning(
            "prepared transactions",
            f"{row[0]}, the oldest for {row[1] // 3600} h ({row[2]})",
            "Until it ends the log is kept from where it began: COMMIT PREPARED or ROLLBACK PREPARED.",
        )


async def _replication(dsn: str, side: Connection) -> list[Finding]:
    """May we open a replication connection, and is there room for it?"""
    user = sql.Identifier(side.info.user).as_string(side)
    found = []
    try:
        stream = await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=5, replication="database"
        )
        await stream.close()
        found.append(ok("right: replication", f"{side.info.user} may stream"))
    except psycopg.Error as error:
        found.append(
            wrong(
                "right: replication",
                str(error).strip(),
                f"ALTER ROLE {user} REPLICATION; where the provider does not let you: GRANT"
                f" rds_replication TO {user} on RDS, or its like. pg_hba.conf needs no line of its own:"
                " logical replication goes by the database's.",
            )
        )
    for setting, used in (
        ("max_replication_slots", "SELECT count(*)::int FROM pg_replication_slots"),
        ("max_wal_senders", "SELECT count(*)::int FROM pg_stat_replication"),
    ):
        (most,) = await _one(side, "SELECT current_setting(%s)::int", setting)
        (count,) = await _one(side, used)
        if count < most:
            found.append(ok(setting, f"{count} of {most} in use"))
        else:
            found.append(
                warning(
                    setting,
                    f"all {most} in use",
                    f"If this source is not among them: ALTER SYSTEM SET {setting} = {most + 10}, and"
                    " restart PostgreSQL.",
                )
            )
    return found


async def _table(side: Connection, table: Table) -> AsyncIterator[Finding]:
    user, name = sql.Identifier(side.info.user).as_string(side), table.identifier.as_string(side)
    row = await _one(
        side,
        """
        SELECT quote_ident(nspname), has_schema_privilege(space.oid, 'USAGE'), relation.oid::int8,
               coalesce(greatest(relation.reltuples, 0), 0)::int8
        FROM pg_class relation JOIN pg_namespace space ON space.oid = relnamespace
        WHERE '"' || replace(nspname, '"', '""') || '"."' || replace(relname, '"', '""') || '"' = %s
        """,
        name,
    )
    if row is None:
        yield wrong("table", f"{table.name_} is not there", "Is it the right database and schema?")
        return
    schema, usage, oid, rows = row
    if not usage:
        yield wrong(
            "right: schema",
            f"no USAGE on {schema}",
            f"GRANT USAGE ON SCHEMA {schema} TO {user};",
        )
        return
    yield ok("right: schema", f"USAGE on {schema}")
    columns = sorted(set(table.columns.values()))
    cursor = await side.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::int8::oid AND attname = ANY (%s)"
        " AND NOT has_column_privilege(attrelid, attnum, 'SELECT')",
        (oid, columns),
    )
    if barred := sorted(each for (each,) in await cursor.fetchall()):
        names = ", ".join(sql.Identifier(each).as_string(side) for each in barred)
        yield wrong(
            "right: columns",
            f"no SELECT on {', '.join(barred)}",
            f"GRANT SELECT ({names}) ON {name} TO {user};",
        )
    else:
        yield ok("right: columns", f"SELECT on the {len(columns)} that the contract has")
    try:
        await examine(side, table)
        postgres_family.examine(await postgres_family.look(side, table), table)
        key = await key_of(side, table)
    except SourceMismatch as error:
        facts = {key: value for key, value in error.facts.items() if key not in ("do", "table")}
        told = ", ".join(f"{key}={value}" for key, value in facts.items())
        yield wrong(
            "table",
            f"{error.message}{f' ({told})' if told else ''}",
            str(error.facts.get("do", "")),
        )
        return
    yield ok("table", f"{table.name_}, about {rows} rows, fits the contract")
    column = key.column.as_string(side)
    if not key.indexed:
        yield warning(
            "key's index",
            f"none brings the rows in the order of {column}: each chunk of a copy sorts them all",
            f"CREATE INDEX CONCURRENTLY ON {name} ({column});",
        )
    elif not key.unique:
        yield warning(
            "key's index",
            f"{column} is in no unique index of its own: two rows may have one key",
            "If they do, the one changed last is what is told. A unique index would hold it.",
        )
    else:
        yield ok("key's index", f"{column} is unique")


async def _publication(side: Connection, table: Table) -> AsyncIterator[Finding]:
    about = f"publication {table.name}"
    made = statement(table, side.info.server_version).as_string(side) + ";"
    found = await faults(side, table)
    if found:
        yield wrong(about, "; ".join(found), f"DROP PUBLICATION {table.name}; {made}")
    elif found is not None:
        yield ok(about, "as it must be")
    else:
        create, owner = await _one(
            side,
            "SELECT has_database_privilege(current_database(), 'CREATE'),"
            " pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s::regclass",
            table.identifier.as_string(side),
        )
        if create and owner:
            yield ok(about, "not there yet, the agent makes it")
        else:
            lacks = "" if create else "has no CREATE on the database"
            if not owner:
                lacks += f"{' and ' if lacks else ''}does not own the table"
            yield wrong(
                about,
                f"not there, and this user cannot make it: it {lacks}",
                f"Have the table's owner make it: {made}",
            )


async def _slot(side: Connection, table: Table, budget: int) -> AsyncIterator[Finding]:
    about = f"slot {table.name}"
    slot = await look_at_slot(side, table.name)
    if slot is None:
        yield ok(about, "not there; the agent makes it on the first start")
        return
    if slot.database != side.info.dbname or slot.lost:
        found = f"of the database {slot.database}, {slot.plugin}, wal_status {slot.wal_status}"
        if slot.invalidation_reason:
            found += f", given up: {slot.invalidation_reason}"
        yield wrong(
            about,
            found,
            "`levelsync backfill NODE.toml CONTRACT --anew` copies the table over a new one.",
        )
        return
    state = (
        "in use" if slot.active else f"not in use since {slot.inactive_since or 'its last reader'}"
    )
    yield ok(about, f"{slot.plugin}, confirmed up to {slot.confirmed_flush_lsn}, {state}")
    if side.info.server_version >= 170_000 and not slot.failover:
        yield warning(
            f"failover of {table.name}",
            "does not follow a failover to a standby",
            "Where there are standbys: stop the agent, and ALTER_REPLICATION_SLOT over a replication"
            " connection (FAILOVER true).",
        )
    kept = await retained(side, table.name)
    if kept is None:
        return
    level, said = judge(kept, budget)
    bound = f" of a wal_budget of {told_size(budget)}" if budget else ""
    if level == "alarm":
        yield wrong("log held back", said, "See what keeps the agent from reading on.")
    elif level == "warning":
        yield warning("log held back", said, "See what keeps the agent from reading on.")
    else:
        yield ok("log held back", f"{told_size(kept.bytes)}{bound}")


async def _one(side: Connection, query: LiteralString, *values: Any) -> Any:
    return await (await side.execute(query, values or None)).fetchone()
