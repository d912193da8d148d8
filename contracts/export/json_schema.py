"""A contract as JSON Schema, draft 2020-12: it accepts exactly what the decoder accepts.

What a schema can say of a parsed value is said by its keywords alone: a date's pattern knows leap years,
so nothing hangs on whether a validator asserts ``format``, which 2020-12 takes for an annotation. (Who
asserts ``date-time`` all the same refuses what RFC 3339 leaves out and a decoder takes: a blank for
the ``T``, ``+0800``.) Four things no keyword can say:

- check characters: ``format`` names one of :mod:`contracts.formats`, to be registered with the
  validator and asserted; the ``pattern`` beside it holds all but the check;
- rules across fields: they stand in CEL under ``x-levelsync-rules``;
- what is gone once JSON is parsed: a name that stands twice, halves of surrogate pairs, more than
  8 MiB, a number beyond what a double holds;
- integers beyond 2^53 where a ``Number`` is asked for: the decoder rounds them to the next double
  before it compares.

Titles and descriptions say both languages, ``性别 | Sex``. What is no shape (owner, sharing, promises,
masks …) is kept under ``x-levelsync``, so that :mod:`contracts.export.json_schema_reader` gives the
contract back whole.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.compiled import decimal_pattern
from contracts.formats import FORMATS
from contracts.model import Contract
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

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: The largest finite double, and by its sign the least.
LARGEST_DOUBLE = 1.7976931348623157e308

_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP = "(?:0[48]|[2468][048]|[13579][26])"
_DAY = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
)
DATE = f"^{_DAY}$"
DATE_TIME = (
    f"^{_DAY}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?"
    "(?:[Zz]|[+\\-](?:[01][0-9]|2[0-3]):?[0-5][0-9])$"
)
#: Microseconds are rounded, and this is rounded out of the calendar.
BEYOND_TIME = "^9999-12-31[Tt ]23:59:59\\.999999[5-9]"


def json_schema(contract: Contract, *, reader: bool = False) -> dict[str, Any]:
    """The schema of a record of ``contract``: the writer's, which refuses fields that the contract
    does not name, or the ``reader``'s, which passes over them."""
    kept = msgspec.to_builtins(contract)
    for said in ("title", "description", "fields", "rules"):
        kept.pop(said, None)
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": f"urn:levelsync:contract:{contract.dataschema}{'/reader' if reader else ''}",
        **_said("title", contract.title),
        **_said("description", contract.description),
        "x-levelsync": kept,
    }
    if contract.rules:
        schema["x-levelsync-rules"] = [msgspec.to_builtins(rule) for rule in contract.rules]
    return schema | _object(contract.fields, reader=reader)


def shape_schema(shape: Shape, *, reader: bool = False) -> dict[str, Any]:
    """The schema of one value."""
    schema = _bare(shape, reader=reader)
    if shape.nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        if "oneOf" in schema:
            schema["oneOf"] = [*schema["oneOf"], {"type": "null"}]
    return schema


def joined(text: Text) -> str:
    """Both languages in one line, ``性别 | Sex``."""
    return f"{text.zh} | {text.en}"


def parted(text: str) -> Text:
    """Both languages of such a line; a line in one language is said in both."""
    zh, bar, en = text.partition(" | ")
    return Text(zh, en) if bar else Text(text, text)


def text_of(schema: Mapping[str, Any], name: str) -> Text | None:
    """The title or description of a schema, as ours carry it, or None."""
    said = schema.get(f"x-levelsync-{name}")
    if isinstance(said, Mapping):
        return Text(str(said.get("zh", "")), str(said.get("en", "")))
    line = schema.get(name)
    return parted(line) if isinstance(line, str) else None


def _said(name: str, text: Text | None) -> dict[str, Any]:
    if text is None:
        return {}
    line = joined(text)
    if parted(line) == text:
        return {name: line}
    return {name: line, f"x-levelsync-{name}": {"zh": text.zh, "en": text.en}}


def _object(fields: tuple[Field, ...], *, reader: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field.name: _property(field, reader=reader) for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": reader,
    }


def _property(field: Field, *, reader: bool) -> dict[str, Any]:
    schema = {
        **_said("title", field.title),
        **_said("description", field.description),
        **shape_schema(field.shape, reader=reader),
    }
    if not field.required:
        schema["default"] = field.default
    return schema


def _bare(shape: Shape, *, reader: bool) -> dict[str, Any]:
    match shape:
        case String():
            return _string(shape)
        case Integer():
            return {"type": "integer", "minimum": shape.ge, "maximum": shape.le}
        case Number():
            return {"type": "number", **_least(shape), **_most(shape)}
        case Decimal():
            return {"type": "string", "format": "decimal", "pattern": decimal_pattern(shape)}
        case Boolean():
            return {"type": "boolean"}
        case Date():
            return {"type": "string", "format": "date", "pattern": DATE}
        case DateTime():
            return {
                "type": "string",
                "format": "date-time",
                "pattern": DATE_TIME,
                "not": {"type": "string", "pattern": BEYOND_TIME},
            }
        case Enum():
            return _enum(shape)
        case Array():
            return _only(
                type="array",
                items=shape_schema(shape.items, reader=reader),
                minItems=shape.min_length or None,
                maxItems=shape.max_length,
            )
        case Map():
            return _only(
                type="object",
                additionalProperties=shape_schema(shape.values, reader=reader),
                maxProperties=shape.max_length,
            )
        case Object():
            return _object(shape.fields, reader=reader)


def _only(**keywords: Any) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value is not None}


def _string(shape: String) -> dict[str, Any]:
    schema = _only(
        type="string",
        minLength=shape.min_length or None,
        maxLength=shape.max_length,
        pattern=shape.pattern,
    )
    if shape.format is None:
        return schema
    if shape.format not in FORMATS:
        # An older levelsync does not check it, and neither shall a validator that knows the name.
        return schema | {"x-levelsync-format": shape.format}
    schema["format"] = shape.format
    if shape.pattern is None:
        schema["pattern"] = FORMATS[shape.format].pattern
    else:
        schema["allOf"] = [{"pattern": FORMATS[shape.format].pattern}]
    return schema


def _least(shape: Number) -> dict[str, Any]:
    if shape.gt is not None:
        return {"exclusiveMinimum": shape.gt}
    return {"minimum": -LARGEST_DOUBLE if shape.ge is None else shape.ge}


def _most(shape: Number) -> dict[str, Any]:
    if shape.lt is not None:
        return {"exclusiveMaximum": shape.lt}
    return {"maximum": LARGEST_DOUBLE if shape.le is None else shape.le}


def _enum(shape: Enum) -> dict[str, Any]:
    """With labels each code is a ``const`` with its title, as forms and generators show them."""
    schema: dict[str, Any] = {"type": "string"}
    if shape.standard:
        schema["x-levelsync-standard"] = shape.standard
    if not shape.labels:
        return schema | {"enum": list(shape.values)}
    return schema | {
        "oneOf": [
            {"const": value, **_said("title", shape.labels.get(value))} for value in shape.values
        ]
    }
