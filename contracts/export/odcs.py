"""A contract by the Open Data Contract Standard 3.1.0 (Bitol), as YAML.

What the standard has words for is said in its words: schema, keys, limits, quality rules, service
levels, the owning team. What it has none for stands in ``customProperties`` beside what it belongs to,
each under its own camel-case name, so that :mod:`contracts.export.odcs_reader` gives the contract back
whole and others may read or leave it. The standard has one language a text, so both stand in it:
``性别 | Sex``.
"""

from typing import Any

import msgspec
import yaml

from contracts.compiled import decimal_pattern
from contracts.export.json_schema import joined, parted
from contracts.formats import FORMATS
from contracts.model import Contract, Rule
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)
from contracts.text import Text

#: Of the standard.
VERSION = "v3.1.0"

#: What stands in a contract's custom properties, and under which name there.
CUSTOM = {
    "catalogue": "catalogueNumber",
    "level": "ownerLevel",
    "scope": "scopeField",
    "classification": "classification",
    "sharing": "sharingClass",
    "basis": "sharingBasis",
    "condition": "sharingCondition",
    "purposes": "purposes",
    "updates": "updateFrequency",
    "personal": "masks",
    "searchable": "searchableFields",
    "on_refusal": "onRefusal",
    "journal": "journalDays",
    "partitions": "partitions",
}


def odcs(contract: Contract) -> str:
    """The YAML text."""
    return yaml.safe_dump(
        odcs_document(contract), allow_unicode=True, sort_keys=False, width=100, line_break="\n"
    )


def odcs_document(contract: Contract) -> dict[str, Any]:
    """The same as plain data."""
    plain = msgspec.to_builtins(contract)
    custom = [(name, plain[ours]) for ours, name in CUSTOM.items() if ours in plain]
    purposes = "；".join(text.zh for text in contract.purposes)
    return {
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": f"urn:levelsync:contract:{contract.name}",
        "name": contract.name,
        "version": f"{contract.revision}.0",
        "status": "active",
        "domain": contract.subject,
        "description": _only(
            purpose=joined(contract.title),
            usage=purposes or None,
            limitations=None if contract.condition is None else joined(contract.condition),
        ),
        "schema": [_schema(contract)],
        "slaProperties": _service_levels(contract),
        "team": _only(
            name=joined(contract.owner), customProperties=_two_languages("name", contract.owner)
        ),
        "customProperties": _custom(*custom),
    }


def _schema(contract: Contract) -> dict[str, Any]:
    return _only(
        name=contract.subject,
        physicalName=contract.name,
        logicalType="object",
        physicalType="topic",
        businessName=joined(contract.title),
        description=None if contract.description is None else joined(contract.description),
        properties=[_key(contract, _property(field), field.name) for field in contract.fields],
        quality=[_rule(rule) for rule in contract.rules] or None,
        customProperties=[
            *_two_languages("businessName", contract.title),
            *_two_languages("description", contract.description),
        ]
        or None,
    )


def _key(contract: Contract, said: dict[str, Any], name: str) -> dict[str, Any]:
    if name == contract.key:
        said |= {"primaryKey": True, "primaryKeyPosition": 1, "unique": True}
    if name in contract.personal:
        said |= {"classification": "personal", "tags": ["personal"]}
    return said


def _property(field: Field) -> dict[str, Any]:
    said = _shape(field.shape)
    custom = said.pop("customProperties", [])
    if not field.required:
        custom = [*custom, *_custom(("default", field.default))]
    custom += _two_languages("businessName", field.title)
    custom += _two_languages("description", field.description)
    return _only(
        name=field.name,
        businessName=joined(field.title),
        description=None if field.description is None else joined(field.description),
        **said,
        # The standard asks whether it may be null; whether it may be left out is its default's.
        required=field.required and not field.shape.nullable,
        customProperties=[*custom, *_presence(field)] or None,
    )


def _presence(field: Field) -> list[dict[str, Any]]:
    """``required`` of the standard cannot tell what may be null from what may be left out."""
    if field.required == (not field.shape.nullable):
        return []
    return _custom(("nullable", field.shape.nullable))


