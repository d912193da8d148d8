"""What brokers say of rights: the entries there are, making more, and what we ourselves may do."""

from collections.abc import Iterable
from typing import NamedTuple

import aiokafka.errors as kafka_errors
from aiokafka.protocol.admin import CreateAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from agents.base.errors import LevelsyncError
from agents.kafka.cluster import Denied, failures
from agents.kafka.messages import Prepared
from agents.kafka.rights import TOPIC, WRITER, Right
from agents.kafka.wire import Connection

# https://kafka.apache.org/protocol: the numbers of org.apache.kafka.common.acl and .resource.
_OPERATIONS = {
    "All": 2, "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8,
    "ClusterAction": 9, "DescribeConfigs": 10, "AlterConfigs": 11, "IdempotentWrite": 12,
}  # fmt: skip
_KINDS = {TOPIC: 2, "group": 3, "cluster": 4, WRITER: 5}
_ANY, _LITERAL, _PREFIXED, _DENY, _ALLOW = 1, 3, 4, 2, 3
_TRANSACTION = 1
#: The operations of a topic that are not known, since it is not there.
_NONE = -(2**31)
_SECURITY_DISABLED = 54


class NoAuthorizer(LevelsyncError):
    """The brokers check no rights."""

    hint = (
        "Set `authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer` and"
        " `super.users` on every broker and controller; see docs/kafka-security.md."
    )


class NotMade(LevelsyncError):
    """Brokers do not make an entry."""


class Entries(NamedTuple):
    """Of some principals: what they are allowed, and what is denied them."""

    allowed: frozenset[Right]
    denied: frozenset[Right]


async def entries(connection: Connection, principals: Iterable[str]) -> Entries:
    """The entries of these principals, and of everybody. Raises NoAuthorizer, NotAllowed, Unavailable."""
    allowed: set[Right] = set()
    denied: set[Right] = set()
    operations = {code: name for name, code in _OPERATIONS.items()}
    kinds = {code: name for name, code in _KINDS.items()}
    for principal in sorted({*principals, "User:*"}):
        with failures(connection.cluster, "Describe"):
            answer = await connection.ask(_Described(_ANY, None, _ANY, principal, None, _ANY, _ANY))
            _check(answer.error_code, "Describe")
        for kind, name, pattern, acls in answer.resources:
            for whose, _host, operation, permission in acls:
                right = Right(
                    whose, kinds.get(kind, str(kind)), name, pattern == _PREFIXED,
                    operations.get(operation, str(operation)),
                )  # fmt: skip
                (allowed if permission == _ALLOW else denied).add(right)
    return Entries(frozenset(allowed), frozenset(denied))


async def allow(connection: Connection, rights: Iterable[Right]) -> None:
    """Make these entries, for every host. Raises NoAuthorizer, NotMade, NotAllowed, Unavailable."""
    wanted = list(rights)
    if not wanted:
        return
    made = [
        (
            _KINDS[each.kind], each.name, _PREFIXED if each.prefixed else _LITERAL,
            each.principal, "*", _OPERATIONS[each.operation], _ALLOW,
        )
        for each in wanted
    ]  # fmt: skip
    with failures(connection.cluster, "Alter"):
        answer = await connection.ask(_Created(made))
        for (code, said), each in zip(answer.creation_responses, wanted, strict=True):
            _check(code, "Alter")
            if code:
                raise NotMade(said or kafka_errors.for_code(code).__name__, entry=each)


def _check(code: int, right: str) -> None:
    if code == _SECURITY_DISABLED:
        raise NoAuthorizer
    if code == kafka_errors.ClusterAuthorizationFailedError.errno:
        raise Denied(right, "cluster", "(an admin has it)")


async def may(connection: Connection, topics: Iterable[str]) -> dict[str, frozenset[str] | None]:
    """What we may do with each topic; None where that is not known, since it is not there. Raises
    Unavailable."""
    names = sorted(set(topics))
    if not names:
        return {}
    with failures(connection.cluster):
        answer = await connection.ask(_Metadata(names, False, False, True))
    found: dict[str, frozenset[str] | None] = {}
    for code, name, _, _, bits in answer.topics:
        if code == kafka_errors.UnknownTopicOrPartitionError.errno or bits == _NONE:
            found[name] = (
                None if code != kafka_errors.TopicAuthorizationFailedError.errno else frozenset()
            )
        else:
            found[name] = frozenset(op for op, at in _OPERATIONS.items() if bits >> at & 1)
    return found


async def may_write_as(connection: Connection, writer: str) -> bool:
    """May we see the transactional id ``writer``? Who may write under it may. Raises Unavailable."""
    with failures(connection.cluster):
        answer = await connection.ask(FindCoordinatorRequest(writer, _TRANSACTION))
    return bool(answer.error_code != kafka_errors.TransactionalIdAuthorizationFailed.errno)


# ---- requests ------------------------------------------------------------------------------------


class _Prepared(Prepared):
    SINCE = "2.3"


class _Described(_Prepared, DescribeAclsRequest_v1):  # type: ignore[misc]
    pass


class _Created(_Prepared, CreateAclsRequest_v1):  # type: ignore[misc]
    pass


class _MetadataAnswer(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 3, 8
    SCHEMA = Schema(
        ("throttle_ms", Int32),
        (
            "brokers",
            Array(
                ("node", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster", String("utf-8")),
        ("controller", Int32),
        (
            "topics",
            Array(
                ("code", Int16),
                ("name", String("utf-8")),
                ("internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("in_sync", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("operations", Int32),
    )


class _Metadata(_Prepared, RequestStruct):  # type: ignore[misc]
    """Version 8 tells what the asker may do with each topic (KIP-430)."""

    API_KEY, API_VERSION = 3, 8
    RESPONSE_TYPE = _MetadataAnswer
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("create", Boolean),
        ("cluster_operations", Boolean),
        ("topic_operations", Boolean),
    )
