"""The requests and answers that aiokafka has not, or whose data it copies and we do not.

https://kafka.apache.org/protocol. aiokafka gives the types to describe them by.
"""

import io
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Self

import aiokafka.errors as kafka_errors
import msgspec
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest_v11
from aiokafka.protocol.produce import ProduceRequest_v8
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from agents.kafka.batches import Sealed

#: (topic, partition)
Part = tuple[str, int]
FETCH_BYTES = 8 * 1024 * 1024
FETCH_PART_BYTES = 1024 * 1024
READ_COMMITTED = 1


class Prepared:
    """A request that goes out in the one version it is written in, to brokers from ``SINCE`` on."""

    API_KEY: int
    API_VERSION: int
    SINCE = "2.5"

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        """Raises IncompatibleBrokerVersion where the broker does not speak that version."""
        least, most = versions.get(self.API_KEY, (0, -1))
        if not least <= self.API_VERSION <= most:
            raise kafka_errors.IncompatibleBrokerVersion(f"Expected Kafka {self.SINCE} or newer")
        return self


class InitProducerIdAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 22, 3
    SCHEMA = Schema(
        ("throttle_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerId(Prepared, RequestStruct):  # type: ignore[misc]
    """Version 3, Kafka 2.5 and newer: may say which writer we were (KIP-360). aiokafka has only 0."""

    API_KEY, API_VERSION, FLEXIBLE_VERSION = 22, 3, True
    RESPONSE_TYPE = InitProducerIdAnswer
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


_REPLICA = CompactArray(
    ("replica", Int32),
    ("end", Int64),
    ("last_fetch_ms", Int64),
    ("caught_up_ms", Int64),
    ("tags", TaggedFields),
)


class DescribeQuorumAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 55, 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader", Int32),
                        ("epoch", Int32),
                        ("high_watermark", Int64),
                        ("voters", _REPLICA),
                        ("observers", _REPLICA),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeQuorum(Prepared, RequestStruct):  # type: ignore[misc]
    """Version 1, Kafka 3.3 and newer (KIP-836): says when each controller was last caught up."""

    API_KEY, API_VERSION, FLEXIBLE_VERSION = 55, 1, True
    RESPONSE_TYPE = DescribeQuorumAnswer
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


# ---- the two requests that carry data ----------------------------------------------------------
#
# https://kafka.apache.org/protocol, fetch version 11 and produce version 8: every Kafka from 2.4 on.


class Answer(msgspec.Struct):
    """A broker's answer for one partition: raw batches, and the end of what may be read."""

    part: Part
    buffer: memoryview
    end: int
    aborted: list[tuple[int, int]]


class Fetch(Prepared, FetchRequest_v11):  # type: ignore[misc]
    def __init__(self, wanted: Mapping[Part, int], wait_ms: int) -> None:
        super().__init__(
            -1, wait_ms, 1, FETCH_BYTES, READ_COMMITTED, 0, -1,
            by_topic(
                (part, (part[1], -1, offset, -1, FETCH_PART_BYTES))
                for part, offset in wanted.items()
            ),
            [], "",
        )  # fmt: skip


class _Fetched:
    """The answer, its batches left where they lie."""

    code: int
    answers: list[tuple[int, Answer]]

    @classmethod
    def decode(cls, stream: io.BytesIO) -> "_Fetched":
        data, at = stream.getvalue(), stream.tell()
        view = memoryview(data)
        found = cls()
        _, found.code, _, topics = struct.unpack_from(">ihii", data, at)
        found.answers = []
        at += 14
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", data, at)
            topic = data[at + 2 : at + 2 + length].decode()
            at += 2 + length
            (partitions,) = struct.unpack_from(">i", data, at)
            at += 4
            for _ in range(partitions):
                partition, code, _, end, _, lost = struct.unpack_from(">ihqqqi", data, at)
                at += 34
                aborted = [
                    struct.unpack_from(">qq", data, at + 16 * number)
                    for number in range(max(lost, 0))
                ]
                at += 16 * max(lost, 0)
                _, size = struct.unpack_from(">ii", data, at)
                at += 8
                buffer = view[at : at + max(size, 0)]
                at += max(size, 0)
                found.answers.append((code, Answer((topic, partition), buffer, end, aborted)))
        return found


Fetch.RESPONSE_TYPE = _Fetched


class Produce(Prepared, ProduceRequest_v8):  # type: ignore[misc]
    def __init__(self, batches: Mapping[Part, Sealed]) -> None:
        self._batches = batches

    def pieces(self) -> list[bytes | memoryview]:
        """The request's body, not yet copied together."""
        topics = by_topic((part, (part[1], batch)) for part, batch in self._batches.items())
        pieces: list[bytes | memoryview] = [struct.pack(">hhii", -1, -1, 30_000, len(topics))]
        for topic, partitions in topics:
            name = topic.encode()
            pieces.append(struct.pack(">h", len(name)) + name + struct.pack(">i", len(partitions)))
            for partition, batch in partitions:
                pieces += (struct.pack(">ii", partition, batch.size), batch.head, batch.tail)
        return pieces


def by_topic(entries: Iterable[tuple[Part, Any]]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = {}
    for (topic, _), entry in entries:
        topics.setdefault(topic, []).append(entry)
    return list(topics.items())
