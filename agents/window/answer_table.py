"""Corrections in a table of the owner's own application, which answers by filling in its columns."""

import asyncio
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from agents.window.owner import NotAnswered, Owner

#: What the table is; ``{}`` is its name. The application fills ``answer``, ``note`` and ``answered_by``;
#: the agent sets ``told_at`` once the answer is on its way.
DDL = """\
CREATE TABLE {} (
    id text PRIMARY KEY,
    contract text NOT NULL,
    key text NOT NULL,
    field text NOT NULL,
    seen jsonb,
    proposed jsonb,
    evidence text NOT NULL,
    filed_by text NOT NULL,
    filed_at timestamptz NOT NULL,
    node text NOT NULL,
    due date NOT NULL,
    answer text CHECK (answer IN ('accepted', 'rejected')),
    note text NOT NULL DEFAULT '',
    answered_by text NOT NULL DEFAULT '',
    told_at timestamptz,
    CHECK (answer <> 'rejected' OR note <> '')
);"""

#: Seconds between looks for answers, and after an error.
LOOK, AGAIN = 0.5, 5.0
_COLUMNS = (
    "id", "contract", "key", "field", "seen", "proposed", "evidence", "filed_by", "filed_at",
    "node", "due",
)  # fmt: skip


class AnswerTable:
    """An :class:`agents.window.owner.Way`."""

    async def run(self, owner: Owner) -> None:
        """See :class:`agents.window.owner.Way`."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    owner.table.dsn, autocommit=True, connect_timeout=5
                ) as base:
                    session = _Session(owner, base)
                    while True:
                        owner.hop.warnings.pop("table", None)
                        await session.turn()
                        await asyncio.sleep(LOOK)
            except psycopg.Error as error:
                owner.hop.warnings["table"] = f"[corrections] table: {error}".strip()
                if isinstance(error, psycopg.errors.UndefinedTable):
                    owner.hop.warnings["table"] += " Make it:\n" + DDL.format(owner.table.table)
            await asyncio.sleep(AGAIN)


class _Session:
    """One connection's work."""

    def __init__(self, owner: Owner, base: "psycopg.AsyncConnection[Any]") -> None:
        self._owner, self._base = owner, base
        self._name = sql.Identifier(*owner.table.table.split("."))
        #: Which were entered, and whether the answer in the table is on its way.
        self._tabled = owner.book.outgoing.beside(
            "CREATE TABLE IF NOT EXISTS tabled (id TEXT PRIMARY KEY, told INTEGER) WITHOUT ROWID;"
        )

    async def turn(self) -> None:
        """Enter what came, take in what was answered, and tell what was answered elsewhere."""
        await self._enter()
        await self._take()
        await self._tell()

    async def _enter(self) -> None:
        for line in self._owner.waiting():
            known = self._tabled.execute("SELECT 1 FROM tabled WHERE id = ?", (line.id,)).fetchone()
            if known or line.due is None:
                continue
            row = self._owner.described(line.id)
            values = [
                msgspec.json.encode(row[name]).decode()
                if name in ("seen", "proposed")
                else row[name]
                for name in _COLUMNS
            ]
            marks = sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS))
            names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
            await self._base.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING").format(
                    self._name, names, marks
                ),
                values,
            )
            self._tabled.execute("INSERT OR IGNORE INTO tabled VALUES (?, 0)", (line.id,))

    async def _take(self) -> None:
        cursor = await self._base.execute(
            sql.SQL(
                "SELECT id, answer, note, answered_by FROM {}"
                " WHERE answer IS NOT NULL AND told_at IS NULL ORDER BY id"
            ).format(self._name)
        )
        while rows := await cursor.fetchmany(100):
            for name, answer, note, by in rows:
                line = self._owner.book.line(name)
                # One that was answered already is only told so: it is taken once.
                if line is None or line.open:
                    try:
                        self._owner.answer(name, answer, note or "", by or self._owner.table.table)
                    except NotAnswered as no:
                        self._owner.hop.warnings["table"] = f"[corrections] table, {name}: {no}"
                        continue
                await self._mark(name)

    async def _tell(self) -> None:
        for (name,) in self._tabled.execute("SELECT id FROM tabled WHERE told = 0").fetchall():
            known = self._owner.book.find(name)
            if known is None or known.open or known.answer is None:
                continue
            said = known.answer
            await self._base.execute(
                sql.SQL(
                    "UPDATE {} SET answer = %s, note = %s, answered_by = %s"
                    " WHERE id = %s AND told_at IS NULL"
                ).format(self._name),
                (said.state, said.note, said.answered_by, name),
            )
            await self._mark(name)

    async def _mark(self, name: str) -> None:
        await self._base.execute(
            sql.SQL("UPDATE {} SET told_at = now() WHERE id = %s AND told_at IS NULL").format(
                self._name
            ),
            (name,),
        )
        self._tabled.execute("INSERT OR REPLACE INTO tabled VALUES (?, 1)", (name,))
