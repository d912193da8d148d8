"""What operators ask of a PostgreSQL source: rows copied again, all or some, over a new slot too."""

import time
from typing import Any, Literal

import msgspec
import psycopg
import structlog
from psycopg import sql

from agents.base.requests import Request
from agents.capture.postgres_copy import Progress
from agents.capture.postgres_setup import Connection, Table
from agents.capture.source import Place

log = structlog.get_logger()

#: Seconds between looks at what is asked.
ASKED = 1.0


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The arguments of a request ``backfill``: an SQL condition on the table's columns, empty for every
    row; and whether everything the copy does not find is to be deleted, over a new slot where the one
    before cannot go on."""

    where: str = ""
    anew: bool = False


class Backfills:
    """The requests ``backfill`` of one contract; without a ``place`` nobody asks.

    A request is taken up when the copy before it is done, and answered as done once the watermark that
    says so stands in Kafka.
    """

    def __init__(self, place: Place | None, table: Table) -> None:
        self._place = place
        self._table = table
        self._asked = float("-inf")
        #: About how many rows the copy under way will have.
        self._expected = 0.0

    def anew(self, progress: Progress | None) -> Request | None:
        """The request for a copy anew that is not under way by ``progress``, which is where the topic
        stands."""
        under_way = progress.request if progress else ""
        for request in self._pending():
            if request.id != under_way and _wanted(request).anew:
                return request
        return None

    async def next(self, side: Connection, done: Progress, sequence: str) -> Progress | None:
        """The copy to be made after ``done``, if one is asked for; ``sequence`` is below every one to
        come.

        Answers those that cannot be made. Raises psycopg.Error.
        """
        for request in self._pending():
            if request.id == done.request:
                return None  # until it stands in Kafka
            wanted = _wanted(request)
            if wanted.where and (why := await self._unfit(side, wanted.where)):
                self._answer(request, "failed", error=why)
                continue
            log.info("backfill begins", **self._facts(), whole=not wanted.where)
            return Progress(
                run=request.id,
                where=wanted.where,
                request=request.id,
                before=sequence if wanted.anew else "",
                behind=False,
            )
        return None

    async def turn(self, side: Connection, progress: Progress) -> None:
        """Tell, once a second, how far the copy under way is, and those who wait that they do."""
        if self._place is None:
            return
        if not self._expected:
            self._expected = max(1.0, await _estimate(side, self._table, progress.where))
        share = 1.0 if progress.told else min(0.99, progress.rows / self._expected)
        gauges = self._place.hop.gauges
        gauges["copy_rows"], gauges["copy_share"] = float(progress.rows), round(share, 4)
        for request in self._pending():
            if request.id == progress.request:
                facts = {"rows": progress.rows, "expected": int(self._expected), "share": share}
                self._answer(request, "running", **facts)
            else:
                self._answer(request, "running", waits="for the copy that is under way")

    def due(self) -> bool:
        """Is it time to look again?"""
        now = time.monotonic()
        if self._place is None or now - self._asked < ASKED:
            return False
        self._asked = now
        return True

    def stands(self, progress: Progress) -> None:
        """Kafka has a watermark that says ``progress``."""
        if self._place is None or not progress.done:
            return
        gauges = self._place.hop.gauges
        if "copy_share" in gauges and gauges["copy_share"] < 1.0:
            gauges["copy_rows"], gauges["copy_share"] = float(progress.rows), 1.0
        for request in self._pending() if progress.request else ():
            if request.id == progress.request:
                log.info("backfill is done", **self._facts(), count=progress.rows)
                self._answer(request, "done", rows=progress.rows)
        self._expected = 0.0

    def failed(self, progress: Progress, why: str) -> None:
        """A row cannot be judged by the condition: the copy is given up."""
        for request in self._pending():
            if request.id == progress.request:
                # Condition and reason may speak of a person: whoever asked is told them.
                log.warning("backfill failed", **self._facts(), count=progress.rows)
                self._answer(request, "failed", error=why, rows=progress.rows)
        if self._place:
            for name in ("copy_rows", "copy_share"):
                self._place.hop.gauges.pop(name, None)
        self._expected = 0.0

    def _pending(self) -> list[Request]:
        if self._place is None:
            return []
        return self._place.requests.pending(self._place.contract.name, "backfill")

    def _answer(
        self, request: Request, state: Literal["running", "done", "failed"], **facts: Any
    ) -> None:
        assert self._place
        self._place.requests.answer(request, state, **facts)

    def _facts(self) -> dict[str, str]:
        assert self._place
        return {"contract": self._place.contract.name, "table": self._table.name_}

    async def _unfit(self, side: Connection, where: str) -> str | None:
        try:
            await _estimate(side, self._table, where)
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as error:
            said = error.diag.message_primary or str(error)
            hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
            return (
                "Expected an SQL condition over the columns of"
                f" {self._table.name_}, got `{where}`: {said}{hint}"
            )
        return None


def _wanted(request: Request) -> Wanted:
    return msgspec.convert(request.arguments, Wanted)


async def _estimate(side: Connection, table: Table, where: str) -> float:
    """About how many rows fit ``where``. Raises psycopg.Error when it is no condition on the table."""
    query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM {} ").format(table.identifier)
    if where:
        # Prepared, so that the server takes one statement alone.
        query += sql.SQL(f"WHERE (\n{where}\n)")
    row = await (await side.execute(query, prepare=True)).fetchone()
    assert row
    return float(row[0][0]["Plan"]["Plan Rows"])
