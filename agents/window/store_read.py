"""What is read from the window's store: look-ups, pages, the feed. See :mod:`agents.window.store`."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.window.store_apply import CHANGE
from agents.window.store_pages import ENTRY, Match, page_of
from agents.window.store_rows import Change, Entry, Refusal
from agents.window.store_schema import NARROW, Content, failed


class Readable:
    """The reading half of a store: whole transactions alone are seen.

    Raises StoreDamaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reads = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._reads.execute("PRAGMA query_only = 1")
        self._reads.execute(f"PRAGMA cache_size = -{NARROW}")
        self._contents: dict[str, Content] = {}
        #: What is filled beside what is shown.
        self._building: dict[str, Content] = {}
        #: Contracts that may have refused changes.
        self._refusing: set[str] = set()
        #: ``seq`` of the newest change, 0 when there was none.
        self.last = 0
        #: Changes before this one are not in the feed.
        self._floor = 1

    def get(self, contract: str, key: str) -> Entry | None:
        """The record of ``key`` as it is now."""
        content = self._contents.get(contract)
        if content is None:
            return None
        row = self._read(f"SELECT {ENTRY} FROM {content.table} WHERE key = ?", key).fetchone()
        return Entry(contract, *row) if row else None

    def refusal(self, contract: str, key: str) -> Refusal | None:
        """Why the newest change of ``key`` is not shown; None when it is."""
        if contract not in self._refusing:
            return None
        row = self._read(
            "SELECT id, time, path, rule, message FROM refused WHERE contract = ? AND key = ?",
            contract, key,
        ).fetchone()  # fmt: skip
        return Refusal(*row) if row else None

    def refused_by_others(self, contract: str, judge: str) -> bool:
        """Were changes refused by another contract, revision or grant than ``judge``'s?"""
        row = self._read(
            "SELECT 1 FROM refused WHERE contract = ? AND judge <> ? LIMIT 1", contract, judge
        ).fetchone()
        return row is not None

    def page(
        self,
        contract: str,
        scopes: Sequence[str] | None,
        after: str,
        limit: int,
        match: Match | None = None,
    ) -> list[Entry]:
        """Up to ``limit`` records of the divisions ``scopes`` (of every one when empty or the nation's
        ``0`` is among them, of none when None) with keys after ``after``, in the order of keys.

        ``match`` is a field and the text of its value. Raises KeyError when records cannot be searched by
        that field.
        """
        content = self._contents.get(contract)
        if scopes is None or content is None:
            return []
        try:
            return page_of(self._reads, content, scopes, after, limit, match)
        except sqlite3.Error as error:
            raise failed(error, self.path) or error from None

    def entries(
        self, contract: str, scopes: Sequence[str], size: int = 500
    ) -> Iterator[list[Entry]]:
        """All records page by page, each page as it is when it is asked for."""
        after = ""
        while page := self.page(contract, scopes, after, size):
            yield page
            after = page[-1].key

    def history(self, contract: str, key: str, limit: int) -> list[Change]:
        """Up to ``limit`` changes of ``key``, newest first, as far as the feed reaches back."""
        rows = self._read(
            f"SELECT {CHANGE} FROM change WHERE contract = ? AND key = ? AND seq >= ?"
            " ORDER BY seq DESC LIMIT ?",
            contract, key, self.first, limit,
        )  # fmt: skip
        return [Change(*row) for row in rows]

    @property
    def since(self) -> int | None:
        """When the oldest change in the feed was made, microseconds since 1970 UTC; None without any."""
        row = self._read(
            "SELECT time FROM change WHERE seq >= ? ORDER BY seq LIMIT 1", self.first
        ).fetchone()
        return int(row[0]) if row else None

    def changes_after(self, seq: int, limit: int) -> list[Change]:
        """Up to ``limit`` changes after ``seq``, of all contracts, in the order applied; none when the
        feed does not reach back to it."""
        if seq + 1 < self.first:
            return []
        rows = self._read(
            f"SELECT {CHANGE} FROM change WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit
        )
        return [Change(*row) for row in rows]

    def saved(self) -> int:
        """``seq`` of the newest change that a page read now has in it. While a transaction is saved it
        may be ahead of ``last``."""
        row = self._read("SELECT value FROM meta WHERE name = 'last'").fetchone()
        return int(row[0])

    def total(self, contract: str) -> int:
        """How many records there are."""
        content = self._contents.get(contract)
        return content.total if content else 0

    def building(self, contract: str) -> int | None:
        """How many records were read anew so far; None when everything is as it is shown."""
        content = self._building.get(contract)
        return content.total if content else None

    @property
    def first(self) -> int:
        """``seq`` of the oldest change the feed still has; one past the newest when it is empty."""
        return max(self._floor, self.last - self._size + 1)

    @property
    def bytes(self) -> int:
        """What the store takes on the disk."""
        size = 0
        for end in ("", "-wal"):
            with contextlib.suppress(OSError):
                size += self.path.with_name(self.path.name + end).stat().st_size
        return size

    @property
    def _size(self) -> int:
        """Changes that the feed keeps."""
        raise NotImplementedError

    def _read(self, query: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._reads.execute(query, values)
        except sqlite3.Error as error:
            raise failed(error, self.path) or error from None
