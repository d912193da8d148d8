"""A node as an AsyncAPI 3.0 document: its topics, who writes and reads them, what their records are.

The application is the node's agent: it *sends* what it writes (what the node owns, its views, what its
link copies, dead letters) and *receives* what it reads from a neighbour's cluster or from what its
children push. Records are CloudEvents 1.0 in Kafka's binary mode, so attributes are message headers and
the payload is the record alone. Payloads are the reader's schemas: a newer revision may have more fields.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from contracts.export.asyncapi_schemas import (
    DEAD_LETTER,
    SIGNED,
    any_terms,
    cloudevent,
    headers,
)
from contracts.export.json_schema import joined, json_schema
from contracts.model import Contract, Mask, WrongContract
from contracts.projection import project
from contracts.text import Text

Security = Literal["plain", "scram-sha-256", "scram-sha-512", "tls"]

_KAFKA = {"bindingVersion": "0.5.0"}
_SCHEMES: dict[Security, dict[str, str]] = {
    "plain": {"type": "plain", "description": "SASL/PLAIN"},
    "scram-sha-256": {"type": "scramSha256", "description": "SASL/SCRAM-SHA-256"},
    "scram-sha-512": {"type": "scramSha512", "description": "SASL/SCRAM-SHA-512"},
    "tls": {"type": "X509", "description": "TLS 双向认证 | mutual TLS"},
}


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Brokers, ``host:port`` with commas between, and how one proves who one is to them: by any of
    ``security``; empty where they ask for nothing. ``tls`` encrypts."""

    node: str
    bootstrap: str
    security: tuple[Security, ...] = ()
    tls: bool = False


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A contract that crosses between this node and ``neighbour``, with what the grant gives of it.

    ``terms_known`` is False where the grant is the neighbour's and has not been read: then any field
    but key and scope may be missing or masked.
    """

    contract: str
    neighbour: str
    fields: tuple[str, ...] = ()
    mask: dict[str, Mask] = {}
    purpose: str = ""
    terms_known: bool = True


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """What the document says of a node. ``owns`` are contracts by name; ``gives`` go down to
    children, ``received`` came up from them; ``pulls`` come from the parent, ``pushes`` go to it."""

    id: str
    name: str
    version: str
    cluster: Cluster
    owns: tuple[str, ...] = ()
    gives: tuple[Flow, ...] = ()
    received: tuple[Flow, ...] = ()
    parent: Cluster | None = None
    pulls: tuple[Flow, ...] = ()
    pushes: tuple[Flow, ...] = ()


def asyncapi(node: NodeView, contracts: Mapping[str, Contract]) -> dict[str, Any]:
    """The document of ``node``. Raises WrongContract for a contract that is not among ``contracts``
    and where flows name a parent that there is not."""
    return _Document(node, contracts).made()


class _Document:
    def __init__(self, node: NodeView, contracts: Mapping[str, Contract]) -> None:
        self._node = node
        self._contracts = contracts
        self._servers: dict[str, dict[str, Any]] = {}
        self._channels: dict[str, dict[str, Any]] = {}
        self._operations: dict[str, dict[str, Any]] = {}
        self._messages: dict[str, dict[str, Any]] = {}
        self._schemas: dict[str, dict[str, Any]] = {"cloudevent": cloudevent()}
        self._schemes: dict[str, dict[str, str]] = {}

    def made(self) -> dict[str, Any]:
        node = self._node
        here = self._cluster("node", node.cluster, "本节点 | This node")
        for name in node.owns:
            self._data(name, Flow(contract=name, neighbour=""), here, "send", "owned")
            self._dead(name, here)
        for flow in node.gives:
            self._data(f"{flow.contract}.to.{flow.neighbour}", flow, here, "send", "view")
        for flow in node.received:
            topic = f"{flow.contract}.from.{flow.neighbour}"
            self._data(topic, flow, here, "receive", "received")
            self._dead(topic, here)
        self._with_parent(here)
        self._descriptors(here)
        return {
            "asyncapi": "3.0.0",
            "id": f"urn:levelsync:node:{node.id}",
            "info": {
                "title": f"{node.name} ({node.id})",
                "version": node.version,
                "description": "本节点的主题与消息。 | Topics and messages of this node.",
            },
            "defaultContentType": "application/json",
            "servers": self._servers,
            "channels": self._channels,
            "operations": self._operations,
            "components": {
                "messages": self._messages,
                "schemas": self._schemas,
                **({"securitySchemes": self._schemes} if self._schemes else {}),
            },
        }

    def _with_parent(self, here: Sequence[str]) -> None:
        node = self._node
        if node.parent is None:
            if node.pulls or node.pushes:
                raise WrongContract(
                    f"Expected a parent of {node.id} to pull from and push to, got none"
                )
            return
        above = self._cluster("parent", node.parent, "上级节点 | Parent node")
        for flow in node.pulls:
            # A view's name is of two neighbours: there the reader's, here the giver's.
            self._data(f"{flow.contract}.to.{node.id}", flow, above, "receive", "view")
            topic = f"{flow.contract}.from.{flow.neighbour}"
            self._data(topic, flow, here, "send", "received")
            self._dead(topic, here)
        for flow in node.pushes:
            self._data(f"{flow.contract}.to.{flow.neighbour}", flow, here, "send", "view")
            topic = f"{flow.contract}.from.{node.id}"
            self._data(topic, flow, above, "send", "received")
            self._dead(topic, above)

    # ---- servers ----

    def _cluster(self, name: str, cluster: Cluster, title: str) -> list[str]:
        secure = cluster.tls or "tls" in cluster.security
        made = []
        for number, host in enumerate(filter(None, cluster.bootstrap.replace(" ", "").split(","))):
            server = name if number == 0 else f"{name}-{number + 1}"
            self._servers[server] = {
                "host": host,
                "protocol": "kafka-secure" if secure else "kafka",
                "title": f"{title} {cluster.node}",
                "bindings": {"kafka": dict(_KAFKA)},
            }
            if cluster.security:
                self._schemes |= {each: _SCHEMES[each] for each in cluster.security}
                self._servers[server]["security"] = [
                    {"$ref": f"#/components/securitySchemes/{each}"} for each in cluster.security
                ]
            made.append(server)
        return made

    # ---- channels and operations ----

    def _data(self, topic: str, flow: Flow, servers: Sequence[str], action: str, kind: str) -> None:
        contract = self._contract(flow.contract)
        given = project(contract, flow.fields, flow.mask)
        payload = f"{topic}.record"
        schema = json_schema(given, reader=True)
        if not flow.terms_known:
            schema = any_terms(schema, contract)
        for word in ("$schema", "$id", "x-levelsync", "x-levelsync-rules"):
            schema.pop(word, None)
        self._schemas[payload] = schema
        title = joined(contract.title)
        self._channel(
            topic,
            f"{title}: {joined(_KINDS[kind])}",
            servers,
            flow.purpose,
            contract.partitions,
            _data_config(contract),
        )
        key = {"type": "string", "description": f"`{contract.key}`"}
        self._message(
            topic, "put", f"{title}: 新增或变更 | put",
            headers(contract, [f"{contract.name}.changed", f"{contract.name}.copied"]),
            {"$ref": f"#/components/schemas/{payload}"}, key,
        )  # fmt: skip
        self._message(
            topic, "deleted", f"{title}: 删除 | deleted",
            headers(contract, [f"{contract.name}.deleted"]), {"type": "null"}, key,
        )  # fmt: skip
        self._message(
            topic, "watermark", "水位 | Watermark",
            {"type": "object", "required": ["ce_type"],
             "properties": {"ce_type": {"enum": ["levelsync.watermark", "levelsync.fence"]}}},
            {"type": "object"}, {"enum": ["\0levelsync.watermark", "\0levelsync.fence"]},
        )  # fmt: skip
        self._operation(topic, action)

    def _dead(self, topic: str, servers: Sequence[str]) -> None:
        contract = self._contract(".".join(topic.split(".")[:2]))
        name = f"{topic}.dead"
        self._channel(
            name, f"{joined(contract.title)}: {joined(_KINDS['dead'])}", servers, "",
            contract.partitions, _KEPT,
        )  # fmt: skip
        self._message(name, "dead-letter", "未被接受的变更 | A change that was refused",
                      {"type": "object", "properties": {"ce_type": {"const": "levelsync.dead-letter"}}},
                      DEAD_LETTER, {"type": "string"})  # fmt: skip
        self._operation(name, "send")

    def _descriptors(self, servers: Sequence[str]) -> None:
        topic = "levelsync.contracts"
        self._channel(
            topic, joined(_KINDS["contracts"]), servers, "", 1, {"cleanup.policy": ["compact"]}
        )
        self._message(topic, "descriptor", "合同 | A contract", {"type": "object"}, SIGNED,
                      {"type": "string"})  # fmt: skip
        for action in ("send", "receive"):
            self._operation(topic, action)

    def _channel(
        self, topic: str, title: str, servers: Sequence[str], purpose: str, partitions: int,
        config: dict[str, Any],
    ) -> None:  # fmt: skip
        self._channels[topic] = {
            "address": topic,
            "title": title,
            **({"description": purpose} if purpose else {}),
            "servers": [{"$ref": f"#/servers/{server}"} for server in servers],
            "messages": {},
            "bindings": {
                "kafka": {
                    "topic": topic, "partitions": partitions, "topicConfiguration": config, **_KAFKA
                }
            },
        }  # fmt: skip

    def _message(
        self, topic: str, name: str, title: str, headers: dict[str, Any], payload: Any,
        key: dict[str, Any],
    ) -> None:  # fmt: skip
        whole = f"{topic}.{name}"
        self._messages[whole] = {
            "name": whole,
            "title": title,
            "headers": headers,
            "payload": payload,
            "bindings": {"kafka": {"key": key, **_KAFKA}},
        }
        self._channels[topic]["messages"][name] = {"$ref": f"#/components/messages/{whole}"}

    def _operation(self, topic: str, action: str) -> None:
        at = topic.replace("~", "~0").replace("/", "~1")
        self._operations[f"{action}.{topic}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{at}"},
            "title": self._channels[topic]["title"],
            "messages": [
                {"$ref": f"#/channels/{at}/messages/{name}"}
                for name in self._channels[topic]["messages"]
            ],
        }

    def _contract(self, name: str) -> Contract:
        try:
            return self._contracts[name]
        except KeyError:
            raise WrongContract(
                f"Expected one of {', '.join(self._contracts)}, got {name} at node {self._node.id}"
            ) from None


_KINDS = {
    "owned": Text("权威数据", "the owner's own"),
    "view": Text("按授权给出的视图", "the view that a grant fills"),
    "received": Text("收到的副本", "the copy received"),
    "dead": Text("死信", "dead letters"),
    "contracts": Text("合同登记", "contracts, signed by who publishes them"),
}
_KEPT: dict[str, Any] = {"cleanup.policy": ["delete"], "retention.ms": -1}


def _data_config(contract: Contract) -> dict[str, Any]:
    if contract.journal is None:
        return {"cleanup.policy": ["compact"]}
    return {"cleanup.policy": ["delete"], "retention.ms": contract.journal * 24 * 3600 * 1000}
