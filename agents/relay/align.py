"""Bringing a copy in line with its upstream: after a changed grant, another upstream topic, a resync.

What the copy holds is compared with what it is to hold, key by key, and only what differs is told:
nothing is repeated that stands there already. An event told so carries the moment in its id and
sequence (``…~1700000000000000``, microseconds since 1970 UTC), so that it is newer than what was told
of the key before, and older than the key's next change.

Both sides are read into a file on disk, so that memory does not grow with the number of keys.
"""

import re
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from agents.base.proof import Proof
from agents.base.stream import Record
from agents.base.watermark import FENCE, TYPE, Continuity, Watermark
from agents.kafka.copy import Unfit
from agents.kafka.messages import Part
from agents.kafka.reader import scan
from agents.kafka.wire import Connection
from agents.relay.terms import Giving
from contracts.envelope import Header, format_time, header

#: Rows written to the file at a time.
_ROWS = 5_000
_MOMENT = re.compile(rb"~\d{16}$")

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE held (
    partition INTEGER, key BLOB, id BLOB, sequence BLOB, digest INTEGER, headers BLOB,
    PRIMARY KEY (partition, key)
) WITHOUT ROWID;
CREATE TABLE there (
    partition INTEGER, key BLOB, topic TEXT, offset INTEGER, time BLOB, id BLOB, sequence BLOB,
    digest INTEGER, PRIMARY KEY (partition, key, topic)
) WITHOUT ROWID;
"""

#: Of each key, the topic whose owner changed it last and did not delete it.
_WINNERS = """
CREATE TABLE winner AS
    SELECT partition, key, topic, offset, id, sequence, digest, max(time || topic) FROM there
    WHERE digest IS NOT NULL GROUP BY partition, key;
CREATE UNIQUE INDEX winner_key ON winner (partition, key);
CREATE TABLE tell AS
    SELECT w.partition, w.topic, w.offset, max(w.sequence, coalesce(h.sequence, x'')) AS sequence,
        h.sequence > w.sequence AS back
    FROM winner w LEFT JOIN held h USING (partition, key)
    WHERE h.id IS NULL OR h.id != w.id OR h.digest != w.digest;
CREATE INDEX tell_offset ON tell (partition, topic, offset);
"""
_GONE = """
SELECT h.key, h.sequence, h.headers,
    (SELECT max(t.sequence) FROM there t WHERE t.partition = h.partition AND t.key = h.key)
FROM held h WHERE h.partition = ?
    AND NOT EXISTS (SELECT 1 FROM winner w WHERE w.partition = h.partition AND w.key = h.key)
