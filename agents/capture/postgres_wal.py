"""What a slot costs the server: the log it holds back, and heartbeats that let it go.

PostgreSQL keeps its log for a slot until the slot's reader has confirmed it. A reader that stands still
fills the disk, or loses the slot to ``max_slot_wal_keep_size``: both must be seen coming.
"""

import re
import time
from typing import Literal, NamedTuple

import msgspec
import structlog

from agents.base.status import Hop
from agents.capture.postgres_setup import Connection

log = structlog.get_logger()

#: Seconds between looks at what the slot holds back.
LOOK = 5.0
#: Shares of the budget at which people are told.
WARNING, ALARM = 0.5, 0.9
#: The prefix of heartbeats in the log.
PREFIX = "levelsync.heartbeat"

_UNITS = {"": 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def parse_size(text: str) -> int:
    """``10GB`` → bytes, as PostgreSQL writes sizes. Raises ValueError."""
    found = re.fullmatch(r"(\d+)\s*([kMGT]?B)?", text.strip())
    if found is None:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2] or ""]


def told_size(size: float) -> str:
    """``9.4 GB``"""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


class Retained(NamedTuple):
    """What a slot holds back, in bytes; ``limit`` is the server's own, None where it has none, and
    ``safe`` what may still be written before the slot is given up."""

    slot: str
    bytes: int
    status: str | None
    safe: int | None
    limit: int | None
    end: int


async def retained(side: Connection, slot: str) -> Retained | None:
    """Look at the slot; None when there is none."""
    cursor = await side.execute(
        """
        SELECT coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint, to_jsonb(slot),
               pg_size_bytes(nullif(current_setting('max_slot_wal_keep_size', true), '-1')),
               (pg_current_wal_insert_lsn() - '0/0')::bigint
        FROM pg_replication_slots slot WHERE slot_name = %s
        """,
        (slot,),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    held, told, limit, end = row
    return Retained(
        slot, held, told.get("wal_status"), told.get("safe_wal_size"), limit or None, end
    )


def judge(found: Retained, budget: int) -> tuple[Literal["", "warning", "alarm"], str]:
    """How bad it is and what to say; ``budget`` is in bytes, 0 for none."""
    said = f"PostgreSQL holds back {told_size(found.bytes)} of its log for the slot {found.slot}"
    if found.status == "unreserved":
        return "alarm", (
            f"{said} and will give it up at the next checkpoint, since it is more than its"
            " max_slot_wal_keep_size: raise that now (ALTER SYSTEM, pg_reload_conf())"
        )
    if found.status == "lost":
        return "alarm", f"{said}: it has given it up"
    bounds = []
    if budget:
        bounds.append((budget, f"the wal_budget of {told_size(budget)}"))
    if found.limit:
        bounds.append(
            (found.limit, f"the server's max_slot_wal_keep_size of {told_size(found.limit)}")
        )
    if not bounds:
        return "", ""
    bound, name = min(bounds)
    share = found.bytes / bound
    if share < WARNING:
        return "", ""
    what = (
        f"{said}, {share:.0%} of {name}: what keeps the agent from reading on (Kafka, the agent"
        " itself)? Drop the slot if it is to be retired"
    )
    return ("alarm" if share >= ALARM else "warning"), what


class Upkeep(msgspec.Struct):
    """Looks after one slot while its source runs, and tells ``hop``.

    ``heartbeat`` is in seconds, 0 for none: when for so long nothing moved us on though the server has
    written something else, a message in the log does. On a server that is idle none is written, so
    that its log stays idle too.
    """

    hop: Hop | None
    slot: str
    budget: int
    heartbeat: float
    beats: int = 0
    _level: str = ""
    _looked: float = float("-inf")
    _position: int = 0
    _moved: float = 0.0
    _written: int = 0

    async def turn(self, side: Connection, position: int) -> None:
        """Look, if it is time; ``position`` is where the source is. Raises psycopg.Error."""
        now = time.monotonic()
        if position != self._position:
            self._position, self._moved = position, now
        if now - self._looked >= LOOK:
            self._looked = now
            await self.look(side)
        if self.heartbeat and now - self._moved >= self.heartbeat:
            self._moved = now
            await self._beat(side)

    async def _beat(self, side: Connection) -> None:
        cursor = await side.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        row = await cursor.fetchone()
        assert row
        if row[0] <= self._written:
            return
        cursor = await side.execute(
            "SELECT (pg_logical_emit_message(false, %s::text, '') - '0/0')::bigint", (PREFIX,)
        )
        row = await cursor.fetchone()
        assert row
        self._written = int(row[0])
        self.beats += 1

    async def look(self, side: Connection) -> None:
        """Tell how much the slot holds back, and say each change of how bad it is once."""
        found = await retained(side, self.slot)
        hop = self.hop
        if found is None or hop is None:
            return
        hop.gauges["wal_retained_bytes"] = float(found.bytes)
        for name, value in (("wal_safe_bytes", found.safe), ("wal_limit_bytes", found.limit)):
            if value is None:
                hop.gauges.pop(name, None)
            else:
                hop.gauges[name] = float(value)
        level, said = judge(found, self.budget)
        hop.warnings.pop("wal", None)
        hop.alarms.pop("wal", None)
        if level == "warning":
            hop.warnings["wal"] = said
        elif level == "alarm":
            hop.alarms["wal"] = said
        if level != self._level:
            bound = log.bind(contract=hop.contract, slot=self.slot)
            if level == "alarm":
                bound.error("log held back", error=said)
            elif level == "warning":
                bound.warning("log held back", error=said)
            else:
                bound.info("log is let go again", bytes=found.bytes)
            self._level = level
