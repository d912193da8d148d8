"""The line to a Kafka cluster, reaching inside aiokafka, which keeps the connections and the metadata.

The two requests that carry data (:mod:`agents.kafka.messages`) go their own way over its connections, so
that batches pass as they are. This holds for aiokafka 0.14 alone (pinned) and is held by tests on a
real broker.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiokafka.conn
import aiokafka.errors as kafka_errors
import msgspec
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.conn import create_conn
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import BrokerMetadata, TopicPartition

from agents.base.errors import PositionGone, Refused, Unavailable
from agents.kafka.batches import Sealed
from agents.kafka.cluster import Cluster, Denied, failures, not_let_in
from agents.kafka.messages import (
    READ_COMMITTED,
    Answer,
    DescribeQuorum,
    Fetch,
    InitProducerId,
    Part,
    Produce,
    by_topic,
)
from agents.kafka.refusal import looked_at, why

T = TypeVar("T")


#: How long a broker may take to let us in, or for a small answer, before it counts as away. Short: an
#: attempt that began while the line was cut must not outlive the cut for long.
ANSWER_MS = 2_500
#: How old what is known of topics and partitions may be.
METADATA_MS = 2_000
#: How long a large answer may stand still: no byte of it coming, none of ours accepted. A client that
#: lost a broker does not always find back to it: a new one, which costs a fence and a look at the
#: copy's end, does. A slow line may take as long as it needs.
STALL_S = 4.0
#: How long everything that opens a connection may take.
OPEN_S = 15.0
#: No honest answer is larger: a fetch asks for ``messages.FETCH_BYTES``, and one batch may exceed it.
FRAME_BYTES = 256 * 1024 * 1024
#: A topic's ``max.message.bytes`` where we may not ask: Kafka's default.
DEFAULT_LARGEST = 1_048_588

#: Data has a connection of its own, so that small questions do not wait behind a long poll.
_DATA = ConnectionGroup.COORDINATION
#: What a broker is called until it has said its number.
_ANY = -1
_LATEST, _EARLIEST = -1, -2
_TOPIC_RESOURCE = 2
#: Not known to aiokafka: a record the topic cannot take, such as one without a key when it is compacted.
_INVALID_RECORD = 87
#: What is raised where the other end hangs up.
_SAID_NOTHING = (kafka_errors.KafkaConnectionError, ConnectionError, ssl.SSLError)
#: Want of rights, by the kind of resource.
_DENIED = {
    kafka_errors.TopicAuthorizationFailedError.errno: "topic",
    kafka_errors.TransactionalIdAuthorizationFailed.errno: "transactional id",
    kafka_errors.ClusterAuthorizationFailedError.errno: "cluster",
}
#: The answers of brokers that are about to know.
_SOON = (
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.NotCoordinatorError,
    kafka_errors.ConcurrentTransactions,
)
#: Sockets are read in pieces up to this large; aiokafka's own limit is 64 KB.
aiokafka.conn.READER_LIMIT = 1024 * 1024


class _Bearer(aiokafka.conn.OAuthAuthenticator):  # type: ignore[misc]
    """Hears a broker that refuses the token: its answer then is not empty (RFC 7628, section 3.2.2), and
    the one this takes the place of goes on as if it were let in."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if self._token_sent and payload:
            raise kafka_errors.SaslAuthenticationFailed(payload[:200].decode(errors="replace"))
        found: tuple[bytes, bool] | None = await super().step(payload)
        return found


aiokafka.conn.OAuthAuthenticator = _Bearer


class Limits(NamedTuple):
    """What a topic takes: the largest batch in bytes, and whether every record needs a key."""

    largest: int
    keyed: bool