"""


class Told(NamedTuple):
    """An event to be told anew."""

    record: Record
    value: bytes | None
    headers: Sequence[Header]


class Alignment:
    """One comparison of a copy with its upstream, in a file of its own.

    ``rule`` says what of an upstream record the copy is to hold; ``since`` is the moment of the
    alignment in microseconds since 1970 UTC.
    """

    def __init__(self, path: Path, contract: str, rule: Giving, since: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        self._contract = contract
        self._rule = rule
        self._since = since
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.executescript(_SCHEMA)
        self._rows: list[tuple[object, ...]] = []
        #: Keys whose history upstream is older than what the copy holds.
        self.back = 0

    def close(self) -> None:
        self._base.close()
        self._path.unlink(missing_ok=True)

    async def read_copy(self, connection: Connection, part: Part, first: int, stop: int) -> None:
        """Take in what the copy holds of one partition."""
        put = "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?)"
        async for record in scan(connection, part, first, stop):
            kind = header(record.headers, "ce_type")
            if record.key is None or kind in (TYPE, FENCE):
                continue
            digest = None if record.value is None else crc32(record.value)
            self._add(
                put, part[1], record.key, _base(record, "ce_id"), _base(record, "ce_sequence"),
                digest, msgspec.msgpack.encode(record.headers),
            )  # fmt: skip
        self._write(put)
        self._base.execute("DELETE FROM held WHERE digest IS NULL")

    async def read_upstream(
        self,
        connection: Connection,
        part: Part,
        first: int,
        stop: int,
        state: Continuity | None,
        proof: Proof | None = None,
    ) -> Continuity:
        """Take in what upstream holds of one partition of one topic below offset ``stop``.

        ``state`` and the answer are where reading went on and goes on. What the watermarks claim is
        not verified: this is state, not history, and perhaps the way out of a gap. ``proof`` goes on from
        what the last of them signs.
        """
        put = "INSERT OR REPLACE INTO there VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        state = state or Continuity(offset=first, thinned=first > 0)
        topic, number = part
        async for record in scan(connection, part, first, stop):
            kind = header(record.headers, "ce_type")
            if kind == TYPE:
                mark = msgspec.json.decode(record.value or b"", type=Watermark)
                state = Continuity(mark.stream, mark.number, 0, record.offset + 1, False, mark.time)
                if proof:
                    proof.take(state, mark)
                continue
            state.passed(record.offset, event=kind != FENCE)
            if kind != FENCE:
                state.batch_chain = b""  # of batches nothing is seen here
            if record.key is None or kind == FENCE:
                continue
            try:
                value = self._rule.given(record)
            except Unfit:
                value = None  # it is a dead letter since it first came by
            digest = None if value is None else crc32(value)
            self._add(
                put, number, record.key, topic, record.offset,
                header(record.headers, "ce_time") or b"", _base(record, "ce_id"),
                _base(record, "ce_sequence"), digest,
            )  # fmt: skip
        self._write(put)
        return state

    def compare(self) -> int:
        """Find out what differs, once both sides are in; how many records are to be put."""
        self._base.executescript(_WINNERS)
        count, self.back = self._base.execute(
            "SELECT count(*), coalesce(sum(back), 0) FROM tell"
        ).fetchone()
        return int(count)

    async def differing(
        self, connection: Connection, bounds: Mapping[Part, tuple[int, int]]
    ) -> AsyncIterator[tuple[int, str, Told]]:
        """Every event to be told, with its partition and the topic it lies in, deletions first.

        After :meth:`compare`.
        """
        for (number,) in self._base.execute("SELECT DISTINCT partition FROM held").fetchall():
            for key, sequence, headers, there in self._base.execute(_GONE, (number,)):
                yield number, "", self._deletion(key, max(sequence, there or b""), headers)
        for part, (first, stop) in bounds.items():
            wanted = self._base.execute(
                "SELECT offset, sequence FROM tell WHERE topic = ? AND partition = ?"
                " ORDER BY offset",
                part,
            )
            following = wanted.fetchone()
            if following is None:
                continue
            async for record in scan(connection, part, max(first, following[0]), stop):
                if record.offset == following[0]:
                    value = self._rule.given(record)
                    headers = self._anew(self._rule.headers(record), following[1])
                    yield part[1], part[0], Told(record, value, headers)
                    following = wanted.fetchone()
                    if following is None:
                        break

    def _deletion(self, key: bytes, sequence: bytes, headers: bytes) -> Told:
        former = msgspec.msgpack.decode(headers, type=list[Header])
        moment = format_time(self._since).encode()
        anew = [
            (name, moment if name == "ce_time" else value)
            for name, value in self._anew(deleted(former, self._contract), sequence)
        ]
        return Told(Record(-1, self._since // 1000, key, None, anew), None, anew)

    def _anew(self, headers: Sequence[Header], sequence: bytes) -> list[Header]:
        suffix = b"~%016d" % self._since
        anew = []
        for name, value in headers:
            if name == "ce_id":
                anew.append((name, _MOMENT.sub(b"", value) + suffix))
            elif name == "ce_sequence":
                anew.append((name, sequence + suffix))
            else:
                anew.append((name, value))
        return anew

    def _add(self, put: str, *row: object) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS:
            self._write(put)

    def _write(self, put: str) -> None:
        self._base.execute("BEGIN")
        self._base.executemany(put, self._rows)
        self._base.execute("COMMIT")
        self._rows.clear()


def deleted(headers: Sequence[Header], contract: str) -> list[Header]:
    """The headers of a record as those of its deletion: where it went is nobody's business here."""
    return [
        (name, f"{contract}.deleted".encode() if name == "ce_type" else value)
        for name, value in headers
        if name not in ("ce_scope", "content-type")
    ]


def _base(record: Record, name: str) -> bytes:
    """A header without the moment of an alignment."""
    return _MOMENT.sub(b"", header(record.headers, name) or b"")
