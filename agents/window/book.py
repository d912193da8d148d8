"""What is known at a node of corrections: those filed and received here, and what was answered.

The topics are followed into a store of their own; what this node itself has said is known from the moment
it was put into :class:`agents.base.outgoing.Outgoing`, and stays so until it comes back in a topic.
"""

import datetime
import sqlite3
import time
from collections.abc import Iterator

import msgspec

from agents.base.config import is_over
from agents.base.outgoing import Outgoing
from agents.window.store import Store
from contracts.subjects.correction import (
    ANSWER,
    CORRECTION,
    CorrectionAnswerV1,
    CorrectionV1,
)

#: Seconds for which a repeated request with the same Idempotency-Key is recognised.
REMEMBERED = 7 * 24 * 3600
#: States of a correction as a reader sees it; in the first two it is open.
SENT, RECEIVED = "sent", "received"
STATES = (SENT, RECEIVED, "accepted", "rejected")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS filed (
    id TEXT PRIMARY KEY, who TEXT, idempotency TEXT, digest TEXT, value BLOB, time INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS filed_idempotency ON filed (who, idempotency);
CREATE TABLE IF NOT EXISTS said (id TEXT PRIMARY KEY, value BLOB, time INTEGER) WITHOUT ROWID;
"""


class Known(msgspec.Struct, frozen=True):
    """One correction and the owner's word, None while there is none."""

    correction: CorrectionV1
    answer: CorrectionAnswerV1 | None

    @property
    def state(self) -> str:
        """One of :data:`STATES`."""
        return self.answer.state if self.answer else SENT

    @property
    def open(self) -> bool:
        """Is the owner's decision still to come?"""
        return self.state in (SENT, RECEIVED)

    def overdue(self, now: float) -> bool:
        """Has the day passed by which it was to be decided? ``now`` is seconds since 1970 UTC."""
        due = self.answer.due if self.answer else None
        return self.open and due is not None and is_over(due, now)


class Line(msgspec.Struct):
    """What is kept in memory of each correction."""

    id: str
    contract: str
    key: str
    filed_by: str
    #: Filed at this node?
    node: str
    state: str = SENT
    due: datetime.date | None = None

    @property
    def open(self) -> bool:
        """As :attr:`Known.open`."""
        return self.state in (SENT, RECEIVED)


class Book:
    """One node's. ``store`` follows the two contracts' topics and nothing else."""

    def __init__(self, store: Store, outgoing: Outgoing) -> None:
        self.store, self.outgoing = store, outgoing
        self._base: sqlite3.Connection = outgoing.beside(_SCHEMA)
        self._seq = -1
        self._lines: dict[str, Line] = {}
        #: Ids in the order of the index, newest last; made anew when one has come.
        self._order: list[str] = []
        self._open: set[str] = set()
        self._answers: dict[str, tuple[str, datetime.date | None]] = {}

    # ---- what there is -----------------------------------------------------------------------

    def lines(self) -> Iterator[Line]:
        """All there are, the newest first."""
        self._refresh()
        if len(self._order) != len(self._lines):
            self._order = sorted(self._lines)
        for name in reversed(self._order):
            yield self._lines[name]

    def line(self, name: str) -> Line | None:
        """That of one correction; None where there is no such one."""
        self._refresh()
        return self._lines.get(name)

    def find(self, name: str) -> Known | None:
        """One correction, whole."""
        correction = self._correction(name)
        return None if correction is None else Known(correction, self.answer(name))

    def _correction(self, name: str) -> CorrectionV1 | None:
        row = self._base.execute("SELECT value FROM filed WHERE id = ?", (name,)).fetchone()
        entry = None if row else self.store.get(CORRECTION.name, name)
        return _correction_of(row[0] if row else entry.value if entry else None)

    def answer(self, name: str) -> CorrectionAnswerV1 | None:
        """The newest word on one correction: what we said ourselves, or what came."""
        row = self._base.execute("SELECT value FROM said WHERE id = ?", (name,)).fetchone()
        entry = None if row else self.store.get(ANSWER.name, name)
        return _answer_of(row[0] if row else entry.value if entry else None)

    def _refresh(self) -> None:
        """Take in what came since the last look."""
        if self._seq < 0 or self.store.first > self._seq + 1:
            self._rebuild()
        while changes := self.store.changes_after(self._seq, 1_000):
            for change in changes:
                self._seq = change.seq
                if change.contract == CORRECTION.name:
                    if change.value is None:
                        self._lines.pop(change.key, None)
                        self._open.discard(change.key)
                    self._enter(_correction_of(change.value))
                elif change.contract == ANSWER.name:
                    self._answered(_answer_of(change.value))

    def _rebuild(self) -> None:
        self._seq = self.store.last
        self._lines.clear()
        self._open.clear()
        self._answers.clear()
        for page in self.store.entries(ANSWER.name, ()):
            for entry in page:
                self._answered(_answer_of(entry.value))
        for (raw,) in self._base.execute("SELECT value FROM said").fetchall():
            self._answered(_answer_of(raw))
        for page in self.store.entries(CORRECTION.name, ()):
            for entry in page:
                self._enter(_correction_of(entry.value))
        for (raw,) in self._base.execute("SELECT value FROM filed").fetchall():
            self._enter(_correction_of(raw))

    def _enter(self, correction: CorrectionV1 | None) -> None:
        if correction is None:
            return
        state, due = self._answers.get(correction.id, (SENT, None))
        self._lines[correction.id] = Line(
            correction.id, correction.contract, correction.key, correction.filed_by,
            correction.node, state, due,
        )  # fmt: skip
        self._sort(correction.id)

    def _answered(self, answer: CorrectionAnswerV1 | None) -> None:
        if answer is None:
            return
        # What was decided stays decided, in whatever order word of it comes.
        known = self._answers.get(answer.id)
        if known and known[0] not in (SENT, RECEIVED) and answer.state == RECEIVED:
            return
        self._answers[answer.id] = (answer.state, answer.due)
        if line := self._lines.get(answer.id):
            line.state, line.due = answer.state, answer.due
            self._sort(answer.id)

    def _sort(self, name: str) -> None:
        (self._open.add if self._lines[name].open else self._open.discard)(name)

    def open(self) -> list[Line]:
        """Those whose decision is still to come, the oldest first."""
        self._refresh()
        return [self._lines[name] for name in sorted(self._open)]

    # ---- what this node says -----------------------------------------------------------------

    def filed(self, who: str, idempotency: str) -> tuple[str, str] | None:
        """Id and digest of what ``who`` filed under this Idempotency-Key."""
        row = self._base.execute(
            "SELECT id, digest FROM filed WHERE who = ? AND idempotency = ?", (who, idempotency)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def file(self, correction: CorrectionV1, who: str, idempotency: str, digest: str) -> None:
        """Put a correction on its way. Raises OutgoingFull."""
        self._refresh()
        value, now = msgspec.json.encode(correction), int(time.time())
        row = (correction.id, who, idempotency, digest, value, now)
        # Old ones are known from the topic by now.
        old = [
            name
            for (name,) in self._base.execute(
                "SELECT id FROM filed WHERE time < ?", (now - REMEMBERED,)
            )
            if self.store.get(CORRECTION.name, name)
        ]

        def also(base: sqlite3.Connection) -> None:
            base.execute("INSERT INTO filed VALUES (?, ?, ?, ?, ?, ?)", row)
            base.executemany("DELETE FROM filed WHERE id = ?", [(name,) for name in old])

        self.outgoing.put(CORRECTION.name, [(correction.id, value)], also)
        self._enter(correction)

    def say(self, answer: CorrectionAnswerV1) -> None:
        """Put an answer on its way. Raises OutgoingFull."""
        self._refresh()
        value = msgspec.json.encode(answer)
        row = (answer.id, value, int(time.time()))

        def also(base: sqlite3.Connection) -> None:
            base.execute("INSERT OR REPLACE INTO said VALUES (?, ?, ?)", row)

        self.outgoing.put(ANSWER.name, [(answer.id, value)], also)
        self._answered(answer)


class _Correction(CorrectionV1, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A newer revision may have more in it."""


class _Answer(CorrectionAnswerV1, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """In the same way."""


def _correction_of(raw: bytes | None) -> CorrectionV1 | None:
    return None if raw is None else msgspec.json.decode(raw, type=_Correction)


def _answer_of(raw: bytes | None) -> CorrectionAnswerV1 | None:
    """An answer as it was given here: a grant may have masked some of it."""
    if raw is None:
        return None
    found = {name: value for name, value in msgspec.json.decode(raw).items() if value is not None}
    return msgspec.convert(found, _Answer)