class Connection:
    """A client of one cluster that fetches and writes raw batches where it is told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._client: AIOKafkaClient | None = None
        self._topics: set[str] = set()

    async def __aenter__(self) -> "Connection":
        self._client = _Client(
            bootstrap_servers=self.cluster.bootstrap,
            client_id=self.cluster.client,
            request_timeout_ms=ANSWER_MS,
            metadata_max_age_ms=METADATA_MS,
            **self.cluster.access.arguments(),
        )
        try:
            with failures(self.cluster):
                async with asyncio.timeout(OPEN_S):
                    await self._bootstrap(self._client)
        except BaseException:
            await self.close()
            raise
        return self

    async def _bootstrap(self, client: "_Client") -> None:
        try:
            await client.bootstrap()
        except _Silent as error:
            access = self.cluster.access
            if found := why(error, access) or await looked_at(error.host, error.port, access):
                raise not_let_in(self.cluster, found) from error
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(TimeoutError, kafka_errors.KafkaError):
                async with asyncio.timeout(2.0):
                    await client.close()

    async def topics(self) -> dict[str, int]:
        """Every topic this user may see, with its number of partitions."""
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                seen = await self._open.fetch_all_metadata()
        return {topic: len(seen.partitions_for_topic(topic)) for topic in seen.topics()}

    async def permitted(self, topics: Iterable[str]) -> None:
        """Raise NotAllowed when we may not know whether one of ``topics`` is there."""
        with failures(self.cluster):
            answer = await self.ask(MetadataRequest(sorted(topics), False))
            for code, topic, *_ in answer.topics:
                _raise(code if code in _DENIED else 0, "Describe", topic)

    async def ask(self, request: Any) -> Any:
        """Send a small question to some broker; its answer. Raises what aiokafka does."""
        async with asyncio.timeout(OPEN_S):
            return await self._open.send(self._open.get_random_node(), request)

    def peer_until(self) -> str:
        """The end of the certificate of a broker we are connected to, as OpenSSL writes it; empty without
        TLS."""
        for connection in self._open._conns.values():
            writer = connection._writer
            if writer and (tls := writer.get_extra_info("ssl_object")):
                return str(tls.getpeercert().get("notAfter", ""))
        return ""

    def brokers(self) -> int:
        """How many brokers the cluster had when last heard of; asks nobody."""
        return len(self._open.cluster.brokers())

    def partitions(self, topic: str) -> int:
        """How many partitions ``topic`` had when last heard of, 0 when nothing was; asks nobody."""
        return len(self._open.cluster.partitions_for_topic(topic) or ())

    async def ends(self, parts: Iterable[Part]) -> dict[Part, tuple[int, int]]:
        """First offset, and offset after the last record, of each partition, in the order given."""
        parts = list(parts)
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                leaders = await self.leaders(parts)
                # All at once: on a long line each answer in turn would be felt.
                firsts, ends = await asyncio.gather(
                    self._offsets(leaders, _EARLIEST), self._offsets(leaders, _LATEST)
                )
        return {part: (firsts[part], ends[part]) for part in parts}

    async def first_since(self, part: Part, when: int) -> int | None:
        """Offset of the first record of ``when``, milliseconds since 1970 UTC, or later; None if none."""
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                offset = (await self._offsets(await self.leaders([part]), when))[part]
        return None if offset < 0 else offset

    async def _offsets(self, leaders: Mapping[int, list[Part]], when: int) -> dict[Part, int]:
        found = {}
        requests = [
            self._open.send(
                node,
                OffsetRequest(
                    -1, READ_COMMITTED, by_topic((part, (part[1], when)) for part in mine)
                ),
            )
            for node, mine in leaders.items()
        ]
        for answer in await asyncio.gather(*requests):
            for topic, partitions in answer.topics:
                for partition, code, *_, offset in partitions:
                    _raise(code, "Describe", topic)
                    found[topic, partition] = offset
        return found

    async def leaders(self, parts: Iterable[Part]) -> dict[int, list[Part]]:
        """The partitions by the broker to ask. Raises Unavailable while one has no leader."""
        client = self._open
        parts = list(parts)
        missing: Part | None = None
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                # All ever asked for: those who ask side by side must not undo each other.
                self._topics |= {topic for topic, _ in parts}
                await client.set_topics(self._topics)
            for attempt in range(5):
                by_node: dict[int, list[Part]] = {}
                missing = None
                for part in parts:
                    leader = client.cluster.leader_for_partition(TopicPartition(*part))
                    if leader is None or leader == -1:
                        missing = part
                        break
                    by_node.setdefault(leader, []).append(part)
                if missing is None:
                    return by_node
                if missing[0] in client.cluster.unauthorized_topics:
                    raise Denied("Describe", "topic", missing[0])
                await asyncio.sleep(0.1 * attempt)
                await client.force_metadata_update()
        raise Unavailable("A partition has no leader", partition=missing)

    async def settings(
        self, topics: Iterable[str], names: Iterable[str]
    ) -> dict[str, dict[str, str]]:
        """These settings of each topic, as they are in force; a topic that may not be asked of is left
        out. Raises Unavailable, NotAllowed."""
        wanted, asked, found = list(names), sorted(set(topics)), dict[str, dict[str, str]]()
        with failures(self.cluster, topics=asked):
            async with asyncio.timeout(OPEN_S):
                answer = await self._open.send(
                    self._open.get_random_node(),
                    DescribeConfigsRequest([(_TOPIC_RESOURCE, name, wanted) for name in asked]),
                )
        for code, _, _, name, entries, *_ in answer.resources:
            if not code:
                found[name] = {entry[0]: entry[1] or "" for entry in entries}
        return found

    def copies(self, topic: str) -> int:
        """Of how many brokers each partition of ``topic`` is kept, when last heard of; asks nobody."""
        seen = self._open.cluster._partitions.get(topic, {})
        return min((len(partition.replicas) for partition in seen.values()), default=0)

    async def clock(self) -> float | None:
        """Seconds since 1970 UTC by the clock of the cluster's controller; None where it cannot be asked
        (Kafka with ZooKeeper, or no right to describe the cluster). Raises Unavailable."""
        client, asked = self._open, DescribeQuorum([("__cluster_metadata", [(0, {})], {})], {})
        with failures(self.cluster):
            async with asyncio.timeout(OPEN_S):
                try:
                    answer = await client.send(client.get_random_node(), asked)
                except kafka_errors.IncompatibleBrokerVersion:
                    return None
        for _, partitions, _ in answer.topics:
            for _, code, leader, _, _, voters, *_ in partitions:
                for replica, _, _, caught_up, _ in voters:
                    # The leader itself is caught up as of the moment it answers.
                    if not code and replica == leader and caught_up > 0:
                        return float(caught_up / 1000)
        return None

    async def limits(self, topics: Iterable[str]) -> dict[str, Limits]:
        """What each topic takes."""
        names = sorted(set(topics))
        found = dict.fromkeys(names, Limits(DEFAULT_LARGEST, keyed=False))
        with failures(self.cluster, topics=names):
            async with asyncio.timeout(OPEN_S):
                answer = await self._open.send(
                    self._open.get_random_node(),
                    DescribeConfigsRequest(
                        [
                            (_TOPIC_RESOURCE, name, ["max.message.bytes", "cleanup.policy"])
                            for name in names
                        ]
                    ),
                )
        for code, _, _, name, entries, *_ in answer.resources:
            if not code and entries:
                values = {entry[0]: entry[1] for entry in entries}
                found[name] = Limits(
                    int(values["max.message.bytes"]), keyed="compact" in values["cleanup.policy"]
                )
        return found

    async def fetch(
        self, node: int, wanted: Mapping[Part, int], *, wait_ms: int = 500
    ) -> list[Answer]:
        """Raw batches from each wanted offset on; answers at once when there is anything.

        Raises PositionGone when an offset is not there any more, Unavailable, NotAllowed.
        """
        with failures(self.cluster, topics=sorted({topic for topic, _ in wanted})):
            response = await self._patiently(node, self._data(node, Fetch(wanted, wait_ms)))
            _raise(response.code)
            answers = []
            for code, answer in response.answers:
                if code == kafka_errors.OffsetOutOfRangeError.errno:
                    raise PositionGone(
                        kafka=self.cluster.bootstrap,
                        topic=answer.part[0],
                        partition=answer.part[1],
                        offset=wanted[answer.part],
                    )
                _raise(code, "Read", answer.part[0])
                answers.append(answer)
        return answers

    async def writer(self, claim: "Claim") -> None:
        """Make ``claim`` the newest writer under its identity.

        From its first write to a partition on, brokers refuse the writer before. Raises Superseded
        when another one has come after what the claim says.
        """
        identity = claim.identity
        client = self._open
        with failures(self.cluster, writer=identity):
            async with asyncio.timeout(OPEN_S):
                while True:
                    try:
                        node = await client.coordinator_lookup(
                            CoordinationType.TRANSACTION, identity
                        )
                        answer = await client.send(
                            node, InitProducerId(identity, 60_000, claim.producer, claim.epoch, {})
                        )
                        _raise(answer.error_code, "Write", identity)
                        claim.producer, claim.epoch = answer.producer_id, answer.producer_epoch
                        return
                    except (*_SOON, kafka_errors.NodeNotReadyError):
                        await asyncio.sleep(0.1)

    async def produce(self, node: int, batches: Mapping[Part, Sealed]) -> dict[Part, int]:
        """Write one batch to each partition, all led by ``node``; their base offsets.

        Batches of requests begun one after the other arrive in that order. Never tries again.
        """
        with failures(self.cluster, topics=sorted({topic for topic, _ in batches})):
            response = await self._data(node, Produce(batches))
            offsets = {}
            for topic, partitions in response.topics:
                for partition, code, offset, *_ in partitions:
                    _raise(code, "Write", topic)
                    offsets[topic, partition] = offset
        return offsets

    async def reach(self, nodes: Iterable[int]) -> None:
        """Open the data connections to these brokers."""
        with failures(self.cluster):
            await asyncio.gather(*(self._data_connection(node) for node in nodes))

    def moved(self, node: int) -> int:
        """Bytes that went over the data connection to a broker either way, as the system counts.

        Each broker for itself: one that answers must not hide one that does not.
        """
        connection = self._open._conns.get((node, _DATA))
        return _moved(connection) if connection else 0

    async def _data(self, node: int, request: Any) -> Any:
        connection = await self._data_connection(node)
        return await _send(connection, request)

    async def _data_connection(self, node: int) -> Any:
        client = self._open
        await client.ready(node, group=_DATA)
        connection = client._conns[node, _DATA]
        connection._request_timeout = None  # data may take its time, see _patiently
        connection._reader.__class__ = _FrameReader
        return connection

    async def _patiently(self, node: int, work: Awaitable[T]) -> T:
        """Wait for ``work`` as long as its connection moves. Raises Unavailable."""
        task = asyncio.ensure_future(work)
        try:
            moved = self.moved(node)
            while not task.done():
                await asyncio.wait((task,), timeout=STALL_S)
                if not task.done():
                    now = self.moved(node)
                    if now == moved:
                        raise stalled(self.cluster)
                    moved = now
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    @property
    def _open(self) -> AIOKafkaClient:
        if self._client is None:
            raise Unavailable("The connection is closed", kafka=self.cluster.bootstrap)
        return self._client


def stalled(cluster: Cluster, **facts: object) -> Unavailable:
    """The line to ``cluster`` is open and nothing moves on it."""
    return Unavailable(f"Kafka at {cluster.bootstrap} does not answer", **facts)


class _Silent(kafka_errors.KafkaConnectionError):  # type: ignore[misc]
    """A listener ended the connection and did not say why."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        super().__init__(f"{host}:{port} ends the connection")


