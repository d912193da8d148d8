"""What subscribers get: state first if they ask, then every change, without gap or repeat.

A subscriber pulls: it reads the shared ring of recent changes, and where it is further behind, the
store. So it never holds up another, and nothing is queued for it. One that does not take what it is
sent is cut by the gateway; one that was away longer than the feed reaches back is told so.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import NamedTuple

import msgspec

from agents.window.rights import Sight, Wanted
from agents.window.store import Change, Entry, Store
from contracts.envelope import format_time

#: Changes kept ready in memory.
RING = 4_096
#: Seconds between two writes to one subscriber under load; an isolated change goes out at once.
TICK = 0.02
#: Changes or records handed to a subscriber in one piece.
PIECE = 500


#: Token or None, event name, JSON.
Message = tuple[str | None, str, bytes]


class TokenRefused(Exception):
    """The token is of another window or older than the feed."""


class Line(NamedTuple):
    """A change ready to be sent: ``put`` makes its JSON body for one who sees it so, ``delete`` is the
    body of a deletion."""

    seq: int
    contract: str
    key: str
    scope: str
    was: str
    put: "_Put | None"
    delete: bytes


class Feed:
    """The changes of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._ring: deque[Line] = deque(maxlen=RING)
        self._last = store.last
        self._moved = asyncio.Event()

    def publish(self, changes: list[Change]) -> None:
        """Tell subscribers of changes just applied, in the order of ``seq``."""
        if changes:
            self._ring.extend(_line(change) for change in changes)
            self._last = changes[-1].seq
            self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    @property
    def token(self) -> str:
        return self._token(self._last)

    def _token(self, seq: int) -> str:
        return f"{self.store.id}.{seq}"

    def position(self, token: str) -> int:
        """The ``seq`` a token stands for. Raises TokenRefused that says why."""
        store, _, seq = token.rpartition(".")
        if store != self.store.id or not seq.isdigit() or int(seq) > self._last:
            raise TokenRefused(f"Expected a token of this window, got `{token}`")
        if int(seq) + 1 < self.store.first:
            raise TokenRefused(f"The feed no longer reaches back to `{token}`")
        return int(seq)

    async def subscribe(
        self, wanted: Wanted, since: int | None, *, beat: float = 1.0
    ) -> AsyncGenerator[list[Message], None]:
        """Messages ``(token or None, event name, JSON)`` in pieces; an empty piece is a heartbeat.

        ``since`` is the ``seq`` after which to begin; None begins with the state. Ends with a
        ``cut`` message when the subscriber fell behind what the feed holds.
        """
        told: dict[tuple[str, str], int] = {}
        if since is None:
            since = self._last
            for contract, sight in sorted(wanted.sights.items()):
                scopes = (wanted.scope,) if wanted.scope else ()
                for page in self.store.entries(contract, scopes, PIECE):
                    seen = [entry for entry in page if sight.covers(entry.scope)]
                    yield [(None, "change", _state(entry, sight)) for entry in seen]
                    # What changed since we began is in the state already, and comes by once more.
                    told.update(
                        ((entry.contract, entry.key), entry.seq)
                        for entry in page
                        if entry.seq > since
                    )
                    await asyncio.sleep(0)
            yield [(self._token(since), "live", b"{}")]
        loop = asyncio.get_running_loop()
        sent = 0.0
        while True:
            moved = self._moved
            if since >= self._last:
                try:
                    async with asyncio.timeout(beat):
                        await moved.wait()
                except TimeoutError:
                    yield []
                    continue
                # Under load everything of a tick goes out in one write.
                await asyncio.sleep(max(0.0, sent + TICK - loop.time()))
            lines = self._after(since)
            if not lines or lines[0].seq != since + 1:
                yield [(None, "cut", b'{"reason":"too far behind the feed"}')]
                return
            since = lines[-1].seq
            piece: list[Message] = []
            for line in lines:
                if told and told.get((line.contract, line.key), 0) >= line.seq:
                    continue
                body = _seen(line, wanted)
                if body is not None:
                    piece.append((self._token(line.seq), "change", body))
            sent = loop.time()
            if piece:
                yield piece

    def _after(self, since: int) -> list[Line]:
        if self._ring and self._ring[0].seq <= since + 1:
            # Sequence numbers have no holes within the ring.
            start = since + 1 - self._ring[0].seq
            return [self._ring[at] for at in range(start, min(start + PIECE, len(self._ring)))]
        return [_line(change) for change in self.store.changes_after(since, PIECE)]


def _seen(line: Line, wanted: Wanted) -> bytes | None:
    """The body for a subscriber; what leaves its scope is a deletion there."""
    if line.put is not None and wanted.covers(line.contract, line.scope):
        return line.put(wanted.sights[line.contract])
    return line.delete if line.was and wanted.covers(line.contract, line.was) else None


def _body(change: Change, value: bytes | None) -> bytes:
    deleted = value is None
    return msgspec.json.encode(
        {
            "op": "delete" if deleted else "put",
            "contract": change.contract,
            "key": change.key,
            "scope": "" if deleted else change.scope,
            "record": msgspec.Raw(value or b"null"),
            "id": change.id,
            "sequence": change.sequence,
            "time": format_time(change.time),
            "source": change.source,
        }
    )


def _line(change: Change) -> Line:
    put = None if change.value is None else _Put(change)
    return Line(
        change.seq, change.contract, change.key, change.scope, change.was, put,
        _body(change, None),
    )  # fmt: skip


class _Put:
    """The JSON body of a change, made once for each of those who see it differently."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._bodies: dict[Sight, bytes] = {}

    def __call__(self, sight: Sight) -> bytes:
        body = self._bodies.get(sight)
        if body is None:
            value = self._change.value
            assert value is not None
            body = self._bodies[sight] = _body(self._change, sight.shown(value))
        return body


def _state(entry: Entry, sight: Sight) -> bytes:
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
