"""What foreign producers and the log cleaner make of batches, through a link on a real broker."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents.base.errors import Corrupt
from agents.base.watermark import FENCE, TYPE
from agents.demo.servers import KafkaServer
from agents.kafka import copy
from agents.kafka.batches import HEADER_BYTES, Batch, Builder, sealed, split
from agents.kafka.cluster import Cluster
from agents.kafka.copy import WORTH_BYTES
from agents.kafka.letters import read_letters
from agents.kafka.producer import FencedProducer
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Claim, Connection
from contracts.envelope import headers_of
from tests.live.hop import link
from tests.live.streams import PARTITIONS, Running, event, until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]

CODECS = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CONTROL, DELETE_HORIZON = 0x20, 0x40
BEGINNING = 1_700_000_000_000
MINUTE = 60_000
#: Cleaned as soon as a segment is closed, which is when a record comes that is 100 ms younger
#: than its first, be that the marker of a transaction.
CLEANED = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "max.message.bytes": str(8 * 1024 * 1024),
}
#: Cleaned no more; and records without a key are welcome.
KEPT = {"cleanup.policy": "delete", "retention.ms": "-1"}


class Written(NamedTuple):
    """A record as a producer hands it over, and as a consumer gets it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = BEGINNING


class Foreign:
    """Producers that know nothing of levelsync: one for each codec, and two with transactions."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self.topic = topic
        self._cluster = cluster
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Foreign":
        self.plain = {codec: await self._producer(codec) for codec in CODECS}
        self.one = await self._producer(None, "one")
        self.other = await self._producer("zstd", "other")
        return self

    async def _producer(self, codec: str | None, identity: str | None = None) -> AIOKafkaProducer:
        return await self._stack.enter_async_context(
            AIOKafkaProducer(
                bootstrap_servers=self._cluster.bootstrap,
                compression_type=codec,
                transactional_id=identity and f"{self.topic}-{identity}",
                max_batch_size=7 * 1024 * 1024,
                max_request_size=8 * 1024 * 1024,
            )
        )

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def put(self, who: AIOKafkaProducer, part: int, records: Iterable[Written]) -> None:
        """One batch of exactly these."""
        batch = who.create_batch()
        for key, value, headers, timestamp in records:
            entry = batch.append(key=key, value=value, headers=list(headers), timestamp=timestamp)
            assert entry is not None
        await (await who.send_batch(batch, self.topic, partition=part))


def some(name: str, count: int, *, size: int = 100) -> list[Written]:
    """Records that compress to about half, so that a batch of thousands is a large one."""
    chance = random.Random(name)
    return [
        Written(b"%s-%d" % (name.encode(), number), chance.randbytes(size // 2).hex().encode())
        for number in range(count)
    ]


async def alter(cluster: Cluster, kind: ConfigResourceType, name: str, to: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    try:
        for answer in await admin.alter_configs([ConfigResource(kind, name, to)]):
            assert all(code == 0 for code, *_ in answer.resources), answer
    finally:
        await admin.close()


async def seen(cluster: Cluster, topic: str) -> list[list[Written]]:
    """What a plain consumer of committed data reads, by partition; the agents' own records hidden."""
    parts = [TopicPartition(topic, part) for part in range(PARTITIONS)]
    found: list[list[Written]] = [[] for _ in parts]
    async with (
        asyncio.timeout(60),
        AIOKafkaConsumer(
            bootstrap_servers=cluster.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        ) as consumer,
    ):
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for part, records in (await consumer.getmany(timeout_ms=200)).items():
                found[part.partition] += [
                    Written(one.key, one.value, tuple(one.headers), one.timestamp)
                    for one in records
                    if dict(one.headers).get("ce_type") not in (TYPE, FENCE)
                ]
    return found


async def raw(cluster: Cluster, topic: str) -> list[list[Batch]]:
    """Every batch as it lies there, by partition."""
    found: list[list[Batch]] = []
    async with asyncio.timeout(60), Connection(cluster) as connection:
        parts = [(topic, part) for part in range(PARTITIONS)]
        ends = await connection.ends(parts)
        for part, (start, end) in ends.items():
            mine: list[Batch] = []
            at = start
            while at < end:
                (node,) = await connection.leaders([part])
                (answer,) = await connection.fetch(node, {part: at})
                mine += split(answer.buffer)
                at = mine[-1].next
            found.append(mine)
    return found