class _Client(AIOKafkaClient):  # type: ignore[misc]
    """Goes on over the connection on which it met the cluster: a new one costs two round trips. And it
    tells why it cannot connect."""

    #: Why the last attempt to connect failed.
    _failed: Exception | None = None

    async def bootstrap(self) -> None:
        """Connect to the first address that answers. Raises KafkaConnectionError from what went wrong
        at the last."""
        for host, port, _ in self.hosts:
            self.cluster._brokers = {_ANY: BrokerMetadata(_ANY, host, port, None)}
            first = await self._get_conn(_ANY)
            if first is None:
                continue
            del self._conns[_ANY, ConnectionGroup.DEFAULT]
            try:
                self.cluster.update_metadata(await first.send(MetadataRequest([])))
            except (kafka_errors.KafkaError, TimeoutError) as error:
                self._failed = error
                first.close()
                continue
            for broker in self.cluster.brokers():
                if (broker.host, broker.port) == (host, port):
                    self._conns[broker.nodeId, ConnectionGroup.DEFAULT] = first
                    break
            else:
                first.close()
            if not self.cluster.broker_metadata(_ANY):
                self._sync_task = asyncio.create_task(self._md_synchronizer(), name="metadata")
                return
        if isinstance(self._failed, _SAID_NOTHING) and not isinstance(
            self._failed, ConnectionRefusedError
        ):
            raise _Silent(host, port) from self._failed
        raise kafka_errors.KafkaConnectionError(
            f"No broker answers at {self._bootstrap_servers}"
        ) from self._failed

    async def ready(
        self, node_id: int, *, group: ConnectionGroup = ConnectionGroup.DEFAULT
    ) -> bool:
        """True; raises NodeNotReadyError from the reason."""
        if await self._get_conn(node_id, group=group) is None:
            raise kafka_errors.NodeNotReadyError(
                f"broker {node_id} cannot be reached"
            ) from self._failed
        return True

    async def _get_conn(
        self,
        node_id: int,
        *,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
        no_hint: bool = False,
    ) -> Any:
        """As the one it takes the place of, and remembers why there is none."""
        key = (node_id, group)
        if key in self._conns:
            if self._conns[key].connected():
                return self._conns[key]
            del self._conns[key]
        broker = self.cluster.broker_metadata(node_id)
        try:
            if broker is None:
                raise kafka_errors.StaleMetadata(f"broker {node_id} is not known any more")
            async with self._get_conn_lock:
                if key not in self._conns:
                    self._conns[key] = await create_conn(
                        broker.host,
                        broker.port,
                        client_id=self._client_id,
                        request_timeout_ms=self._request_timeout_ms,
                        ssl_context=self._ssl_context,
                        security_protocol=self._security_protocol,
                        on_close=self._on_connection_closed,
                        max_idle_ms=self._connections_max_idle_ms,
                        sasl_mechanism=self._sasl_mechanism,
                        sasl_plain_username=self._sasl_plain_username,
                        sasl_plain_password=self._sasl_plain_password,
                        sasl_oauth_token_provider=self._sasl_oauth_token_provider,
                    )
        except (OSError, TimeoutError, kafka_errors.KafkaError, ValueError) as error:
            self._failed = error
            self.force_metadata_update()
            return None
        self._failed = None
        return self._conns[key]


