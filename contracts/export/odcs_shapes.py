"""The schema of an Open Data Contract → fields; see :mod:`contracts.export.odcs_reader`."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.export.json_schema import parted
from contracts.export.json_schema_values import integer as integer_of
from contracts.export.json_schema_values import length, number, wrong
from contracts.export.json_schema_values import string as string_of
from contracts.formats import FORMATS
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Map,
    Object,
    Shape,
    String,
)
from contracts.text import Text

Said = Mapping[str, Any]

#: Of the standard's logical types those that shapes have, and the options that shapes can say.
_OPTIONS = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"},
    "boolean": set(),
    "date": {"format"},
    "timestamp": {"format", "timezone", "defaultTimezone"},
    "array": {"minItems", "maxItems"},
    "object": {"maxProperties"},
}
#: The logical type where only the physical one is said, as by databases.
_PHYSICAL = {
    "string": ("char", "varchar", "character", "text", "string", "nvarchar", "uuid", "json"),
    "integer": ("int", "integer", "bigint", "smallint", "tinyint", "int2", "int4", "int8"),
    "number": ("decimal", "numeric", "double", "float", "real", "float8", "float4", "number"),
    "boolean": ("bool", "boolean"),
    "date": ("date",),
    "timestamp": ("timestamp", "timestamptz", "datetime"),
    "object": ("struct", "object", "record"),
    "array": ("array", "list"),
}
_EXACT = re.compile(r"(?:decimal|numeric|number)\((\d{1,3})(?:\s*,\s*(\d{1,3}))?\)", re.IGNORECASE)


def parts_of(said: Said, name: str) -> list[Said]:
    """The parts of the document that a list of it holds; none where there is no such list."""
    parts = said.get(name)
    return [each for each in parts if isinstance(each, Mapping)] if isinstance(parts, list) else []


def custom_of(said: Said) -> dict[str, Any]:
    """The custom properties of a part of the document, by name."""
    return {
        str(each["property"]): each.get("value")
        for each in parts_of(said, "customProperties")
        if "property" in each
    }


def text_of(said: Said, name: str) -> Text | None:
    """A text of the document in both languages, or None."""
    apart = custom_of(said).get(f"{name}Languages")
    if isinstance(apart, Mapping):
        return Text(str(apart.get("zh", "")), str(apart.get("en", "")))
    line = said.get(name)
    return parted(line) if isinstance(line, str) else None


def fields_of(said: Said, pointer: str) -> tuple[Field, ...]:
    """The fields of an object. Raises WrongContract with the JSON pointer."""
    properties = said.get("properties")
    if not isinstance(properties, list) or not properties:
        raise wrong(f"{pointer}/properties", "a list of properties", repr(properties))
    return tuple(
        _field(each, f"{pointer}/properties/{index}") for index, each in enumerate(properties)
    )


def _field(said: Any, pointer: str) -> Field:
    if not isinstance(said, Mapping) or not isinstance(said.get("name"), str):
        raise wrong(pointer, "a property with a name", repr(said))
    custom = custom_of(said)
    required = "default" not in custom
    shape = shape_of(said, pointer)
    if required and "nullable" not in custom and not said.get("required", False):
        # A column that may be null, of which nobody says more, may be left out as well.
        required = False
    return Field(
        name=said["name"],
        title=text_of(said, "businessName") or parted(said["name"]),
        description=text_of(said, "description"),
        shape=shape,
        required=required,
        default=custom.get("default"),
    )


def shape_of(said: Said, pointer: str) -> Shape:
    """The shape of a property or of what a list holds."""
    nullable = custom_of(said).get("nullable", not said.get("required", False))
    return msgspec.structs.replace(_bare(said, pointer), nullable=bool(nullable))


def _bare(said: Said, pointer: str) -> Shape:
    kind, physical = _kind(said, pointer), str(said.get("physicalType", ""))
    options = said.get("logicalTypeOptions") or {}
    if not isinstance(options, Mapping):
        raise wrong(f"{pointer}/logicalTypeOptions", "options by name", repr(options))
    at = f"{pointer}/logicalTypeOptions"
    for name in options:
        if name not in _OPTIONS[kind] and (name, options[name]) != ("uniqueItems", False):
            raise wrong(f"{at}/{name}", f"no `{name}`: no shape can say it", options[name])
    match kind:
        case "string":
            return _codes(said, pointer) or _string(said, options, physical, at)
        case "integer":
            return integer_of(options, at)
        case "number":
            return _exact(said, options, physical, at) or number(options, at)
        case "boolean":
            return Boolean()
        case "date":
            return Date()
        case "timestamp":
            return DateTime()
        case "array":
            if not isinstance(said.get("items"), Mapping):
                raise wrong(f"{pointer}/items", "what the list holds", repr(said.get("items")))
            return Array(
                items=shape_of(said["items"], f"{pointer}/items"),
                min_length=length(options, at, "minItems") or 0,
                max_length=length(options, at, "maxItems"),
            )
    if physical == "map":
        values = parts_of(said, "properties")
        if len(values) != 1:
            raise wrong(f"{pointer}/properties", "one, for the values", f"{len(values)}")
        return Map(
            values=shape_of(values[0], f"{pointer}/properties/0"),
            max_length=length(options, at, "maxProperties"),
        )
    return Object(fields=fields_of(said, pointer))


def _kind(said: Said, pointer: str) -> str:
    kind = said.get("logicalType")
    if kind is None:
        word = re.match(r"[a-z0-9]*", str(said.get("physicalType", "")).lower())
        kind = next(
            (logical for logical, names in _PHYSICAL.items() if word and word[0] in names), None
        )
    if not isinstance(kind, str) or kind not in _OPTIONS:
        raise wrong(f"{pointer}/logicalType", f"one of {', '.join(_OPTIONS)}", kind or "none")
    return kind


def _codes(said: Said, pointer: str) -> Enum | None:
    for check in parts_of(said, "quality"):
        arguments = check.get("arguments")
        if check.get("metric") != "invalidValues" or not isinstance(arguments, Mapping):
            continue
        values = arguments.get("validValues")
        if isinstance(values, list) and values and all(isinstance(each, str) for each in values):
            custom = custom_of(said)
            try:
                labels = msgspec.convert(custom.get("codeLabels") or {}, dict[str, Text])
            except msgspec.ValidationError as error:
                raise wrong(f"{pointer}/customProperties", "labels by code", error) from None
            return Enum(
                values=tuple(dict.fromkeys(values)),
                standard=str(custom.get("codeTable", "")),
                labels=labels,
            )
    return None


def _string(said: Said, options: Said, physical: str, pointer: str) -> Shape:
    if str(options.get("format")) in ("date", "date-time", "decimal"):
        raise wrong(f"{pointer}/format", "logicalType `date`, `timestamp` or `number`", "a string")
    name = options.get("format")
    if not isinstance(name, str | None):
        raise wrong(f"{pointer}/format", "a name", repr(name))
    schema = {each: options[each] for each in options if each != "format"}
    beside = custom_of(said).get("formatPattern")
    if name in FORMATS:
        schema |= {"format": name}
        if beside is not None:
            schema["allOf"] = [{"pattern": FORMATS[name].pattern}]
    elif name is not None:
        schema["x-levelsync-format"] = name
    sized = re.search(r"char\w*(?: varying)?\((\d+)\)", physical, re.IGNORECASE)
    if sized and "maxLength" not in schema:
        schema["maxLength"] = int(sized[1])
    found = string_of(schema, pointer)
    assert isinstance(found, String)
    return found


def _exact(said: Said, options: Said, physical: str, pointer: str) -> Decimal | None:
    found = _EXACT.fullmatch(physical)
    if found is None:
        return None
    limits = {name: value for name, value in options.items() if name != "format"}
    if limits not in ({}, {"minimum": 0}):
        raise wrong(pointer, "a decimal without limits but `minimum: 0`", limits)
    digits, places = int(found[1]), int(found[2] or 0)
    if not 0 <= places <= digits <= 38 or digits < 1:
        raise wrong(pointer, "1 to 38 digits, of which some behind the point", physical)
    return Decimal(digits=digits, places=places, positive=bool(limits))
