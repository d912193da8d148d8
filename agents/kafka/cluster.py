"""How to reach one Kafka cluster, and what the world's failures are called here."""

import contextlib
from collections.abc import Iterator

import aiokafka.errors as kafka_errors
import msgspec
from aiokafka import AIOKafkaProducer

from agents.base.errors import Corrupt, LevelsyncError, Policy, Superseded, Unavailable

#: Milliseconds a broker may take for one answer of its administration.
ADMIN_MS = 10_000


class Cluster(msgspec.Struct, frozen=True):
    """Addresses and settings of one cluster; ``replicas`` is the factor for topics made here."""

    bootstrap: str
    replicas: int = 1
    client: str = "levelsync"


class NotAllowed(LevelsyncError):
    """Kafka refuses this for want of rights."""

    policy = Policy.RETRY
    hint = "Give the agent's user this right on the topic."


def plain_producer(cluster: Cluster) -> AIOKafkaProducer:
    """A producer, not started, for topics that are no copies: several agents may write them."""
    return AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap,
        client_id=cluster.client,
        enable_idempotence=True,
        request_timeout_ms=ADMIN_MS,
    )


@contextlib.contextmanager
def failures(cluster: Cluster, **facts: object) -> Iterator[None]:
    """Turn what the client raises into the agent's own errors, with ``facts``."""
    try:
        yield
    except (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch) as error:
        raise Superseded(kafka=cluster.bootstrap, **facts) from error
    except (
        kafka_errors.TopicAuthorizationFailedError,
        kafka_errors.TransactionalIdAuthorizationFailed,
        kafka_errors.ClusterAuthorizationFailedError,
    ) as error:
        raise NotAllowed(kafka=cluster.bootstrap, said=type(error).__name__, **facts) from error
    except kafka_errors.CorruptRecordException as error:
        raise Corrupt(kafka=cluster.bootstrap, **facts) from error
    except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(
            f"Kafka at {cluster.bootstrap} does not answer",
            said=str(error) or type(error).__name__,
            **facts,
        ) from error
