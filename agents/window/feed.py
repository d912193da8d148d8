"""What subscribers get: state first if they ask, then every change, without gap or repeat.

A subscriber reads the shared ring of recent changes, and where it is further behind, the store. So it
never holds up another, and nothing is queued for it. One that was away longer than the feed reaches
back is told so.
"""

import asyncio
import re
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from agents.window.rights import Sight, Wanted
from agents.window.store import Change, Entry, Store
from agents.window.where import Where
from contracts.envelope import format_time

#: Changes kept ready in memory.
RING = 4_096
#: Seconds between two writes to one subscriber under load; an isolated change goes out at once.
TICK = 0.02
#: Changes or records handed to a subscriber in one piece.
PIECE = 500
#: Ways of seeing one change that are kept ready; more are made anew.
WAYS = 64


K = TypeVar("K")
V = TypeVar("V")
#: Token or None, event name, JSON.
Message = tuple[str | None, str, bytes]


class TokenRefused(Exception):
    """The token is of another window or older than the feed."""


class FellBehind(Exception):
    """The feed no longer holds what the subscriber is to be told next."""


class Feed:
    """The changes of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        #: ``seq`` of the newest change.
        self.last = store.last
        self._run = store.begin_run()
        self._ring: deque[Line] = deque(maxlen=RING)
        self._moved = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    def publish(self, changes: list[Change]) -> None:
        """Tell subscribers of changes just applied, in the order of ``seq``."""
        if changes:
            self._ring.extend(map(Line, changes))
            self.last = changes[-1].seq
            self._wake()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called after each :meth:`publish`; it must not wait."""
        self._listeners.append(listener)

    async def news(self, since: int, seconds: float) -> None:
        """Wait until there is a change after ``since``, ``seconds`` at most."""
        if since < self.last:
            return
        moved = self._moved
        try:
            async with asyncio.timeout(seconds):
                await moved.wait()
        except TimeoutError:
            return

    def passed(self, seq: int) -> None:
        """Changes up to ``seq`` are not told one by one: whoever follows is cut and begins again."""
        self._ring.clear()
        self.last = seq
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for listener in self._listeners:
            listener()

    @property
    def token(self) -> str:
        """Of what a subscriber knows who has been told everything."""
        return self.token_of(self.last)

    def token_of(self, seq: int) -> str:
        """The token of one who has been told of the changes up to ``seq``."""
        return f"{self.store.id}.{self._run}.{seq}"

    def position(self, token: str) -> int:
        """The ``seq`` a token stands for. Raises TokenRefused that says why."""
        store, run, seq = (*token.split("."), "", "")[:3]
        if store != self.store.id or not re.fullmatch(r"\w+\.\w+\.[0-9]{1,18}", token):
            raise TokenRefused(f"Expected a token of this window, got `{token}`")
        reach = self.last if run == self._run else self.store.run_reaches(run)
        if reach is None or int(seq) > reach or int(seq) + 1 < self.store.first:
            raise TokenRefused(f"The feed no longer reaches back to `{token}`")
        return int(seq)

    async def subscribe(
        self, wanted: Wanted, since: int | None, *, beat: float = 1.0
    ) -> AsyncGenerator[list[Message], None]:
        """Messages ``(token or None, event name, JSON)`` in pieces; an empty piece is a heartbeat.

        ``since`` is the ``seq`` after which to begin; None begins with the state. Ends with a
        ``cut`` message when the subscriber fell behind what the feed holds.
        """
        loop = asyncio.get_running_loop()
        reading, sent = Reading(self, wanted, since), 0.0
        while True:
            while not reading.current:
                try:
                    piece = reading.take()
                except FellBehind:
                    yield [cut("too far behind the feed")]
                    return
                sent = loop.time()
                if piece:
                    yield piece
                await asyncio.sleep(0)
            moved = self._moved
            if reading.current:
                try:
                    async with asyncio.timeout(beat):
                        await moved.wait()
                except TimeoutError:
                    yield []
                    continue
                # Under load everything of a tick goes out in one write.
                await asyncio.sleep(max(0.0, sent + TICK - loop.time()))

    def after(self, since: int) -> "list[Line]":
        """The changes after ``since``, at most PIECE; none at the feed's end. Raises FellBehind."""
        if since >= self.last:
            return []
        if self._ring and self._ring[0].seq <= since + 1:
            # Sequence numbers have no holes within the ring.
            start = since + 1 - self._ring[0].seq
            return [self._ring[at] for at in range(start, min(start + PIECE, len(self._ring)))]
        lines = [Line(change) for change in self.store.changes_after(since, PIECE)]
        if not lines or lines[0].seq != since + 1:
            raise FellBehind
        return lines

    def messages(self, lines: "list[Line]", wanted: Wanted) -> list[Message]:
        """What of ``lines`` a subscriber is told."""
        return [
            (self.token_of(line.seq), "change", body)
            for line in lines
            if (body := line.seen(wanted)) is not None
        ]


