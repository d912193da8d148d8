"""Schemas of others: what shapes can say is read, what they cannot is refused where it stands."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.export.json_schema import json_schema
from contracts.export.json_schema_reader import contract_of, fields_of
from contracts.model import Contract, WrongContract
from contracts.shape import Array, Date, Enum, Integer, Map, Number, Object, Shape, String
from contracts.subjects import CONTRACTS
from contracts.text import Text


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def shape(of: dict[str, Any], **more: Any) -> Shape:
    (field,) = fields_of(schema(it=of) | more)
    return field.shape


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=str)
@pytest.mark.parametrize("reader", [False, True])
def test_our_contracts_come_back_whole(found: Contract, reader: bool) -> None:
    assert contract_of(json_schema(found, reader=reader)) == found


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"type": "string", "maxLength": 3}, String(max_length=3)),
        ({"type": ["null", "string"]}, String(nullable=True)),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, String(nullable=True)),
        ({"type": "string", "format": "date"}, Date()),
        ({"type": "string", "format": "email"}, String()),
        ({"type": "string", "pattern": r"^\d+$"}, String(pattern="^[0-9]+$")),
        ({"enum": ["a", "b", None]}, Enum(values=("a", "b"), nullable=True)),
        ({"const": "a"}, Enum(values=("a",))),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 9.0}, Integer(ge=1, le=9)),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": 0}, Number(gt=0.0)),
        ({"type": "array", "items": {"$ref": "#/$defs/day"}}, Array(items=Date())),
        ({"type": "object", "additionalProperties": {"type": "string"}}, Map(values=String())),
        (
            {"oneOf": [{"const": "1", "title": "男 | Male"}, {"const": "2", "title": "F"}]},
            Enum(values=("1", "2"), labels={"1": Text("男", "Male"), "2": Text("F", "F")}),
        ),
    ],
    ids=str,
)
def test_what_a_shape_can_say_is_read(of: dict[str, Any], expected: Shape) -> None:
    assert shape(of, **{"$defs": {"day": {"type": "string", "format": "date"}}}) == expected


def test_what_may_be_left_out_without_a_default_may_be_null() -> None:
    (field,) = fields_of({"properties": {"a": {"type": "string"}}})
    assert (field.required, field.default, field.shape) == (False, None, String(nullable=True))


def test_records_in_records_are_read_by_reference() -> None:
    document = schema(it={"$ref": "#/definitions/a~1b"}) | {
        "definitions": {"a/b": schema(name={"type": "string", "title": "Name"})}
    }
    found = fields_of(document)[0].shape
    assert isinstance(found, Object)
    assert (found.fields[0].name, found.fields[0].title) == ("name", Text("Name", "Name"))


@pytest.mark.parametrize(
    ("of", "pointer", "expected"),
    [
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "/oneOf", "no other unions"),
        ({"type": ["string", "integer"]}, "/type", "one type, or one and `null`"),
        ({"allOf": [{"type": "string"}]}, "/type", "one of string"),
        ({"type": "string", "allOf": [{"minLength": 1}]}, "/allOf", "no `allOf`"),
        ({"type": "string", "not": {"const": "a"}}, "/not", "no `not`"),
        ({"type": "number", "multipleOf": 2}, "/multipleOf", "no `multipleOf`"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "/uniqueItems", "no"),
        ({"type": "array"}, "/items", "what the list holds"),
        ({"type": "object"}, "", "properties"),
        ({"enum": [1, 2]}, "/enum", "codes that are text"),
        ({"type": "string", "format": "date", "minLength": 3}, "/format", "without another limit"),
        ({"type": "string", "pattern": "(?=a)"}, "/pattern", "a plain group"),
        ({"type": "string", "maxLength": -1}, "/maxLength", "a whole number from 0"),
        ({"type": "integer", "minimum": 3, "maximum": 1}, "", "a range with a number in it"),
        ({"$ref": "#/properties/it"}, "/$ref", "without itself"),
        ({"$ref": "other.json"}, "/$ref", "within the document"),
        ({"$ref": "#/nowhere"}, "/$ref", "a schema there is"),
        ({"type": "file"}, "/type", "one of string"),
        (True, "", "a schema that says what it accepts"),
        (schema(a={"type": "null"}), "/properties/a/type", "one of string"),
    ],
    ids=str,
)
def test_what_no_shape_can_say_is_refused_where_it_stands(
    of: dict[str, Any], pointer: str, expected: str
) -> None:
    with pytest.raises(WrongContract) as caught:
        shape(of)
    assert str(caught.value).endswith(f"at `#/properties/it{pointer}`")
    assert expected in str(caught.value)


def test_a_schema_of_others_makes_a_contract_that_promises_nothing() -> None:
    document = {
        "$id": "urn:x:Order-Line.schema.json",
        **schema(n={"type": "integer"}, id={"type": "string"}),
    }
    found = contract_of(document, owner=Text("民政", "Civil"))
    assert (found.subject, found.key, found.sharing) == ("urn_x_order_line", "id", "not_shared")
    assert found.owner == Text("民政", "Civil")


def test_a_broken_word_of_ours_is_named() -> None:
    document = json_schema(CONTRACTS["resident.v2"])
    document["x-levelsync"]["sharing"] = "free"
    with pytest.raises(WrongContract, match=r"sharing.*x-levelsync"):
        contract_of(document)


WORDS = [
    "type", "properties", "required", "items", "enum", "const", "oneOf", "anyOf", "$ref", "pattern",
    "format", "minLength", "minimum", "exclusiveMaximum", "additionalProperties", "default",
    "maxItems", "allOf", "not", "title", "x-levelsync", "x-levelsync-rules", "x-levelsync-title",
    "x-levelsync-format", "x-levelsync-standard", "$id",
]  # fmt: skip
LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        1e308,
        "",
        "a",
        "string",
        "object",
        "array",
        "integer",
        "date",
        "#",
        "#/a",
        "(",
        [],
    ]
)
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=250, deadline=None)
@given(top=st.dictionaries(st.sampled_from(WORDS), ANY), inner=ANY)
def test_no_document_does_worse_than_being_refused(top: dict[str, Any], inner: Any) -> None:
    for document in (top, schema(a=inner) | {"x-levelsync-rules": inner}):
        with contextlib.suppress(WrongContract):
            contract_of(document)


def test_a_bottomless_document_is_refused() -> None:
    inner: Any = {"type": "string"}
    for _ in range(5000):
        inner = {"type": "array", "items": inner}
    with pytest.raises(WrongContract, match="fewer levels"):
        fields_of(schema(a=inner))
