"""The schemas of what a window answers, as OpenAPI names them; records' come from their contracts."""

from collections.abc import Iterable
from typing import Any

from agents.base.status import SIGNED
from contracts.export.json_schema import json_schema
from contracts.model import Contract

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
TRUTH: Schema = {"type": "boolean"}
BOTH: Schema = {
    "type": "object",
    "properties": {"zh": TEXT, "en": TEXT},
    "required": ["zh", "en"],
}
STATES = ("sent", "received", "accepted", "rejected")


def ref(name: str) -> Schema:
    """The schema called ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """``schema``, or null."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    """An array of them."""
    return {"type": "array", "items": schema}


def thing(properties: dict[str, Schema], *optional: str) -> Schema:
    """An object with all of ``properties`` but the ``optional`` ones, and perhaps more."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def component(contract: Contract) -> str:
    """``resident.v2`` → ``record.resident.v2``"""
    return f"record.{contract.name}"


def schemas(contracts: Iterable[Contract]) -> dict[str, Schema]:
    """All schemas by name; ``contracts`` as their reader sees them."""
    there = sorted(contracts, key=lambda contract: contract.name)
    found = _fixed()
    for contract in there:
        schema = json_schema(contract, reader=True)
        found[component(contract)] = {
            name: value
            for name, value in schema.items()
            if name not in ("$schema", "$id", "x-levelsync", "x-levelsync-rules")
        }
    one = [_entry(contract) for contract in there]
    found["entry"] = {"anyOf": one} if one else _entry(None)
    return found


def _entry(contract: Contract | None) -> Schema:
    return thing(
        {
            "contract": {"const": contract.name} if contract else TEXT,
            "key": TEXT,
            "record": ref(component(contract)) if contract else {"type": "object"},
            "scope": TEXT,
            "time": TIME,
            "sequence": TEXT,
            "id": TEXT,
            "source": TEXT,
            "dataschema": TEXT,
            "refused": ref("refusal"),
        },
        "refused",
    )


def _fixed() -> dict[str, Schema]:
    """Those that are the same at every window."""
    correction = {
        "id": TEXT,
        "contract": TEXT,
        "key": TEXT,
        "field": TEXT,
        "seen": {},
        "proposed": {},
        "evidence": TEXT,
        "filed_at": TIME,
        "filed_by": TEXT,
        "state": {"enum": list(STATES)},
        "due": maybe(TEXT),
        "overdue": TRUTH,
        "note": maybe(TEXT),
        "answered_at": maybe(TIME),
    }
    return {
        "problem": thing(
            {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT}
        ),
        "refusal": thing({"id": TEXT, "time": TIME, "path": TEXT, "rule": TEXT, "message": TEXT}),
        "contract": thing(
            {
                "name": TEXT,
                "revision": TEXT,
                "title": BOTH,
                "owner": BOTH,
                "key": TEXT,
                "scope": TEXT,
                "freshness_s": NUMBER,
                "complete_as_of": maybe(TIME),
                "age_s": maybe(NUMBER),
                "records": COUNT,
                "state": TEXT,
                "error": maybe(TEXT),
                "lag": maybe(COUNT),
                "events": COUNT,
                "repeated": COUNT,
                "out_of_order": COUNT,
                "latency_ms": maybe(thing({"p50": NUMBER, "p99": NUMBER})),
                "fields": listed(
                    thing(
                        {
                            "name": TEXT,
                            "title": BOTH,
                            "personal": TRUTH,
                            "labels": {"type": "object", "additionalProperties": BOTH},
                        }
                    )
                ),
                "searchable": listed(TEXT),
                "refused": COUNT,
                "signed": maybe(
                    thing({"state": {"enum": list(SIGNED)}, "by": listed(TEXT), "said": TEXT})
                ),
                "sunset": maybe(TEXT),
            }
        ),
        "contracts": thing({"name": TEXT, "contracts": listed(ref("contract")), "token": TEXT}),
        "page": thing({"records": listed(ref("entry")), "next": maybe(TEXT)}),
        "history": thing(
            {
                "changes": listed(
                    thing(
                        {
                            "op": {"enum": ["put", "delete"]},
                            "record": maybe({"type": "object"}),
                            "time": TIME,
                            "id": TEXT,
                            "sequence": TEXT,
                            "source": TEXT,
                            "scope": TEXT,
                        }
                    )
                ),
                "since": maybe(TIME),
            }
        ),
        "proposal": thing(
            {
                "field": TEXT,
                "seen": {"description": "What is shown there now"},
                "proposed": {"description": "What it should be"},
                "evidence": {"type": "string", "description": "Why: a document, a number"},
            },
            "evidence",
        ),
        "correction": thing(correction),
        "corrections": thing({"corrections": listed(ref("correction")), "next": maybe(TEXT)}),
        "freshness": thing(
            {
                "step_s": NUMBER,
                "until": TIME,
                "contracts": {
                    "type": "object",
                    "additionalProperties": thing(
                        {"age_s": listed(maybe(NUMBER)), "events": listed(maybe(NUMBER))}
                    ),
                },
            }
        ),
        "token": thing({"token": TEXT}) | {"additionalProperties": False},
        "session": thing(
            {
                "kind": {"enum": ["machine", "system", "clerk", None]},
                "name": maybe(TEXT),
                "purpose": maybe(TEXT),
                "corrections": TRUTH,
                "login": thing({"token": TRUTH, "oidc": maybe(TEXT)}),
            }
        ),
        "health": thing({"ok": TRUTH, "stopped": listed(TEXT), "trouble": {"type": "object"}}),
        "readiness": thing({"ready": TRUTH, "waiting": listed(TEXT)}),
        "status": thing(
            {"node": TEXT, "version": TEXT, "ready": TRUTH, "hops": listed({"type": "object"})}
        ),
    }
