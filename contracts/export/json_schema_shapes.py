"""JSON Schema's structure → shapes; see :mod:`contracts.export.json_schema_reader`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.export.json_schema import text_of
from contracts.export.json_schema_values import Document, integer, length, number, string, wrong
from contracts.shape import Array, Boolean, Enum, Field, Map, Object, Shape
from contracts.text import Text

#: Keywords that narrow what is accepted and that no shape has.
_UNSAYABLE = (
    "allOf", "not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies",
    "prefixItems", "additionalItems", "contains", "minContains", "maxContains", "uniqueItems",
    "unevaluatedItems", "patternProperties", "propertyNames", "unevaluatedProperties",
    "minProperties", "multipleOf", "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_OF_TYPE = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "array": ("items", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties", "maxProperties"),
    "boolean": (),
}
_DEEPEST = 32


class ShapeReader:
    """Reads the schemas of one document. Raises WrongContract with the JSON pointer."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def shape(self, schema: Any, pointer: str, through: tuple[str, ...]) -> Shape:
        """The shape of ``schema``; ``through`` are the references that led here."""
        schema, through = self._resolved(schema, pointer, through)
        schema, nullable = self._without_null(schema, pointer)
        if "anyOf" in schema or "oneOf" in schema:
            return self._alternatives(schema, pointer, through, nullable)
        shape = self._bare(schema, pointer, through)
        return msgspec.structs.replace(shape, nullable=nullable or shape.nullable)

    def _resolved(
        self, schema: Any, pointer: str, through: tuple[str, ...]
    ) -> tuple[Document, tuple[str, ...]]:
        while True:
            if not isinstance(schema, Mapping):
                raise wrong(pointer, "a schema that says what it accepts", repr(schema))
            if "$ref" not in schema:
                break
            reference = schema["$ref"]
            if reference in through or len(through) > _DEEPEST:
                raise wrong(
                    f"{pointer}/$ref", "a shape without itself in it", f"the loop {reference}"
                )
            through = (*through, reference)
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            found = self._at(reference, pointer)
            if clash := sorted(set(beside) & set(found) & _ASSERTING):
                raise wrong(
                    f"{pointer}/{clash[0]}", "what the reference does not say itself", clash[0]
                )
            schema = {**found, **beside}
        return schema, through

    def _at(self, reference: Any, pointer: str) -> Document:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise wrong(f"{pointer}/$ref", "a reference within the document (`#/$defs/…`)",
                         reference)  # fmt: skip
        found: Any = self._document
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise wrong(f"{pointer}/$ref", "a reference to a schema there is", reference)
        return found

    def _without_null(self, schema: Document, pointer: str) -> tuple[Document, bool]:
        kind = schema.get("type")
        if not isinstance(kind, list):
            return schema, False
        others = [each for each in kind if each != "null"]
        if len(others) != 1:
            raise wrong(f"{pointer}/type", "one type, or one and `null`", kind)
        return {**schema, "type": others[0]}, len(others) < len(kind)

    def _alternatives(
        self, schema: Document, pointer: str, through: tuple[str, ...], nullable: bool
    ) -> Shape:
        word = "oneOf" if "oneOf" in schema else "anyOf"
        options = schema[word]
        if (
            not isinstance(options, list)
            or not options
            or ("oneOf" in schema) == ("anyOf" in schema)
        ):
            raise wrong(f"{pointer}/{word}", "a list of alternatives", options)
        others = [each for each in options if each not in ({"type": "null"}, {"const": None})]
        null = len(others) < len(options)
        # With a `type` beside it, null has to be allowed there too.
        nullable = null and (nullable or "type" not in schema)
        if others and all(isinstance(each, Mapping) and "const" in each for each in others):
            return self._labelled(schema, others, f"{pointer}/{word}", nullable)
        if len(others) != 1:
            raise wrong(
                f"{pointer}/{word}", "one shape, or one and null: a contract has no other unions",
                f"{len(others)} alternatives",
            )  # fmt: skip
        at = f"{pointer}/{word}/{options.index(others[0])}"
        if clash := sorted((set(schema) & _ASSERTING) - {word}):
            raise wrong(f"{pointer}/{clash[0]}", f"everything within `{word}`", clash[0])
        shape = self.shape(others[0], at, through)
        return msgspec.structs.replace(shape, nullable=nullable or shape.nullable)

    def _labelled(
        self, schema: Document, options: list[Document], pointer: str, nullable: bool
    ) -> Shape:
        for index, option in enumerate(options):
            if not isinstance(option["const"], str):
                raise wrong(f"{pointer}/{index}/const", "codes that are text", option["const"])
        values = tuple(option["const"] for option in options)
        if len(set(values)) < len(values):
            raise wrong(pointer, "each code once", list(values))
        labels = {
            option["const"]: label for option in options if (label := text_of(option, "title"))
        }
        standard = str(schema.get("x-levelsync-standard", ""))
        return Enum(values=values, labels=labels, standard=standard, nullable=nullable)

    def _bare(self, schema: Document, pointer: str, through: tuple[str, ...]) -> Shape:
        if "enum" in schema or "const" in schema:
            return self._codes(schema, pointer)
        kind = schema.get("type", "object" if "properties" in schema else None)
        if not isinstance(kind, str) or kind not in _OF_TYPE:
            raise wrong(f"{pointer}/type", f"one of {', '.join(_OF_TYPE)}", kind or "none")
        self._refuse_rest(schema, pointer, kind)
        match kind:
            case "string":
                return string(schema, pointer)
            case "integer":
                return integer(schema, pointer)
            case "number":
                return number(schema, pointer)
            case "boolean":
                return Boolean()
            case "array":
                return self._array(schema, pointer, through)
        return self._object(schema, pointer, through)

    def _refuse_rest(self, schema: Document, pointer: str, kind: str) -> None:
        for word in _UNSAYABLE:
            if word not in schema:
                continue
            ours = kind == "string" and (
                word == "allOf" or (word == "not" and schema.get("format") == "date-time")
            )
            if not ours and (word, schema[word]) != ("uniqueItems", False):
                raise wrong(f"{pointer}/{word}", f"no `{word}`: no shape can say it", schema[word])

    def _codes(self, schema: Document, pointer: str) -> Shape:
        word = "enum" if "enum" in schema else "const"
        given = schema["enum"] if word == "enum" else [schema["const"]]
        if not isinstance(given, list):
            raise wrong(f"{pointer}/enum", "a list of codes", repr(given))
        values = [each for each in given if each is not None]
        if not values or not all(isinstance(each, str) for each in values):
            raise wrong(f"{pointer}/{word}", "codes that are text", given)
        if clash := sorted(set(schema) & _ASSERTING - {word, "type"}):
            raise wrong(f"{pointer}/{clash[0]}", f"`{word}` alone", clash[0])
        return Enum(
            values=tuple(dict.fromkeys(values)),
            standard=str(schema.get("x-levelsync-standard", "")),
            nullable=len(values) < len(given),
        )

    def _array(self, schema: Document, pointer: str, through: tuple[str, ...]) -> Shape:
        if "items" not in schema:
            raise wrong(f"{pointer}/items", "what the list holds", "nothing")
        return Array(
            items=self.shape(schema["items"], f"{pointer}/items", through),
            min_length=length(schema, pointer, "minItems") or 0,
            max_length=length(schema, pointer, "maxItems"),
        )

    def _object(self, schema: Document, pointer: str, through: tuple[str, ...]) -> Shape:
        properties, rest = schema.get("properties"), schema.get("additionalProperties")
        if properties:
            if isinstance(rest, Mapping) and rest:
                raise wrong(
                    f"{pointer}/additionalProperties", "properties or additionalProperties", "both"
                )
            if "maxProperties" in schema:
                raise wrong(f"{pointer}/maxProperties", "no limit beside properties", "one")
            return Object(fields=self._fields(schema, pointer, through))
        if not isinstance(rest, Mapping):
            raise wrong(pointer, "properties, or additionalProperties with a schema", "neither")
        if schema.get("required"):
            raise wrong(f"{pointer}/required", "names that `properties` has", schema["required"])
        return Map(
            values=self.shape(rest, f"{pointer}/additionalProperties", through),
            max_length=length(schema, pointer, "maxProperties"),
        )

    def _fields(
        self, schema: Document, pointer: str, through: tuple[str, ...]
    ) -> tuple[Field, ...]:
        properties, required = schema["properties"], schema.get("required", [])
        if not isinstance(properties, Mapping):
            raise wrong(f"{pointer}/properties", "schemas by name", repr(properties))
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise wrong(f"{pointer}/required", "a list of names", repr(required))
        if unknown := [name for name in required if name not in properties]:
            raise wrong(f"{pointer}/required", "names that `properties` has", unknown)
        return tuple(
            self._field(name, inner, name in required, f"{pointer}/properties/{_escaped(name)}",
                        through)
            for name, inner in properties.items()
        )  # fmt: skip

    def _field(
        self, name: str, schema: Any, required: bool, pointer: str, through: tuple[str, ...]
    ) -> Field:
        shape = self.shape(schema, pointer, through)
        default = schema.get("default")
        if not required and default is None:
            # What may be left out without standing for anything else is not filled in: null.
            shape = msgspec.structs.replace(shape, nullable=True)
        return Field(
            name=name,
            title=text_of(schema, "title") or Text(name, name),
            shape=shape,
            description=text_of(schema, "description"),
            required=required,
            default=None if required else default,
        )


_ASSERTING = frozenset(
    {"type", "enum", "const", "anyOf", "oneOf", *_UNSAYABLE, *(w for of in _OF_TYPE.values() for w in of)}
)  # fmt: skip


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