class Claim(msgspec.Struct):
    """A transactional id, and the writer we last were under it: -1 when we never were.

    Who keeps it over a lost connection takes up its own again, and is told when another has taken
    over meanwhile; who begins without takes over from whoever there is.
    """

    identity: str
    producer: int = -1
    epoch: int = -1


class _FrameReader(asyncio.StreamReader):
    """Puts a large frame together once, when all of it has come.

    The reader it takes the place of lets a buffer grow piece by piece, which copies the frame again
    and again, and wakes its reader for each piece.
    """

    _pieces: list[bytes]
    _missing = 0

    async def readexactly(self, n: int) -> bytes:
        if n - len(self._buffer) < 64 * 1024:  # type: ignore[attr-defined]
            return await super().readexactly(n)
        if n > FRAME_BYTES:
            raise kafka_errors.KafkaConnectionError(f"a frame of {n} bytes, no broker's")
        self._pieces, self._missing = [bytes(self._buffer)], n - len(self._buffer)  # type: ignore[attr-defined]
        self._buffer.clear()  # type: ignore[attr-defined]
        try:
            while self._missing:
                if self._exception is not None:  # type: ignore[attr-defined]
                    raise self._exception  # type: ignore[attr-defined]
                if self._eof:  # type: ignore[attr-defined]
                    raise asyncio.IncompleteReadError(b"".join(self._pieces), n)
                await self._wait_for_data("readexactly")  # type: ignore[attr-defined]
            return b"".join(self._pieces)
        finally:
            self._pieces, self._missing = [], 0

    def feed_data(self, data: Any) -> None:
        missing = self._missing
        if not missing:
            super().feed_data(data)
        elif len(data) < missing:
            self._pieces.append(data)
            self._missing -= len(data)
        else:
            self._pieces.append(data[:missing])
            self._missing = 0
            self._buffer += data[missing:]  # type: ignore[attr-defined]
            self._wakeup_waiter()  # type: ignore[attr-defined]


