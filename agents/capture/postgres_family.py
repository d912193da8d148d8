"""A table and what hangs below it: its partitions, whose changes the log tells one by one.

Rows that come or go with a partition (ATTACH, DETACH, DROP) are never in the log. So what partitions
a table has is looked at again and again, and kept with the position.
"""

from collections.abc import Collection

import msgspec

from agents.base.errors import SourceMismatch
from agents.capture.postgres_layout import uncovered
from agents.capture.postgres_setup import Connection, Table

_LOOK = """
WITH RECURSIVE family AS (
    SELECT relation.oid, 0::oid AS parent FROM pg_class relation
    JOIN pg_namespace space ON space.oid = relnamespace
    WHERE nspname = %s AND relname = %s
    UNION ALL
    SELECT inhrelid, inhparent FROM pg_inherits JOIN family ON inhparent = family.oid
)
SELECT relation.oid::int8, parent::int8, relkind::text, nspname, relname,
       relreplident = 'f' OR EXISTS (
           SELECT FROM pg_index ix JOIN pg_attribute ON attrelid = relation.oid AND attname = %s
           WHERE indrelid = relation.oid AND attnum = ANY (indkey) AND CASE relreplident
               WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident END
       ),
       -- Made as a partition, or a table before that?
       coalesce((
           SELECT kind.xmin <> below.xmin FROM pg_inherits below
           WHERE below.inhrelid = relation.oid AND below.inhparent = parent
       ), false)
FROM family JOIN pg_class relation USING (oid)
JOIN pg_namespace space ON space.oid = relnamespace
LEFT JOIN pg_type kind ON kind.oid = reltype
ORDER BY parent, relation.oid
"""


class Member(msgspec.Struct, frozen=True):
    """The table itself, or a partition of it. ``covered``: does its replica identity have the key?
    ``joined``: was it a table of its own before it became a partition?"""

    oid: int
    parent: int
    kind: str
    schema: str
    table: str
    covered: bool
    joined: bool

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


class Family(msgspec.Struct, frozen=True):
    """``members`` by OID, the table itself first."""

    members: dict[int, Member]

    @property
    def root(self) -> Member:
        return next(iter(self.members.values()))

    @property
    def parts(self) -> dict[int, Member]:
        """The partitions that hold rows; none for a plain table."""
        return {oid: one for oid, one in self.members.items() if one.parent and one.kind != "p"}


async def look(side: Connection, table: Table) -> Family:
    """The table as the catalogue has it now. Raises psycopg.Error."""
    key = table.columns[table.key]
    cursor = await side.execute(_LOOK, (*table.parts, key))
    rows = [Member(*row) for row in await cursor.fetchall()]
    return Family({one.oid: one for one in rows})


def examine(family: Family, table: Table) -> None:
    """Raises SourceMismatch when changes of some rows of the table would not be told."""
    if not family.members:
        raise SourceMismatch("Expected the table, found none of that name", table=table.name_)
    if family.root.kind != "p" and len(family.members) > 1:
        children = [one.name for one in family.members.values() if one.parent]
        raise SourceMismatch(
            "Expected a table, or one in partitions; this one has children by inheritance, whose rows"
            " it shows but whose changes are not its own",
            table=table.name_,
            children=children,
            do="make it a partitioned table, or take one whose rows are all its own",
        )
    for one in family.parts.values() or [family.root]:
        if not one.covered:
            raise uncovered(table, one.name)


def lost(family: Family, known: Collection[int], table: Table) -> SourceMismatch | None:
    """Why the table is not what it was: partitions ``known`` are no longer there."""
    gone = sorted(set(known) - family.parts.keys())
    if not gone:
        return None
    return SourceMismatch(
        "Partitions were detached or dropped, and the log does not say which rows went with them",
        table=table.name_,
        partitions=gone,
        there=sorted(one.name for one in family.parts.values()),
        do="levelsync backfill NODE.toml CONTRACT --anew, which copies what is there and deletes"
        " what is not",
    )
