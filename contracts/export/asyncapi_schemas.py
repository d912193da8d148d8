"""What messages on every node look like, for :mod:`contracts.export.asyncapi`."""

from collections.abc import Sequence
from typing import Any

from contracts.export.json_schema import joined
from contracts.model import Contract
from contracts.text import Text

DEAD_LETTER: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{
            name: {"type": "string"}
            for name in ("contract", "key", "path", "rule", "message", "id", "time", "sequence")
        },
        "fields": {"type": ["object", "null"], "description": "原记录 | the record, where readable"},
    },
}  # fmt: skip
SIGNED: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "带发布者签名的合同 | A contract under its publisher's signature (Ed25519)",
    "properties": {
        "contract": {"type": "string", "contentMediaType": "application/json"},
        "publisher": {"type": "string"},
        "time": {"type": "integer", "description": "微秒 | microseconds since 1970 UTC"},
        "sunset": {"type": ["string", "null"], "format": "date"},
        "key": {"type": "string", "contentEncoding": "base64"},
        "signature": {"type": "string", "contentEncoding": "base64"},
    },
}


def cloudevent() -> dict[str, Any]:
    """The headers of every event: CloudEvents attributes, by the Kafka Protocol Binding 1.0.2."""

    def text(zh: str, en: str, **more: Any) -> dict[str, Any]:
        return {"type": "string", "description": joined(Text(zh, en)), **more}

    properties = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": text("事件编号，重发时不变", "the event's id, the same each time it is told"),
        "ce_source": text("来源", "where it happened"),
        "ce_subject": text("记录的键", "the record's key"),
        "ce_time": text("源端提交时间", "commit time at the source", format="date-time"),
        "ce_sequence": text("同键变更的次序，按文本比较", "order of a key's changes, as text"),
        "ce_scope": text("所属区划", "the division it belongs to", pattern="^[0-9]*$"),
        "ce_traceparent": text("追踪上下文", "W3C Trace Context"),
    }  # fmt: skip
    return {
        "type": "object",
        "title": "CloudEvents 1.0, Kafka binary mode",
        "properties": properties,
        "required": [
            "ce_specversion", "ce_id", "ce_source", "ce_subject", "ce_time", "ce_sequence",
            "ce_type", "ce_dataschema",
        ],
    }  # fmt: skip


def headers(contract: Contract, kinds: Sequence[str]) -> dict[str, Any]:
    """The headers of an event of ``contract``: its types, and any revision of its major."""
    pattern = f"^{contract.name}/{contract.major}.".replace(".", "\\.") + "[0-9]+$"
    return {
        "allOf": [{"$ref": "#/components/schemas/cloudevent"}],
        "type": "object",
        "properties": {
            "ce_type": {"enum": list(kinds)},
            "ce_dataschema": {"type": "string", "pattern": pattern},
            "content-type": {"const": "application/json"},
        },
    }


def any_terms(schema: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """``schema`` of a record of ``contract``, whatever the neighbour's grant leaves out or masks."""
    sure = {contract.key, contract.scope}
    return schema | {
        "properties": {
            name: of
            if name in sure
            else {"title": of["title"], "anyOf": [of, {"type": ["string", "null"]}]}
            for name, of in schema["properties"].items()
        },
        "required": [name for name in schema["required"] if name in sure],
    }