def payload(batch: Batch) -> bytes:
    return bytes(batch.data[HEADER_BYTES:])


async def write_what_is_cleaned(cluster: Cluster, foreign: Foreign) -> None:
    """Three rounds over the same keys, committed and aborted; wait until each key is left once.

    What is left of the first batches is still so large that passing them on would seem worth it.
    """
    total = 4000

    def keys(turn: int, first: int, step: int) -> list[Written]:
        return [
            Written(b"c-%d" % number, one.value, (), BEGINNING + turn)
            for number, one in enumerate(some(f"turn-{turn}", total))
            if number % step == first
        ]

    for part in range(PARTITIONS):
        await foreign.put(foreign.plain["zstd"], part, keys(0, 0, 1))
        async with foreign.other.transaction():
            await foreign.put(foreign.other, part, [*keys(1, 1, 2), Written(b"c-1", None)])
        await foreign.one.begin_transaction()
        await foreign.put(
            foreign.one, part, [Written(b"c-3", b"aborted"), Written(b"x", b"aborted")]
        )
        await foreign.one.abort_transaction()
        await foreign.put(foreign.plain[None], part, keys(2, 2, 4))
        later = Written(b"roll", b"closes the segment", (), time.time_ns() // 1_000_000 + MINUTE)
        await foreign.put(foreign.plain[None], part, [later])
    async with asyncio.timeout(90):
        while any(len(records) != total + 1 for records in await seen(cluster, foreign.topic)):
            await asyncio.sleep(0.5)


async def write_what_is_kept(foreign: Foreign, part: int) -> None:
    """Batches of every codec and size, odd records, a 5 MB one, and transactions in each other's way."""
    plain = foreign.plain
    for codec, who in plain.items():
        await foreign.put(who, part, some(f"whole-{codec}", 2000))
        for count in (1, 2, 3):
            await foreign.put(who, part, some(f"{count}-{codec}", count))
    odd = [
        Written(b"gone", None),
        Written(None, b"no key"),
        Written(None, None, (), 0),
        Written(
            b"", b"", (("h", b"1"), ("h", b"2"), ("", b""), ("名", "值".encode()), ("h", None))
        ),
        Written(b"later", b"v", (), BEGINNING + 5),
        Written(b"earlier", b"v", (), 7),
    ]
    await foreign.put(plain[None], part, odd)
    await foreign.put(plain["lz4"], part, [Written(b"no time", b"v", (), -1)])
    await foreign.put(plain["gzip"], part, [*odd, *some("odd", 3000)])


async def write_transactions(foreign: Foreign) -> None:
    """Two producers, all partitions in each transaction, small batches and large."""
    one, other = foreign.one, foreign.other

    async def each(who: AIOKafkaProducer, name: str, count: int) -> None:
        for part in range(PARTITIONS):
            await foreign.put(who, part, some(name, count))

    await one.begin_transaction()
    await each(one, "aborted-a", 2)
    await other.begin_transaction()
    await each(other, "committed-b", 2000)
    await each(foreign.plain["snappy"], "between", 3)
    await each(one, "aborted-c", 2000)
    await one.abort_transaction()
    await each(other, "committed-d", 1)
    await one.begin_transaction()
    await each(one, "committed-e", 2000)
    await other.commit_transaction()
    await other.begin_transaction()
    await each(other, "aborted-f", 3)
    await one.commit_transaction()
    await each(foreign.plain[None], "after", 2)
    await other.abort_transaction()


@pytest.fixture
async def cluster(kafka: KafkaServer) -> AsyncIterator[Cluster]:
    """Its log cleaner looks every second, not every 15."""
    cluster = Cluster(kafka.bootstrap)
    broker = ConfigResourceType.BROKER, "1"
    await alter(cluster, *broker, {"log.cleaner.backoff.ms": "1000"})
    yield cluster
    await alter(cluster, *broker, {})


async def test_a_copy_of_foreign_data_is_what_a_consumer_of_committed_data_sees(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleaned by Kafka, written in transactions, in every codec and size.

    Red when the link passes on batches that are not ``whole``, when ``committed`` leaves out no
    aborted batch or lets a ban go on, and when every batch is opened: tried.
    """
    monkeypatch.setattr(copy, "WORTH_RATE", 0)  # a busy machine's slow answers are no long line
    topic, target = "foreign", "foreign.copy"
    await ensure(cluster, [Topic(topic, PARTITIONS, CLEANED)])
    async with Foreign(cluster, topic) as foreign:
        await write_what_is_cleaned(cluster, foreign)
        await alter(cluster, ConfigResourceType.TOPIC, topic, {**CLEANED, **KEPT})
        for part in range(PARTITIONS):
            await write_what_is_kept(foreign, part)
        large = Written(b"5 MB", random.Random(5).randbytes(5 * 1024 * 1024))
        await foreign.put(foreign.plain[None], 1, [large])
        await write_transactions(foreign)

    there, above = await seen(cluster, topic), await raw(cluster, topic)
    for batches in above:
        data = [batch for batch in batches if not batch.attributes & CONTROL]
        thinned = [batch for batch in data if 0 < batch.count <= batch.last_delta]
        assert any(len(batch.data) >= WORTH_BYTES for batch in thinned), "too little was cleaned"
        assert any(batch.attributes & DELETE_HORIZON for batch in data), "no tombstone was met"
        assert {batch.count for batch in data} >= {1, 2, 3, 2000}
    for one in itertools.chain(*there):
        assert one.value != b"aborted"
        assert not (one.key or b"").startswith(b"aborted")
    assert large in there[1]

    async with Running(link(cluster, topic, target, config=KEPT)) as running:
        total = sum(len(records) for records in there)
        await until_true(lambda: running.hop.events >= total and running.hop.lag == 0, 60)
        assert (running.hop.events, running.hop.error) == (total, None)
    here, below = await seen(cluster, target), await raw(cluster, target)
    for part in range(PARTITIONS):
        assert here[part] == there[part]
        assert {batch.attributes for batch in below[part]} == set(CODECS.values())
        passed = {payload(batch) for batch in below[part]}
        unopened = [
            batch
            for batch in above[part]
            if batch.count == batch.last_delta + 1 >= 2000
            and batch.records()[0].key != b"aborted-c-0"
        ]
        assert sorted(batch.codec for batch in unopened) == [0, 0, 1, 1, 2, 3, 4, 4]
        assert all(payload(batch) in passed for batch in unopened)


async def test_what_is_too_large_for_the_receiver_is_split_or_a_dead_letter(
    cluster: Cluster,
) -> None:
    """Red when the link passes on whatever it has, and when it opens no batch for its size: tried."""
    topic, target = "large", "large.copy"
    await ensure(cluster, [Topic(topic, PARTITIONS, DATA)])
    too_large = event(7, "key-7")
    async with Foreign(cluster, topic) as foreign:
        for part in range(PARTITIONS):
            await foreign.put(foreign.plain[None], part, some("before", 2000))
            for codec in (None, "zstd"):
                who = foreign.plain[codec]
                await foreign.put(who, part, some(f"split-{codec}", 60, size=50_000))
            if part == 1:
                value = random.Random(7).randbytes(2 * 1024 * 1024)
                headers = tuple(headers_of(too_large))
                refused = Written(too_large.key.encode(), value, headers)
                await foreign.put(foreign.plain[None], part, [*some("beside", 2), refused])
            await foreign.put(foreign.plain[None], part, some("after", 3))
    there = await seen(cluster, topic)
    largest = 1024 * 1024
    assert all(any(len(one.data) > largest for one in mine) for mine in await raw(cluster, topic))

    async with Running(
        link(cluster, topic, target, config={"max.message.bytes": str(largest)})
    ) as running:
        total = sum(len(records) for records in there) - 1
        await until_true(lambda: running.hop.events >= total and running.hop.lag == 0, 60)
        assert (running.hop.events, running.hop.rejected) == (total, 1)
    there[1].remove(refused)
    assert await seen(cluster, target) == there
    assert all(len(one.data) <= largest for mine in await raw(cluster, target) for one in mine)
    (letter,) = [one for one in await read_letters(cluster, [target]) if one["id"] == too_large.id]
    assert (letter["rule"], letter["key"]) == ("too-large", "key-7")
    assert f"in {topic}, partition 1, offset 2122" in letter["message"]


async def test_a_record_without_a_key_is_a_dead_letter_and_the_rest_flows_once(
    cluster: Cluster,
) -> None:
    """A compacted topic takes none, and the broker refuses the whole batch it is in.

    Red when the relay is not wary after a refusal: tried.
    """
    topic, target = "keyless", "keyless.copy"
    await ensure(cluster, [Topic(topic, PARTITIONS, KEPT)])

    def told(numbers: Iterable[int]) -> list[Written]:
        return [
            Written(b"key-%d" % number, b"{}", tuple(headers_of(event(number))))
            for number in numbers
        ]

    async with Foreign(cluster, topic) as foreign:
        for part in range(PARTITIONS):
            await foreign.put(
                foreign.plain["lz4"], part, told(range(part * 1000, part * 1000 + 500))
            )
        odd = Written(None, b"{}", tuple(headers_of(event(77_777, "nobody"))))
        batch = [*told(range(5_000, 5_400)), odd, *told(range(5_400, 5_800))]
        await foreign.put(foreign.plain[None], 1, batch)
    async with Running(link(cluster, topic, target)) as running:
        await until_true(lambda: running.hop.rejected == 1 and running.hop.lag == 0, 60)
        assert running.hop.state == "running"
    there = await seen(cluster, topic)
    there[1].remove(odd)
    assert await seen(cluster, target) == there
    letters = [one for one in await read_letters(cluster, [target]) if one["key"] == "nobody"]
    assert [letter["rule"] for letter in letters] == ["no-key"]


async def test_a_broker_refuses_a_batch_that_was_damaged_on_its_way_here(cluster: Cluster) -> None:
    """A link need not look into what it passes on. Red when ``sealed`` reckons a checksum of its own:
    tried."""
    part = ("damaged", 0)
    await ensure(cluster, [Topic(part[0], 1, DATA)])
    builder = Builder(10_000)
    for number in range(30):
        builder.append(b"key-%d" % number, b"value", [], BEGINNING)
    whole = bytes(builder.build().data)
    async with Connection(cluster) as connection:
        claim = Claim("damaged")
        await connection.writer(claim)
        (node,) = await connection.leaders([part])
        for at in (HEADER_BYTES + 20, len(whole) - 1):
            damaged = bytearray(whole)
            damaged[at] ^= 1
            (batch,) = split(bytes(damaged))
            with pytest.raises(Corrupt):
                await connection.produce(
                    node, {part: sealed(batch, claim.producer, claim.epoch, 0)}
                )
        (batch,) = split(whole)
        assert await connection.produce(
            node, {part: sealed(batch, claim.producer, claim.epoch, 0)}
        ) == {part: 0}


async def test_sequence_numbers_go_on_at_0_after_the_last_there_is(cluster: Cluster) -> None:
    """As Kafka counts; also within a batch. Red when the writer counts on: tried."""
    part = ("wrap", 0)
    await ensure(cluster, [Topic(part[0], 1, DATA)])
    async with Connection(cluster) as connection:
        writer = FencedProducer(connection, Claim("wrap"))
        await writer.start([part])
        writer._sequence[part] = (1 << 31) - 5
        offsets: list[int] = []
        for count in (3, 4, 2, 5):
            builder = Builder(10_000)
            for number in range(count):
                builder.append(b"key-%d" % number, b"value", [], BEGINNING)
            await writer.send(part, builder.build(), offsets.append)
        await writer.flush()
        await writer.close()
        assert offsets == [0, 3, 7, 9]
        (node,) = await connection.leaders([part])
        (answer,) = await connection.fetch(node, {part: 0})
        first = [int.from_bytes(one.data[53:57], "big") for one in split(answer.buffer)]
        assert first == [(1 << 31) - 5, (1 << 31) - 2, 2, 4]