def _shape(shape: Shape) -> dict[str, Any]:
    match shape:
        case String():
            return _string(shape)
        case Integer():
            limits = {"minimum": shape.ge, "maximum": shape.le, "format": "i64"}
            return {"logicalType": "integer", "logicalTypeOptions": limits}
        case Number():
            return {
                "logicalType": "number",
                "physicalType": "double",
                "logicalTypeOptions": _only(
                    minimum=shape.ge,
                    exclusiveMinimum=shape.gt,
                    maximum=shape.le,
                    exclusiveMaximum=shape.lt,
                    format="f64",
                ),
            }
        case Decimal():
            return {
                "logicalType": "number",
                "physicalType": f"decimal({shape.digits},{shape.places})",
                **({"logicalTypeOptions": {"minimum": 0}} if shape.positive else {}),
                "customProperties": _custom(("textPattern", decimal_pattern(shape))),
            }
        case Boolean():
            return {"logicalType": "boolean"}
        case Date():
            return {"logicalType": "date", "logicalTypeOptions": {"format": "yyyy-MM-dd"}}
        case DateTime():
            options = {"format": "yyyy-MM-dd'T'HH:mm:ssXXX", "timezone": True}
            return {"logicalType": "timestamp", "logicalTypeOptions": options}
        case Enum():
            return _enum(shape)
        case Array():
            return {
                "logicalType": "array",
                **_options(minItems=shape.min_length or None, maxItems=shape.max_length),
                "items": _part(shape.items),
            }
        case Map():
            return {
                "logicalType": "object",
                "physicalType": "map",
                **_options(maxProperties=shape.max_length),
                "properties": [{"name": "value", **_part(shape.values)}],
            }
        case Object():
            return {
                "logicalType": "object",
                "properties": [_property(field) for field in shape.fields],
            }


def _part(shape: Shape) -> dict[str, Any]:
    """What a list or map holds."""
    return _shape(shape) | {"required": not shape.nullable}


def _string(shape: String) -> dict[str, Any]:
    known = FORMATS.get(shape.format or "")
    pattern = known.pattern if known and shape.pattern is None else shape.pattern
    said: dict[str, Any] = {
        "logicalType": "string",
        **_options(
            minLength=shape.min_length or None,
            maxLength=shape.max_length,
            pattern=pattern,
            format=shape.format,
        ),
    }
    if known and shape.pattern is not None:
        said["customProperties"] = _custom(("formatPattern", known.pattern))
    return said


def _enum(shape: Enum) -> dict[str, Any]:
    """Codes are values that a maintained quality check of the standard holds valid."""
    return {
        "logicalType": "string",
        "quality": [
            {
                "type": "library",
                "metric": "invalidValues",
                "name": "codes",
                "arguments": {"validValues": list(shape.values)},
                "mustBe": 0,
            }
        ],
        "customProperties": _custom(
            *([("codeTable", shape.standard)] if shape.standard else []),
            *([("codeLabels", msgspec.to_builtins(shape.labels))] if shape.labels else []),
        ),
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "type": "custom",
        "engine": "cel",
        "implementation": rule.when,
        "description": joined(rule.message),
        "dimension": "consistency",
        "severity": "error",
        "customProperties": [
            *_custom(("path", rule.path)),
            *_two_languages("description", rule.message),
        ],
    }


def _service_levels(contract: Contract) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [
        {
            "property": "latency",
            "value": contract.freshness,
            "unit": "s",
            "driver": "operational",
            "description": "从提交到窗口可见 | from commit at the source to the window",
        },
        {"property": "frequency", "value": contract.updates, "driver": "operational"},
    ]
    if contract.retention is not None:
        said.append(
            {
                "property": "retention",
                "value": contract.retention,
                "unit": "d",
                "driver": "regulatory",
            }
        )
    return said


def _two_languages(name: str, text: Text | None) -> list[dict[str, Any]]:
    """Both languages apart, where the line with both cannot be taken apart again."""
    if text is None or parted(joined(text)) == text:
        return []
    return _custom((f"{name}Languages", {"zh": text.zh, "en": text.en}))


def _custom(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"property": name, "value": value} for name, value in pairs]


def _options(**options: Any) -> dict[str, Any]:
    given = _only(**options)
    return {"logicalTypeOptions": given} if given else {}


def _only(**said: Any) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None and value != []}