def _send(connection: Any, request: Any) -> Awaitable[Any]:
    """As the connection's own ``send``, but that a large request is copied once, not three times."""
    if not isinstance(request, Produce):
        sent: Awaitable[Any] = connection.send(request)
        return sent
    if connection._writer is None:
        raise kafka_errors.KafkaConnectionError("The connection is closed")
    request = request.prepare(connection._versions)
    number = connection._next_correlation_id()
    header = request.build_request_header(
        correlation_id=number, client_id=connection._client_id
    ).encode()
    pieces = request.pieces()
    size = len(header) + sum(map(len, pieces))
    connection._writer.write(b"".join((struct.pack(">i", size), header, *pieces)))
    future: asyncio.Future[Any] = connection._loop.create_future()
    connection._requests.append((number, request, future))
    return future


def _moved(connection: Any) -> int:
    """Bytes acknowledged and received, by ``struct tcp_info`` of Linux; 0 elsewhere."""
    writer = connection._writer
    sock = writer and writer.get_extra_info("socket")
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return 0
    with contextlib.suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        if len(info) >= 136:
            acknowledged, received = struct.unpack_from("QQ", info, 120)
            return int(acknowledged + received)
    return 0


def _raise(code: int, right: str = "", name: str = "") -> None:
    """Raise what ``code`` stands for, unless it is 0. Where it is a want of rights, that is the one we
    asked for, on the topic or transactional id of that name."""
    if code == _INVALID_RECORD:
        raise Refused
    if code in _DENIED:
        raise Denied(right, _DENIED[code], name)
    if code:
        raise kafka_errors.for_code(code)
