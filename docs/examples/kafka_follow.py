"""Keeps a contract's records in a table of our own, straight from Kafka, each change exactly once.

python kafka_follow.py BOOTSTRAP TOPIC: to the topic's end, and says what it holds. Again: goes on.
"""

import asyncio
import json
import sqlite3
import sys
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaConsumer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
base = sqlite3.connect("kafka.sqlite", isolation_level=None)
base.executescript("""
    CREATE TABLE IF NOT EXISTS record
        (key TEXT PRIMARY KEY, record TEXT, id TEXT, source TEXT, sequence TEXT);
    CREATE TABLE IF NOT EXISTS part (part INTEGER PRIMARY KEY, next INTEGER, stream TEXT,
        number INTEGER, counted INTEGER, thinned INTEGER, time INTEGER);
""")


class Part:
    """One partition: where to read on, and what its watermarks let us verify."""

    def __init__(self, part: int) -> None:
        row = base.execute("SELECT * FROM part WHERE part = ?", (part,)).fetchone()
        # Until a first watermark was met, nothing can be counted.
        self.part, self.next, self.stream, self.number, self.counted, self.thinned, self.time = (
            row or (part, 0, "", 0, 0, True, 0)
        )

    def take(self, message) -> None:
        if message.offset != self.next:  # compaction was there: this is state, not history
            self.thinned = True
        self.next = message.offset + 1
        headers = {name: value.decode() for name, value in message.headers}
        kind = headers["ce_type"]
        if kind == "levelsync.watermark":
            self.verify(json.loads(message.value))
        elif not kind.startswith("levelsync."):  # fences and what may come
            self.counted += 1
            enter(message.value, headers)

    def verify(self, mark: dict) -> None:
        if self.stream and mark["stream"] != self.stream:
            sys.exit(f"partition {self.part}: the topic was made anew; read it from its beginning")
        if mark["number"] <= self.number:
            sys.exit(f"partition {self.part}: watermark {mark['number']} came after {self.number}")
        whole = not self.thinned
        if whole and (mark["number"] != self.number + 1 or mark["count"] not in (self.counted, -1)):
            sys.exit(f"partition {self.part}: expected {mark['count']} events, got {self.counted}")
        self.stream, self.number, self.time = mark["stream"], mark["number"], mark["time"]
        self.counted, self.thinned = 0, False

    def save(self) -> None:
        row = (
            self.part,
            self.next,
            self.stream,
            self.number,
            self.counted,
            self.thinned,
            self.time,
        )
        base.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def enter(value: bytes | None, headers: dict[str, str]) -> None:
    key, source, sequence = headers["ce_subject"], headers["ce_source"], headers["ce_sequence"]
    row = base.execute("SELECT source, sequence FROM record WHERE key = ?", (key,)).fetchone()
    if row and row[0] == source and sequence <= row[1]:
        return  # told again, or older than what is there
    record = value and value.decode()
    # A deleted record stays, without its content: what is older must not bring it back.
    base.execute(
        "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)",
        (key, record, headers["ce_id"], source, sequence),
    )


async def main(bootstrap: str, topic: str) -> None:
    consumer = AIOKafkaConsumer(
        topic,  # without a group: every partition
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,  # our positions are in our own table
    )
    await consumer.start()
    try:
        parts = {place: Part(place.partition) for place in consumer.assignment()}
        first = await consumer.beginning_offsets(parts)
        ends = await consumer.end_offsets(parts)
        for place, part in parts.items():
            if part.number and part.next < first[place]:
                sys.exit(f"partition {part.part}: {part.next} is gone; read it from its beginning")
            consumer.seek(place, max(part.next, first[place]))
        while any([await consumer.position(place) < ends[place] for place in parts]):
            pieces = await consumer.getmany(timeout_ms=1000)
            base.execute("BEGIN")  # the records and the positions, or neither
            for place, messages in pieces.items():
                for message in messages:
                    parts[place].take(message)
                parts[place].save()
            base.execute("COMMIT")
    finally:
        await consumer.stop()
    (count,) = base.execute("SELECT count(record) FROM record").fetchone()
    time = min(part.time for part in parts.values())
    print(count, "records, complete as of", EPOCH + timedelta(microseconds=time))


asyncio.run(main(*sys.argv[1:]))
