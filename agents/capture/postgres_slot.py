"""Does the server's history go on from where the copy ends? And what follows when it does not.

A replication slot remembers from where its reader still needs the log. If it is gone, was moved on, or
belongs to another server, what lies between cannot be told any more; and a server restored from a backup,
or a standby that was promoted before it had everything, has another history from some point on. All of
that stops the contract. An operator who then asks for a copy anew begins a new *era*.

Sequences are compared as text. Those of the first era are the commit's LSN and the change's number,
in hexadecimal, and so begin with a digit or one of ``A`` to ``F``. The log of a restored or of another
server may stand at a lower LSN than what the topic holds, so those of a later era have ``X`` and the
era's number before them: they sort above all sequences of the eras before, wherever the log stands.
"""

import asyncio
import datetime
import re
import time
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from agents.base.errors import SlotLost, Unavailable
from agents.capture.postgres_setup import Connection, Table

Failover = Literal["auto", "off"]

#: Seconds a slot may still be held by the connection before.
ACTIVE = 8.0
#: Bytes of a page's header, which a position may lie behind or before.
_HEADER = 40
#: From this server version on slots can be kept on standbys.
_FAILOVER = 170_000


class Server(NamedTuple):
    """Which history the server has: its cluster's name and timeline, the end of its log, and where each
    timeline before went over into the next."""

    system: str
    timeline: int
    end: int
    turns: dict[int, int]


class Known(NamedTuple):
    """Where the topic stands: the end of what was told, and of what it may hold beyond that."""

    system: str
    timeline: int
    lsn: int
    furthest: int


class Slot(msgspec.Struct):
    """A row of ``pg_replication_slots``, of whatever version: what a server does not say is None."""

    plugin: str | None = None
    database: str | None = None
    confirmed_flush_lsn: str | None = None
    restart_lsn: str | None = None
    wal_status: str | None = None
    safe_wal_size: int | None = None
    invalidation_reason: str | None = None
    inactive_since: str | None = None
    conflicting: bool | None = None
    active: bool = False
    active_pid: int | None = None
    failover: bool = False
    synced: bool = False

    @property
    def confirmed(self) -> int:
        return parse_lsn(self.confirmed_flush_lsn) if self.confirmed_flush_lsn else 0

    @property
    def lost(self) -> bool:
        """Has the server given up what it would need?"""
        return bool(
            self.wal_status == "lost"
            or self.invalidation_reason
            or self.conflicting
            or self.restart_lsn is None
        )


def parse_lsn(text: str) -> int:
    """``1/6B0`` → its number of bytes."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(lsn: int) -> str:
    """As PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def tag_of(system: str, era: int) -> str:
    """How ids of this system's changes begin in an era: LSNs may come again after a restoration."""
    return f"{int(system) & 0xFFFFFFFF:x}" + (f"-{era}" if era else "")


def sequences_of(era: int) -> str:
    """How sequences begin in an era; see the head of this module."""
    return f"X{era:04X}" if era else ""


_ID = re.compile(r"([0-9a-f]+)(?:-(\d+))?\.([0-9A-F]+)\.")


def furthest_of(held: Iterable[str], system: str, era: int) -> tuple[int, int]:
    """The last commit that ids of this system and era speak of, and the last era that any does."""
    tag, furthest, last = tag_of(system, era), 0, era
    for name in held:
        if found := _ID.match(name):
            last = max(last, int(found[2] or 0))
            if name.startswith(f"{tag}."):
                furthest = max(furthest, int(found[3], 16))
        elif found := re.match(r"[0-9a-f]+-(\d+)\.", name):
            last = max(last, int(found[1]))
    return furthest, last


async def identify(stream: Connection, timeline: int | None) -> Server:
    """Which history the server has; ``timeline`` is the one known of before, None where there is none.

    ``stream`` is a connection with ``replication=database``.
    """
    row = await (await stream.execute("IDENTIFY_SYSTEM")).fetchone()
    assert row
    system, now, end = str(row[0]), int(row[1]), parse_lsn(row[2])
    turns = {}
    if timeline is not None and now != timeline:
        row = await (await stream.execute(f"TIMELINE_HISTORY {now}".encode())).fetchone()
        assert row
        for line in row[1].splitlines():
            if found := re.match(r"\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", line):
                turns[int(found[1])] = parse_lsn(found[2])
    return Server(system, now, end, turns)


async def look_at_slot(side: Connection, name: str) -> Slot | None:
    """The slot called ``name``; None when there is none."""
    cursor = await side.execute(
        "SELECT to_jsonb(slot) FROM pg_replication_slots slot WHERE slot_name = %s",
        (name,),
    )
    row = await cursor.fetchone()
    return msgspec.convert(row[0], Slot) if row else None


