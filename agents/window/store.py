"""The window's store: current state, a bounded feed of recent changes, and the position, in SQLite.

Events and the position they bring are applied in one transaction, so that a kill -9 leaves both or
neither. ``synchronous=NORMAL`` in WAL mode may lose the last transactions in a power cut, but never a
part of one: what is lost is read from Kafka again, from the position that was lost with it.

One connection writes, one reads: look-ups see whole transactions alone, also while many slices go into
one and while it is saved, which takes a thread.
"""

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from agents.base.errors import GapFound, StreamReplaced
from agents.base.proof import Proof
from agents.base.stream import Slice, take
from agents.base.watermark import Continuity
from agents.kafka.topics import contract_of
from agents.window.store_apply import Entering, write_changes
from agents.window.store_read import Readable
from agents.window.store_rows import (
    Applied,
    Change,
    Entry,
    Judge,
    Refusal,
    StoreDamaged,
    StoreFull,
    StoreNewer,
)
from agents.window.store_schema import (
    BUILDING,
    GONE,
    NARROW,
    SHOWN,
    WIDE,
    Content,
    contents,
    drop,
    failed,
    index,
    make,
    open_store,
)
from contracts.envelope import event_of

__all__ = [
    "FEED",
    "Applied",
    "Change",
    "Entry",
    "Judge",
    "Refusal",
    "Store",
    "StoreDamaged",
    "StoreFull",
    "StoreNewer",
]

#: The feed keeps this many changes where nothing else is said, so that a subscriber may be away for as
#: long.
FEED = 100_000
_TRIM_EVERY = 1_000
#: Pages of the log with which it is brought into the file whole.
_LOG_PAGES = 2_000
#: Pages written between two looks at that, and how many a transaction writes at least beside its records:
#: those of indexes, of the feed and of its position.
_TIDY_EVERY, _TOUCHED = 2_000, 10

T = TypeVar("T")