def cut(reason: str) -> Message:
    """The last message of a feed that ends before its subscriber wanted it to."""
    return None, "cut", msgspec.json.encode({"reason": reason})


class Reading:
    """How far one subscriber has read."""

    def __init__(self, feed: Feed, wanted: Wanted, since: int | None) -> None:
        self._feed, self._wanted = feed, wanted
        #: ``seq`` of the newest change it was told of, or passed over.
        self.since = feed.last if since is None else since
        self._state = _State(feed, wanted) if since is None else None

    @property
    def current(self) -> bool:
        """Is there nothing to take at this moment?"""
        return self._state is None and self.since >= self._feed.last

    def take(self) -> list[Message]:
        """The next messages, which may be none; their number is bounded. Raises FellBehind.

        State comes first. Until it is whole its messages have no token, for one who is cut in the
        middle of it has to begin again; ``live`` has the first.
        """
        state = self._state
        if state is None:
            return self._changes()
        if (page := state.page()) is not None:
            return page
        # What changed meanwhile: some is in the state already.
        told: list[Message] = [(None, name, data) for _, name, data in self._changes(state)]
        if self.since >= state.upto:
            self._state = None
            return [*told, (self._feed.token_of(self.since), "live", b"{}")]
        return told

    def _changes(self, state: "_State | None" = None) -> list[Message]:
        lines = self._feed.after(self.since)
        if not lines:
            return []
        if state is not None:
            lines = [line for line in lines if line.seq <= state.upto]
        if lines:
            self.since = lines[-1].seq
        return self._feed.messages(
            [line for line in lines if state is None or not state.told(line)], self._wanted
        )


class _State:
    """The records one subscriber is given to begin with, page by page, each as it is by then.

    A page tells of every key up to its last, also of those that are not there; so a change applied
    before it was read is told with it.
    """

    def __init__(self, feed: Feed, wanted: Wanted) -> None:
        self._feed, self._wanted = feed, wanted
        #: ``seq`` of the newest change that any page has in it.
        self.upto = feed.last
        #: By contract: the last key of each page, and the ``seq`` up to which it tells.
        self._pages: dict[str, tuple[list[str], list[int]]] = {}
        self._left = self._read()

    def page(self) -> list[Message] | None:
        """The next page; None after the last."""
        return next(self._left, None)

    def _read(self) -> Iterator[list[Message]]:
        store, wanted = self._feed.store, self._wanted
        for contract, sight in sorted(wanted.sights.items()):
            keys, upto = self._pages[contract] = ([], [])
            after = ""
            while True:
                scopes = (wanted.scope,) if wanted.scope else sight.scopes
                saved = -1
                while saved != store.saved():  # a transaction may be saved between two looks
                    saved = store.saved()
                    page = store.page(contract, scopes, after, PIECE)
                self.upto = max(self.upto, saved)
                upto.append(saved)
                if not page:
                    break
                keys.append(after := page[-1].key)
                yield [
                    (None, "change", state)
                    for entry in page
                    if wanted.covers(contract, entry.scope)
                    and (state := _state(entry, sight, wanted.where)) is not None
                ]

    def told(self, line: "Line") -> bool:
        """Is this change in it already?"""
        keys, upto = self._pages.get(line.contract, ([], [0]))
        return line.seq <= upto[bisect_left(keys, line.key)]