def disagreement(
    slot: Slot | None,
    server: Server,
    known: Known | None,
    table: Table,
    *,
    plugin: str,
    database: str | None,
) -> SlotLost | None:
    """Why the history does not go on from where the topic stands; None when it does."""
    facts: dict[str, Any] = {"table": table.name_, "slot": table.name}
    if known:
        facts["copy_ends_at"] = format_lsn(known.lsn)
    if slot:
        facts["confirmed_flush_lsn"] = slot.confirmed_flush_lsn
        facts["wal_status"] = slot.wal_status
        if slot.inactive_since:
            facts["inactive_since"] = slot.inactive_since
    if known and known.system != server.system:
        return SlotLost(
            "The topic was filled from another database system",
            expected=known.system, found=server.system, **facts,
        )  # fmt: skip
    if known and (wrong := _turned(server, known)):
        return SlotLost(wrong, log_ends_at=format_lsn(server.end), **facts)
    if slot is None:
        return SlotLost("The replication slot is gone", **facts) if known else None
    if slot.database != database:
        return SlotLost(
            "The replication slot is of another database",
            expected=database, found=slot.database, do=_DROP.format(table.name), **facts,
        )  # fmt: skip
    if slot.plugin != plugin:
        return SlotLost(
            "The replication slot is of another plugin",
            expected=plugin, found=slot.plugin, **facts,
        )  # fmt: skip
    if slot.lost:
        why = slot.invalidation_reason or ("recovery conflict" if slot.conflicting else None)
        return SlotLost(
            "The server has given up the replication slot's log",
            **({"reason": why} if why else {}), **facts,
        )  # fmt: skip
    if known and slot.confirmed > known.lsn:
        return SlotLost("The replication slot was moved beyond the end of the copy", **facts)
    return None


_DROP = "SELECT pg_drop_replication_slot('{}') once nobody needs it"


def _turned(server: Server, known: Known) -> str | None:
    """Has the server another history than what was told of?"""
    ends = max(known.lsn, known.furthest)
    if server.timeline != known.timeline and known.timeline:
        turn = server.turns.get(known.timeline)
        if turn is None:
            return (
                f"The server is on timeline {server.timeline}, which does not come from timeline"
                f" {known.timeline} that was told of"
            )
        if ends > turn:
            return (
                f"The server left the history that was told of at {format_lsn(turn)}: it was"
                " restored from a backup, or promoted before it had everything"
            )
    if known.lsn > server.end + _HEADER:
        return "The server's log ends before the copy does: it was restored from a backup"
    return None


async def make_slot(side: Connection, name: str, plugin: str, failover: Failover) -> int:
    """Make the slot; the answer is the LSN from which it tells."""
    if failover == "auto" and side.info.server_version >= _FAILOVER:
        query = "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, %s, failover => true)"
    else:
        query = "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, %s)"
    row = await (await side.execute(query, (name, plugin))).fetchone()
    assert row
    return parse_lsn(row[0])


async def drop_slot(side: Connection, name: str) -> None:
    """Drop the slot if it is there. Raises Unavailable while another connection uses it."""
    await patiently(
        side, name, lambda: side.execute("SELECT pg_drop_replication_slot(%s)", (name,))
    )


async def patiently(side: Connection, name: str, use: Any) -> None:
    """Do what needs the slot: one whose connection was just closed is in use for a moment still.

    Raises Unavailable that says who has it.
    """
    deadline = time.monotonic() + ACTIVE
    while True:
        try:
            await use()
            return
        except psycopg.errors.ObjectInUse as error:
            if time.monotonic() > deadline:
                raise await _in_use(side, name) from error
            await asyncio.sleep(0.2)


async def _in_use(side: Connection, name: str) -> Unavailable:
    cursor = await side.execute(
        """
        SELECT pid, application_name, client_addr::text, backend_start FROM pg_stat_activity
        JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = %s
        """,
        (name,),
    )
    pid, application, address, since = await cursor.fetchone() or (None, None, None, None)
    return Unavailable(
        "Another connection uses the replication slot",
        slot=name,
        pid=pid,
        application=application,
        address=address,
        since=since and since.astimezone(datetime.UTC).isoformat(timespec="seconds"),
        do="if it is no agent of ours that still runs, end it: SELECT pg_terminate_backend(pid); a"
        " line that broke is noticed by the server after wal_sender_timeout",
    )


def start_replication(slot: str, lsn: int, options: sql.Composable) -> sql.Composed:
    """From our own position: a server that crashed forgot what we confirmed."""
    return sql.SQL("START_REPLICATION SLOT {} LOGICAL {} ({})").format(
        sql.Identifier(slot), sql.SQL(format_lsn(lsn)), options
    )