class Store(Readable):
    """One window's store; one writer, and any number of readers in the same process.

    Raises StoreNewer, StoreDamaged and StoreFull.
    """

    def __init__(self, path: Path, feed: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = open_store(path)
        super().__init__(path)
        self._feed = feed
        #: Held by whoever writes beside others, from the first slice of a transaction to its end.
        self.lock = asyncio.Lock()
        try:
            meta = dict(self._base.execute("SELECT name, value FROM meta"))
            self._load()
            self._refusing = {
                name for (name,) in self._base.execute("SELECT contract FROM refused")
            }
            self.sweep()
        except sqlite3.Error as error:
            self.close()
            raise failed(error, path) or error from None
        #: Random, made with the store: a token of another store is recognised by it.
        self.id: str = meta["id"]
        self.last = self._entered = int(meta["last"])
        #: The floor as far as it is not saved yet.
        self._floor = self._rising = int(meta["floor"])
        self._trimmed = 0
        #: Contracts that are being told again from the top; table ``told`` has the keys.
        self._again: set[str] = set()
        self._fields: dict[str, tuple[str, ...]] = {}
        self._untidy = 0
        self._tidying: asyncio.Task[None] | None = None

    # ---- writing -----------------------------------------------------------------------------

    def index(self, contract: str, fields: Iterable[str]) -> None:
        """From now on records of ``contract`` can be searched by ``fields``. Takes seconds where it is
        much."""
        self._fields[contract] = wanted = tuple(fields)
        for held in (self._contents, self._building):
            content = held.get(contract)
            if content and content.fields != wanted:
                with self._transaction():
                    index(self._base, content, wanted)

    def rebuild(self, contract: str, topics: Iterable[str]) -> bool:
        """Everything of ``contract`` is read anew into a content beside the one shown, until
        :meth:`rebuilt`. True when that goes on where it was left before; where it was read from other
        topics than ``topics`` it begins once more."""
        begun = self._building.get(contract)
        if begun and not self._topics(begun) - set(topics):
            return True
        with self._transaction():
            if begun:
                drop(self._base, begun)
            self._building[contract] = make(
                self._base, contract, BUILDING, self._fields.get(contract, ())
            )
        return False

    def rebuilt(self, contract: str) -> None:
        """What was read anew is shown from now on, and what was shown is for :meth:`sweep`. Tokens of
        before are refused: what changed is not known."""
        content, old = self._building[contract], self._contents.get(contract)
        with self._transaction():
            for each, state in ((old, GONE), (content, SHOWN)):
                if each:
                    self._base.execute(
                        "UPDATE content SET state = ? WHERE id = ?", (state, each.id)
                    )
            self._entered += 1
            self._rising = self._entered + 1
        self._load()

    def sweep(self) -> None:
        """Throw away what is not shown any more. Takes seconds where it is much."""
        while self._gone:
            with self._transaction():
                drop(self._base, self._gone[-1])
            self._gone.pop()

    def forget(self, contract: str) -> None:
        """Throw away everything of ``contract``, also where it was read to; tokens are refused then."""
        with self._transaction():
            for held in (self._contents, self._building):
                if content := held.pop(contract, None):
                    drop(self._base, content)
            self._base.execute("DELETE FROM refused WHERE contract = ?", (contract,))
            self._entered += 1
            self._rising = self._entered + 1

    def abandon(self, contract: str) -> None:
        """Give up reading ``contract`` anew."""
        if content := self._building.pop(contract, None):
            with self._transaction():
                drop(self._base, content)

    def tell_again(self, contract: str) -> None:
        """Everything of ``contract`` is told again from here on: repeats are to be expected."""
        self._base.execute("DELETE FROM told WHERE contract = ?", (contract,))
        self._again.add(contract)

    def told_again(self, contract: str, topics: Iterable[str]) -> list[Change]:
        """Everything was told again: what was not among it is deleted; the changes this makes.

        Positions in other topics than ``topics`` are forgotten.
        """
        gone: list[Change] = []
        base, kept, now = self._base, set(topics), time.time_ns() // 1000
        content = self._written(contract)
        with self._transaction():
            for key, scope, identity, sequence, source, old in base.execute(
                f"SELECT key, scope, id, sequence, source, value FROM {content.table}"
                " WHERE key NOT IN (SELECT key FROM told WHERE contract = ?)",
                (contract,),
            ):
                self._entered += 1
                gone.append(
                    Change(
                        self._entered, contract, key, "", scope, None, f"{identity}~{now}", now,
                        f"{sequence}~{now}", source, old,
                    )
                )  # fmt: skip
                content.grown[scope] = content.grown.get(scope, 0) - 1
            write_changes(base, gone)
            base.executemany(
                f"DELETE FROM {content.table} WHERE key = ?", [(each.key,) for each in gone]
            )
            base.execute(
                "DELETE FROM refused WHERE contract = ?"
                " AND key NOT IN (SELECT key FROM told WHERE told.contract = refused.contract)",
                (contract,),
            )
            for topic in self._topics(content) - kept:
                base.execute(
                    "DELETE FROM position WHERE content = ? AND topic = ?", (content.id, topic)
                )
            base.execute("DELETE FROM told WHERE contract = ?", (contract,))
        self._again.discard(contract)
        return gone

    def apply(
        self,
        contract: str,
        piece: Slice,
        state: Continuity,
        judge: Judge | None = None,
        *,
        ahead: int = 0,
        more: bool = False,
        proof: Proof | None = None,
    ) -> Applied:
        """Apply a slice and save ``state``, which takes the records in as it reads. What ``judge`` does
        not let through is kept as refused.

        Where more records than the feed keeps are ``ahead``, changes get no row in it: whoever is that
        far behind begins again. With ``more`` nothing of it is seen or safe before :meth:`save`.

        ``proof`` verifies what its watermarks sign.

        Raises StoreFull with nothing applied since the last save. On GapFound or StreamReplaced what
        stands before the bad watermark is applied, and the position stays before it.
        """
        before = msgspec.structs.replace(state)
        found: GapFound | StreamReplaced | None = None
        position, events = piece.next, []
        try:
            for record in piece.records:
                try:
                    event = take(record, state, proof) is True
                except (GapFound, StreamReplaced) as error:
                    found, position = error, record.offset
                    break
                if event:
                    events.append(event_of(record.value, record.headers))
            content = self._written(contract)
            with self._writing(more and not found):
                building = content.state == BUILDING
                skip = building or ahead > self._size
                applied, entered = Entering(
                    self._base, content, piece.topic, judge, again=contract in self._again,
                    refusing=contract in self._refusing, skip=skip,
                ).enter(events, self._entered)  # fmt: skip
                if applied.refused:
                    self._refusing.add(contract)
                if not building:
                    self._entered = entered
                if applied.skipped and not building:
                    self._rising = entered + 1
                self._base.execute(
                    "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?)",
                    (content.id, piece.topic, piece.partition, position,
                     msgspec.json.encode(state)),
                )  # fmt: skip
        except BaseException:
            for name in state.__struct_fields__:
                setattr(state, name, getattr(before, name))
            raise
        if found is not None:
            raise found
        self._trimmed += len(applied.changes)
        if not more:
            self._trim()
        return applied

    def save(self) -> None:
        """Make seen and safe what was applied with ``more``. Raises StoreFull with nothing applied."""
        with self._writing(False):
            pass
        self._trim()

    def undo(self) -> None:
        """Forget what was applied with ``more`` and not saved."""
        if self._base.in_transaction:
            self._base.execute("ROLLBACK")
            self._undo()

    def _trim(self) -> None:
        """Take out of the feed what is more than it keeps; at most so much at once that nobody waits."""
        if self._trimmed < _TRIM_EVERY:
            return
        first = self.first
        # Where there is no room for it, what is to go goes later.
        with contextlib.suppress(StoreFull), self._transaction():
            self._base.execute(
                "DELETE FROM change WHERE seq < ? AND seq < (SELECT min(seq) FROM change) + ?",
                (first, 4 * self._trimmed),
            )
            self._rising = first
            self._trimmed = 0

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing(False):
            yield

    @contextlib.contextmanager
    def _writing(self, more: bool) -> Iterator[None]:
        """A transaction, or more of the one there is; undone with all of it when anything fails."""
        base = self._base
        try:
            if not base.in_transaction:
                base.execute("BEGIN IMMEDIATE")
            yield
            if more:
                return
            for content in (*self._contents.values(), *self._building.values()):
                if content.grown:
                    content.save(base)
            if self._entered != self.last:
                self._set("last", self._entered)
            if self._rising != self._floor:
                self._set("floor", self._rising)
            base.execute("COMMIT")
        except BaseException as error:
            if base.in_transaction:
                base.execute("ROLLBACK")
            self._undo()
            if isinstance(error, sqlite3.Error):
                raise failed(error, self.path) or error from None
            raise
        for content in (*self._contents.values(), *self._building.values()):
            content.saved()
        self.last, self._floor = self._entered, self._rising

    def _undo(self) -> None:
        """Go back to what is saved."""
        self._entered, self._rising = self.last, self._floor
        with contextlib.suppress(sqlite3.Error):
            self._load()

    def _load(self) -> None:
        found = contents(self._base)
        shown = {each.contract: each for each in found if each.state == SHOWN}
        self._building = {each.contract: each for each in found if each.state == BUILDING}
        self._contents = shown
        self._gone = [each for each in found if each.state == GONE]

    def _set(self, name: str, value: int) -> None:
        self._base.execute("UPDATE meta SET value = ? WHERE name = ?", (str(value), name))

    def _written(self, contract: str) -> Content:
        """Where changes of ``contract`` go; made if there is nothing of it yet."""
        content = self._building.get(contract) or self._contents.get(contract)
        if content is None:
            # Saved at once: look-ups find it from now on.
            with self._transaction():
                content = make(self._base, contract, SHOWN, self._fields.get(contract, ()))
            self._contents[contract] = content
        return content

    def tidy(self, written: int) -> None:
        """``written`` records were: now and then bring what stands in the log into the file, in a thread,
        so that it does not grow. Nobody waits for it."""
        self._untidy += written + _TOUCHED
        if self._untidy >= _TIDY_EVERY and (self._tidying is None or self._tidying.done()):
            self._untidy = 0
            self._tidying = asyncio.create_task(self._tidy(), name="tidy-store")

    async def _tidy(self) -> None:
        if await in_thread(self._checkpoint) > _LOG_PAGES:
            # It only begins again from its start when nobody has written meanwhile.
            async with self.lock:
                await in_thread(self._checkpoint)

    def _checkpoint(self) -> int:
        """Pages of the log when this began."""
        with contextlib.suppress(sqlite3.Error):  # what stands in the log is as safe there
            aside = sqlite3.connect(self.path, isolation_level=None)
            try:
                _, pages, _ = aside.execute("PRAGMA wal_checkpoint (PASSIVE)").fetchone()
                return int(pages)
            finally:
                aside.close()
        return 0

    def wide(self, much: bool) -> None:
        """Much is written from now on, or not any more: more memory makes that faster."""
        self._base.execute(f"PRAGMA cache_size = -{WIDE if much else NARROW}")
        if not much:
            self._base.execute("PRAGMA shrink_memory")

    @property
    def _size(self) -> int:
        return FEED if self._feed is None else self._feed

    # ---- where to read on --------------------------------------------------------------------

    def origins(self, contract: str) -> set[str]:
        """The topics from which ``contract`` was ever read here."""
        content = self._contents.get(contract)
        return self._topics(content) if content else set()

    def _topics(self, content: Content) -> set[str]:
        rows = self._base.execute(
            "SELECT DISTINCT topic FROM position WHERE content = ?", (content.id,)
        )
        return {topic for (topic,) in rows}

    def begin_run(self) -> str:
        """A name for what is told of this store from here on.

        A power cut may take the last changes, and their ``seq`` then comes again for others: what was
        told in one run of the window can be taken up in another only as far as the store still had it
        when that began, which :meth:`run_reaches` says. Raises StoreFull.
        """
        name = uuid.uuid4().hex[:6]
        with self._transaction():
            self._base.execute("INSERT INTO run (name, after) VALUES (?, ?)", (name, self.last))
            # Those that ended before the feed's oldest change can be of use to nobody.
            self._base.execute(
                "DELETE FROM run WHERE number < (SELECT max(number) FROM run WHERE after + 1 < ?)",
                (self.first,),
            )
        return name

    def run_reaches(self, name: str) -> int | None:
        """The newest ``seq`` told in the run ``name`` that still stands; None when it is not known."""
        row = self._base.execute(
            "SELECT (SELECT min(after) FROM run AS next WHERE next.number > run.number)"
            " FROM run WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            return None
        return self.last if row[0] is None else int(row[0])

    def positions(self, topics: Iterable[str]) -> dict[tuple[str, int], tuple[int, Continuity]]:
        """Where to read on in each partition that was read before, and what was verified there; while
        everything is read anew, for that."""
        found = {}
        for topic in topics:
            contract = contract_of(topic)
            content = self._building.get(contract) or self._contents.get(contract)
            if content is None:
                continue
            for partition, following, state in self._base.execute(
                "SELECT partition, next, state FROM position WHERE content = ? AND topic = ?",
                (content.id, topic),
            ):
                found[topic, partition] = (
                    following, msgspec.json.decode(state, type=Continuity)
                )  # fmt: skip
        return found

    def close(self) -> None:
        self._reads.close()
        self._base.close()


async def in_thread(work: Callable[[], T]) -> T:
    """What ``work`` answers; a caller that is cancelled leaves only when it is done."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
