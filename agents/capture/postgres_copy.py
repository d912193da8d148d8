"""The first copy of a table, in chunks by key beside the stream.

A chunk is read in one REPEATABLE READ transaction that also notes its snapshot and writes a message
into the log. When the stream brings that message by, every row of the chunk whose key a delivered
transaction touched that the snapshot did not see is dropped: the stream has told something newer.
The rest is told there. No table is locked, no transaction is long, and a kill costs one chunk.
"""

import asyncio
import contextlib
import uuid
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from agents.capture.pgoutput import Message
from agents.capture.postgres_setup import Connection, Table, speak_plainly

PREFIX = "levelsync"


class Progress(msgspec.Struct, frozen=True):
    """How far the copy is: every row up to the key ``last`` was told; ``run`` names this copy."""

    run: str
    done: bool = False
    last: str | None = None
    rows: int = 0


class _Snapshot(msgspec.Struct):
    """``pg_current_snapshot()``: which transactions a chunk saw."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "_Snapshot":
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """Was the transaction ``xid`` (its lower 32 bits) committed for the snapshot?"""
        full = (self.xmax & ~0xFFFFFFFF) | xid
        if full - self.xmax > 1 << 31:
            full -= 1 << 32
        elif self.xmax - full > 1 << 31:
            full += 1 << 32
        return full < self.xmin or (full < self.xmax and full not in self.running)


class _Chunk(msgspec.Struct):
    snapshot: _Snapshot
    time: int
    rows: list[dict[str, Any]]
    #: Are all held keys at or before the last of these?
    passed: bool


class Copier:
    """Copies one table; :meth:`begin` asks for the next chunk, :meth:`arrived` hands it out."""

    def __init__(
        self, dsn: str, table: Table, key_type: str, progress: Progress, size: int, tag: str
    ) -> None:
        self.progress = progress
        self._dsn = dsn
        self._table = table
        self._key_type = key_type
        self._size = size
        self._prefix = f"{tag}.copy.{progress.run}."
        self._session = uuid.uuid4().hex
        self._number = 0
        self._connection: Connection | None = None
        self._chunk: asyncio.Task[_Chunk] | None = None
        self._touched: dict[str, int] = {}
        self._furthest: str | None = None
        self.passed = True

    @property
    def done(self) -> bool:
        return self.progress.done

    def name(self, key: str) -> str:
        """The id of a copied row: the same each time it is told."""
        return self._prefix + key

    async def open(self, held: frozenset[str]) -> None:
        """``held`` are ids the topic has already; of these we know those we copied."""
        if self.done:
            return
        self._connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=5
        )
        await speak_plainly(self._connection)
        copied = [name.removeprefix(self._prefix) for name in held if name.startswith(self._prefix)]
        if copied:
            self.passed = False
            cursor = await self._connection.execute(
                sql.SQL("SELECT k::text FROM unnest(%s::{}[]) k ORDER BY k DESC LIMIT 1").format(
                    sql.SQL(self._key_type)
                ),
                (copied,),
            )
            row = await cursor.fetchone()
            assert row
            self._furthest = row[0]

    def begin(self) -> None:
        """Read the next chunk, unless one is on its way or there is none; raises what failed."""
        if self._chunk is not None and self._chunk.done():
            self._chunk.result()
        if self._chunk is None and not self.done and self._connection is not None:
            self._number += 1
            self._chunk = asyncio.create_task(
                self._read(self._connection), name=f"copy-{self._table.name}"
            )

    async def _read(self, connection: Connection) -> _Chunk:
        table, last = self._table, self.progress.last
        fields = list(table.columns)
        order = sql.SQL("ORDER BY {0} LIMIT %s")
        after = sql.SQL("WHERE {0} > %s ORDER BY {0} LIMIT %s")
        query = table.select(fields, order if last is None else after)
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor = await connection.execute(
                "SELECT pg_current_snapshot()::text,"
                " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
            )
            row = await cursor.fetchone()
            assert row
            values = [self._size] if last is None else [last, self._size]
            rows = table.rows(await connection.execute(query, values), fields)
            passed = True
            if self._furthest is not None and len(rows) == self._size:
                compare = sql.SQL("SELECT %s::{0} >= %s::{0}").format(sql.SQL(self._key_type))
                cursor = await connection.execute(
                    compare, (str(rows[-1][table.key]), self._furthest)
                )
                found = await cursor.fetchone()
                passed = bool(found and found[0])
            await connection.execute(
                "SELECT pg_logical_emit_message(true, %s::text, %s::text)",
                (PREFIX, f"{self._session}:{self._number}"),
            )
        return _Chunk(_Snapshot.parse(row[0]), int(row[1]), rows, passed)

    def touched(self, key: str, xid: int) -> None:
        """The stream told of ``key`` in transaction ``xid``."""
        if not self.done:
            self._touched[key] = xid

    async def arrived(self, message: Message) -> list[tuple[str, dict[str, Any], int]]:
        """Key, fields and time of each row to be told now; none when the message is not ours."""
        expected = f"{self._session}:{self._number}".encode()
        if self._chunk is None or message.prefix != PREFIX or message.content != expected:
            return []
        chunk = await self._chunk
        self._chunk = None
        # What this snapshot sees, every later one sees too.
        sees = chunk.snapshot.sees
        self._touched = {key: xid for key, xid in self._touched.items() if not sees(xid)}
        key = self._table.key
        told = [
            (str(row[key]), row, chunk.time)
            for row in chunk.rows
            if str(row[key]) not in self._touched
        ]
        done = len(chunk.rows) < self._size
        progress = self.progress
        self.progress = Progress(
            run=progress.run,
            done=done,
            last=str(chunk.rows[-1][key]) if chunk.rows else progress.last,
            rows=progress.rows + len(told),
        )
        self.passed = self.passed or chunk.passed or done
        if done:
            self._touched.clear()
            await self.close()
        return told

    async def close(self) -> None:
        """End the connection; a chunk on its way is read again by the next run."""
        if self._chunk is not None:
            self._chunk.cancel()
            await asyncio.gather(self._chunk, return_exceptions=True)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(psycopg.Error):
                await connection.close()
