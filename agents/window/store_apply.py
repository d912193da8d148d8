"""Events of one slice into a content: what is there is looked up at once, and written at once."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from agents.window.store_rows import Applied, Change, Judge
from agents.window.store_schema import COLUMNS, Content
from contracts.check import Rejected
from contracts.envelope import Event

#: Keys in one look-up.
_KEYS = 500
_MARKS = "?, ?, ?, ?, ?, ?, ?, ?, ?"
#: Of a row: see COLUMNS.
_ORIGIN, _SCOPE, _VALUE, _ID, _SEQUENCE, _SOURCE = 0, 1, 2, 3, 5, 6
Row = tuple[Any, ...]


class Entering:
    """One slice of ``topic`` being entered into ``content``, within the transaction of ``base``.

    ``again`` it is told from the top, ``refusing`` there may be refused changes to forget; with ``skip``
    changes are counted and get no row in the feed.
    """

    def __init__(
        self,
        base: sqlite3.Connection,
        content: Content,
        topic: str,
        judge: Judge | None,
        *,
        again: bool,
        refusing: bool,
        skip: bool,
    ) -> None:
        self._base, self._content, self._topic, self._judge = base, content, topic, judge
        self._again, self._refusing, self._skip = again, refusing, skip

    def enter(self, events: Sequence[Event], seq: int) -> tuple[Applied, int]:
        """Apply ``events`` in their order; what it did, and the ``seq`` of the newest change, which was
        ``seq``."""
        content = self._content
        all_new = self._skip and not self._again and all(each.value for each in events)
        if content.fresh and all_new:
            # While it is first filled nearly every key is new: nothing is looked up before one is not.
            self._base.execute("SAVEPOINT slice")
            try:
                return self._enter(events, seq, {}, {})
            except sqlite3.IntegrityError:
                content.fresh = False
                self._base.execute("ROLLBACK TO slice")
            finally:
                if self._base.in_transaction:
                    self._base.execute("RELEASE slice")
        return self._enter(events, seq, *self._standing(events))

    def _enter(
        self, events: Sequence[Event], seq: int, numbers: dict[str, int], now: dict[str, Row]
    ) -> tuple[Applied, int]:
        """``now`` are the rows there are of what ``events`` speak of, ``numbers`` their numbers."""
        topic, judge, again, skip = self._topic, self._judge, self._again, self._skip
        applied = Applied([])
        contract = self._content.contract
        before: dict[str, Row] = dict(now) if now else {}
        touched: dict[str, None] = {}
        told: dict[str, bool] = {}
        refused: dict[str, Row | None] = {}
        check = judge.check if judge else None
        for event in events:
            key, value = event.key, event.value
            row = now.get(key)
            if again:
                told[key] = value is not None
            if row is not None:
                ours = row[_ORIGIN] == topic
                # Sequences are one source's own: those of two owners cannot be compared.
                if ours and row[_SOURCE] == event.source and event.sequence <= row[_SEQUENCE]:
                    if not again:
                        applied.repeated += event.sequence == row[_SEQUENCE]
                        applied.out_of_order += event.sequence < row[_SEQUENCE]
                    continue
                if value is None and not ours:
                    continue  # another owner's by now
                if not ours and (row[_ID] == event.id or (again and _older(event, row))):
                    # The same event by another way, or the past of what is here.
                    now[key] = (topic, *row[1:])
                    touched[key] = None
                    continue
            elif value is None:
                continue
            if check and value is not None:
                try:
                    check(value)
                except Rejected as no:
                    assert judge
                    refused[key] = (contract, key, event.id, event.time, judge.name, no.path,
                                    no.rule, no.message)  # fmt: skip
                    applied.refused += 1
                    continue
            if self._refusing or refused:
                refused[key] = None
            seq += 1
            if skip:
                applied.skipped += 1
            else:
                applied.changes.append(
                    Change(seq, contract, key, event.scope, row[_SCOPE] if row else "", value,
                           event.id, event.time, event.sequence, event.source,
                           row[_VALUE] if row else None, event.type.endswith(".copied"))
                )  # fmt: skip
            touched[key] = None
            if value is None:
                del now[key]
            else:
                now[key] = (topic, event.scope, value, event.id, event.time, event.sequence,
                            event.source, event.dataschema, seq)  # fmt: skip
        self._write(touched, numbers, before, now)
        write_changes(self._base, applied.changes)
        self._write_told(told)
        self._write_refused(refused)
        return applied, seq

    def _standing(self, events: Iterable[Event]) -> tuple[dict[str, int], dict[str, Row]]:
        """The rows there are of what ``events`` speak of: their numbers and what they hold."""
        numbers: dict[str, int] = {}
        rows: dict[str, Row] = {}
        if self._content.empty:
            return numbers, rows
        keys = list({event.key for event in events})
        for at in range(0, len(keys), _KEYS):
            some = keys[at : at + _KEYS]
            found = self._base.execute(
                f"SELECT n, key, {COLUMNS} FROM {self._content.table}"
                f" WHERE key IN ({', '.join('?' * len(some))})",
                some,
            )
            for number, key, *row in found:
                numbers[key] = number
                rows[key] = tuple(row)
        return numbers, rows

    def _write(
        self,
        touched: Iterable[str],
        numbers: dict[str, int],
        before: dict[str, Row],
        now: dict[str, Row],
    ) -> None:
        made, changed, moved, gone = [], [], [], []
        grown: dict[str, int] = {}
        for key in touched:
            row, old = now.get(key), before.get(key)
            if row is not None and old is not None and row[_SCOPE] == old[_SCOPE]:
                changed.append((row[0], *row[2:], numbers[key]))
                continue
            if old is not None:
                grown[old[_SCOPE]] = grown.get(old[_SCOPE], 0) - 1
            if row is not None:
                grown[row[_SCOPE]] = grown.get(row[_SCOPE], 0) + 1
                if old is None:
                    made.append((key, *row))
                else:
                    moved.append((*row, numbers[key]))
            elif old is not None:
                gone.append((numbers[key],))
        base, table = self._base, self._content.table
        if made:
            base.executemany(f"INSERT INTO {table} (key, {COLUMNS}) VALUES (?, {_MARKS})", made)
        if changed:
            # An index is written anew for each of its columns that is named.
            some = COLUMNS.replace("scope, ", "")
            base.executemany(f"UPDATE {table} SET ({some}) = ({_MARKS[3:]}) WHERE n = ?", changed)
        if moved:
            base.executemany(f"UPDATE {table} SET ({COLUMNS}) = ({_MARKS}) WHERE n = ?", moved)
        if gone:
            base.executemany(f"DELETE FROM {table} WHERE n = ?", gone)
        for scope, more in grown.items():
            self._content.grown[scope] = self._content.grown.get(scope, 0) + more

    def _write_told(self, told: dict[str, bool]) -> None:
        contract = self._content.contract
        there = [(contract, key) for key, is_there in told.items() if is_there]
        gone = [(contract, key) for key, is_there in told.items() if not is_there]
        self._base.executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", there)
        self._base.executemany("DELETE FROM told WHERE contract = ? AND key = ?", gone)

    def _write_refused(self, refused: dict[str, Row | None]) -> None:
        contract = self._content.contract
        mended = [(contract, key) for key, row in refused.items() if row is None]
        kept = [row for row in refused.values() if row is not None]
        self._base.executemany("DELETE FROM refused WHERE contract = ? AND key = ?", mended)
        self._base.executemany(
            "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kept
        )


def _older(event: Event, row: Row) -> bool:
    """Was ``event`` before what is in ``row``? The moment of an alignment does not count."""
    there: str = row[_SEQUENCE]
    return (
        row[_SOURCE] == event.source and event.sequence.partition("~")[0] < there.partition("~")[0]
    )


def write_changes(base: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Enter ``changes`` into the feed, within the transaction there is."""
    base.executemany(
        f"INSERT INTO change ({CHANGE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (each.seq, each.contract, each.key, each.scope, each.was, each.value, each.id,
             each.time, each.sequence, each.source, each.old)
            for each in changes
        ],
    )  # fmt: skip


#: Columns in the order of :class:`Change`.
CHANGE = "seq, contract, key, scope, was, value, id, time, sequence, source, old"