class Line:
    """A change ready to be sent, in the ways it is seen."""

    __slots__ = ("_bodies", "_change", "_records", "_verdicts", "contract", "key", "seq")

    def __init__(self, change: Change) -> None:
        self._change = change
        self.seq, self.contract, self.key = change.seq, change.contract, change.key
        self.forget()

    @property
    def id(self) -> str:
        """The event's."""
        return self._change.id

    def forget(self) -> None:
        """Keep no way of seeing it ready any longer."""
        self._bodies: dict[Sight | None, bytes] = {}
        self._records: dict[tuple[Sight, bool], Mapping[str, Any]] = {}
        self._verdicts: dict[tuple[Sight, Where, bool], bool] = {}

    def seen(self, wanted: Wanted) -> bytes | None:
        """Its JSON for a subscriber, to whom what leaves the wanted is a deletion; None when it never
        was in it."""
        change = self._change
        sight = wanted.sights.get(change.contract)
        if sight is None:
            return None
        if (
            change.value is not None
            and wanted.covers(change.contract, change.scope)
            and self._holds(sight, wanted.where, change.value, old=False)
        ):
            return self._body(sight)
        if change.was and wanted.covers(change.contract, change.was):
            # A store of before may not know the old value; a deletion too many does no harm.
            known = change.old
            if known is None or self._holds(sight, wanted.where, known, old=True):
                return self._body(None)
        return None

    def _holds(self, sight: Sight, where: Where | None, value: bytes, *, old: bool) -> bool:
        if where is None:
            return True
        verdict = self._verdicts.get((sight, where, old))
        if verdict is None:
            record = self._records.get((sight, old))
            if record is None:
                record = _kept(self._records, (sight, old), _decoded(sight.shown(value)))
            verdict = where.holds(self.contract, record)
            _kept(self._verdicts, (sight, where, old), verdict)
        return verdict

    def _body(self, sight: Sight | None) -> bytes:
        """``sight`` None for a deletion."""
        body = self._bodies.get(sight)
        if body is None:
            body = _kept(self._bodies, sight, _body(self._change, sight))
        return body


def _kept(kept: dict[K, V], key: K, value: V) -> V:
    if len(kept) >= WAYS:
        kept.clear()
    kept[key] = value
    return value


def _decoded(value: bytes) -> Mapping[str, Any]:
    record = msgspec.json.decode(value)
    return record if isinstance(record, dict) else {}


def _body(change: Change, sight: Sight | None) -> bytes:
    shown = None if sight is None or change.value is None else sight.shown(change.value)
    return msgspec.json.encode(
        {
            "op": "delete" if shown is None else "put",
            "contract": change.contract,
            "key": change.key,
            "scope": "" if shown is None else change.scope,
            "record": msgspec.Raw(shown or b"null"),
            "id": change.id,
            "sequence": change.sequence,
            "time": format_time(change.time),
            "source": change.source,
        }
    )


def _state(entry: Entry, sight: Sight, where: Where | None) -> bytes | None:
    """None for a record that was not chosen."""
    if where and not where.holds(entry.contract, _decoded(sight.shown(entry.value))):
        return None
    return msgspec.json.encode({**described(entry, sight), "op": "put", "state": True})


def described(entry: Entry, sight: Sight) -> dict[str, object]:
    """A record as the window answers it to one who sees it so."""
    return {
        "contract": entry.contract,
        "key": entry.key,
        "record": msgspec.Raw(sight.shown(entry.value)),
        "scope": entry.scope,
        "time": format_time(entry.time),
        "sequence": entry.sequence,
        "id": entry.id,
        "source": entry.source,
        "dataschema": entry.dataschema,
    }
