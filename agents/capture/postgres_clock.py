"""Up to when everything was told: the server's clock beside its log."""

from typing import Any

import psycopg

_WAL_PAGE = 8192
_PAGE_HEADERS = (24, 40)


class Clock:
    """Learns a WAL position and the time at which everything committed was before it; once the stream has
    passed the one, everything up to the other has been told."""

    def __init__(self) -> None:
        #: Microseconds since 1970 UTC at the server, 0 while not known.
        self.complete = 0
        #: Has ``complete`` moved since somebody last asked?
        self.news = False
        #: (LSN to pass, clock time it proves), while we wait for the stream to pass it.
        self._sample: tuple[int, int] | None = None

    async def look(self, side: psycopg.AsyncConnection[Any]) -> None:
        """Ask the server, unless we wait for the stream. Raises psycopg.Error."""
        if self._sample is not None:
            return
        cursor = await side.execute(
            b"SELECT pg_current_wal_insert_lsn() - '0/0', pg_current_wal_flush_lsn() - '0/0',"
            b" (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        )
        row = await cursor.fetchone()
        assert row
        insert, flush, now = (int(value) for value in row)
        if flush % _WAL_PAGE == 0 and insert - flush in _PAGE_HEADERS:
            insert = flush  # nothing but a page's header lies between
        self._sample = (insert, now)

    def passed(self, lsn: int) -> None:
        """Everything up to ``lsn`` was told, and no transaction is under way."""
        if self._sample and lsn >= self._sample[0]:
            self.complete = self._sample[1]
            self._sample, self.news = None, True
