"""The connection over which a PostgreSQL server streams its log: messages out, feedback in."""

import asyncio
import contextlib
import struct
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from agents.capture import pgoutput
from agents.capture.postgres_setup import Connection, speak_plainly
from agents.capture.postgres_slot import patiently, start_replication

#: Seconds between messages to the server; it drops a client that is silent for a minute.
FEEDBACK = 5.0
#: Bytes before a plugin's message: kind, start, end, time.
HEAD = 25

_STATUS = struct.Struct(">cqqqqb")


class Stream:
    """The log as the slot ``slot`` tells it. Not for use after an error."""

    def __init__(self, dsn: str, slot: str) -> None:
        self._dsn = dsn
        self._slot = slot
        self._connection: Connection | None = None
        self._socket = -1
        self._flushed = 0

    async def connect(self) -> None:
        """Raises psycopg.Error."""
        self._connection = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=5,
            replication="database",
        )
        await speak_plainly(self._connection)
        self._pgconn = self._connection.pgconn
        # Asking for it after a loss raises.
        self._socket = self._pgconn.socket

    @property
    def connection(self) -> Connection:
        """For the commands of replication, before :meth:`start`."""
        assert self._connection
        return self._connection

    async def start(
        self,
        side: Connection,
        lsn: int,
        flushed: int,
        options: Mapping[str, str],
        wished: Mapping[str, str],
    ) -> None:
        """START_REPLICATION from our own position: a server that crashed forgot what we confirmed.

        ``options`` go to the plugin, and ``wished`` too unless it knows them not. Raises psycopg.Error,
        Unavailable while another connection uses the slot.
        """
        self._flushed = flushed
        stream = self.connection

        def start(given: Mapping[str, str]) -> Any:
            query = start_replication(self._slot, lsn, _options(given))
            return patiently(side, self._slot, lambda: stream.execute(query))

        try:
            await start({**options, **wished})
        except psycopg.errors.InvalidParameterValue:
            if not wished:
                raise
            await start(options)

    def fill(self) -> None:
        """Take what the socket has; libpq may hold rows for which it will not wake us."""
        self._pgconn.consume_input()

    def take(self) -> memoryview | None:
        """The next message in hand with its head, None when there is none. Raises psycopg.Error when
        the server ended the stream."""
        size, data = self._pgconn.get_copy_data(1)
        if size == 0:
            # libpq takes some 16 KB at a time from the socket, however much lies there.
            self._pgconn.consume_input()
            size, data = self._pgconn.get_copy_data(1)
        if size > 0:
            return data
        if size < 0:
            said = self._pgconn.get_result()
            if said and said.error_message:
                raise psycopg.errors.error_from_result(said)
            raise psycopg.OperationalError("the server closed the stream")
        return None

    async def wait(self, seconds: float) -> None:
        """Until there is something to :meth:`fill` from, at most so long."""
        # Watched only while we wait: under back-pressure a readable socket would keep the loop busy.
        loop = asyncio.get_running_loop()
        readable = loop.create_future()

        def wake() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(self._socket, wake)
        timer = loop.call_later(seconds, wake)
        try:
            await readable
        finally:
            timer.cancel()
            loop.remove_reader(self._socket)

    def confirm(self, lsn: int) -> None:
        """The server may forget what is before ``lsn``."""
        self._flushed = max(self._flushed, lsn)
        with contextlib.suppress(psycopg.Error):  # the next read says so
            self.say()

    def say(self, *, reply: bool = False) -> None:
        """Standby status update. Written = flushed, so that the server keeps telling where it is."""
        if self._connection is None or self._connection.closed:
            return
        lsn, now = self._flushed, int(time.time() * 1e6) - pgoutput.EPOCH
        self._pgconn.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, now, reply))
        self._pgconn.flush()

    async def keep_alive(self) -> None:
        """Also while nobody reads: a silent client is dropped unseen."""
        with contextlib.suppress(psycopg.Error):
            while True:
                await asyncio.sleep(FEEDBACK)
                self.say()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


def _options(given: Mapping[str, str]) -> sql.Composed:
    """This grammar knows a backslash as itself alone, so values are no literals of SQL's."""
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL("'" + value.replace("'", "''") + "'"))
        for name, value in given.items()
    )
