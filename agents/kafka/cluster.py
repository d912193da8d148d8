"""How to reach one Kafka cluster, and what the world's failures are called here."""

import contextlib
from collections.abc import Iterator

import aiokafka.errors as kafka_errors
import msgspec
from aiokafka import AIOKafkaProducer

from agents.base.config import NodeFile
from agents.base.errors import Corrupt, LevelsyncError, Policy, Superseded, Unavailable
from agents.base.kafka_access import Reach
from agents.kafka.access import Access
from agents.kafka.refusal import Why, why

#: Milliseconds a broker may take for one answer of its administration.
ADMIN_MS = 10_000


class Cluster(msgspec.Struct, frozen=True):
    """Addresses and settings of one cluster; ``replicas`` is the factor for topics made here."""

    bootstrap: str
    replicas: int = 1
    client: str = "levelsync"
    #: How clients are let in.
    access: Access = Access()


def nearest_cluster(config: NodeFile, client: str = "levelsync") -> Cluster:
    """The Kafka a node works with: its own, or at a leaf its parent's. Raises ConfigError."""
    return cluster_of(config.nearest, "kafka" if config.kafka else "parent", client)


def parent_cluster(config: NodeFile, client: str = "levelsync") -> Cluster:
    """The parent's, of a node that has one. Raises ConfigError."""
    assert config.parent
    return cluster_of(config.parent, "parent", client)


def cluster_of(reach: Reach, field: str, client: str = "levelsync") -> Cluster:
    """The cluster that the node file's table ``field`` names. Raises ConfigError."""
    access = Access(field, reach.tls, reach.sasl)
    return Cluster(reach.bootstrap, reach.replicas, client, access)


class NotLetIn(Unavailable):
    """Kafka does not let this agent in."""

    hint = "The agent tries again by itself."


def not_let_in(cluster: Cluster, found: Why, **facts: object) -> NotLetIn:
    """Why not, in words."""
    error = NotLetIn(
        f"Kafka at {cluster.bootstrap} does not let this agent in: expected {found.expected}, got"
        f" {found.found}, at `{found.field}`",
        **facts,
    )
    error.hint = f"{found.do} {NotLetIn.hint}"
    return error


class Denied(Exception):
    """A broker refuses for want of ``right`` on the ``kind`` of resource called ``name``."""

    def __init__(self, right: str, kind: str, name: str) -> None:
        self.right, self.kind, self.name = right, kind, name
        super().__init__(f"{right} on {kind} {name}")


class NotAllowed(LevelsyncError):
    """Kafka refuses this for want of rights."""

    policy = Policy.RETRY
    hint = "`levelsync acl NODE.toml` prints what the agent needs; the agent tries again by itself."


def _not_allowed(cluster: Cluster, missing: str, **facts: object) -> NotAllowed:
    return NotAllowed(
        f"Kafka at {cluster.bootstrap} refuses this for want of rights: {cluster.access.name} needs"
        f" {missing}",
        **facts,
    )


def plain_producer(cluster: Cluster) -> AIOKafkaProducer:
    """A producer, not started, for topics that are no copies: several agents may write them."""
    return AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap,
        client_id=cluster.client,
        enable_idempotence=True,
        request_timeout_ms=ADMIN_MS,
        **cluster.access.arguments(),
    )


@contextlib.contextmanager
def failures(cluster: Cluster, right: str = "", **facts: object) -> Iterator[None]:
    """Turn what the client raises into the agent's own errors, with ``facts``. ``right`` is the one on
    topics that is asked for inside, where the client itself does not tell of which it is in want."""
    try:
        yield
    except (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch) as error:
        raise Superseded(kafka=cluster.bootstrap, **facts) from error
    except Denied as error:
        missing = f"{error.right} on {error.kind} {error.name}".strip()
        raise _not_allowed(cluster, missing) from error
    except kafka_errors.TopicAuthorizationFailedError as error:
        topic = facts.get("topic") or facts.get("topics") or str(error)
        raise _not_allowed(cluster, f"{right or 'Describe'} on topic {_listed(topic)}") from error
    except kafka_errors.TransactionalIdAuthorizationFailed as error:
        writer = facts.get("writer", "")
        raise _not_allowed(cluster, f"Write on transactional id {writer}") from error
    except kafka_errors.ClusterAuthorizationFailedError as error:
        raise _not_allowed(
            cluster, f"{right or 'IdempotentWrite'} on the cluster", **facts
        ) from error
    except kafka_errors.CorruptRecordException as error:
        raise Corrupt(kafka=cluster.bootstrap, **facts) from error
    except (kafka_errors.KafkaError, OSError, TimeoutError, ValueError) as error:
        if found := why(error, cluster.access):
            raise not_let_in(cluster, found) from error
        if isinstance(error, ValueError):
            raise
        raise Unavailable(
            f"Kafka at {cluster.bootstrap} does not answer",
            said=str(error) or type(error).__name__,
            **facts,
        ) from error


def _listed(topics: object) -> str:
    return ", ".join(map(str, topics)) if isinstance(topics, (list, tuple)) else str(topics)
