"""Open Data Contracts keep the standard's own schema, and ours come back whole."""

import contextlib
import json
from importlib import resources
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.export.odcs import odcs, odcs_document
from contracts.export.odcs_reader import contract_of_odcs
from contracts.model import Contract, WrongContract
from contracts.shape import Array, Boolean, Date, DateTime, Decimal, Enum, Integer, Shape, String
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.contracts.generated import contracts

#: The standard's JSON Schema as its Python model carries it.
STANDARD = jsonschema_rs.Draft201909Validator(
    json.loads(resources.files("open_data_contract_standard").joinpath("schema.json").read_text())
)
SLOW = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=str)
def test_our_contracts_keep_the_standards_schema_and_come_back_whole(found: Contract) -> None:
    text = odcs(found)
    assert [str(error) for error in STANDARD.iter_errors(yaml.safe_load(text))] == []
    assert contract_of_odcs(text) == found


@SLOW
@given(contract=contracts())
def test_any_contract_keeps_the_standards_schema_and_comes_back_whole(contract: Contract) -> None:
    text = odcs(contract)
    assert [str(error) for error in STANDARD.iter_errors(yaml.safe_load(text))] == []
    assert contract_of_odcs(text) == contract


def test_the_standards_schema_is_one_that_refuses() -> None:
    document = odcs_document(CONTRACTS["resident.v2"])
    document["schema"][0]["properties"][0]["logicalTypeOptions"]["minimumLength"] = 1
    assert not STANDARD.is_valid(document)


def test_the_standards_words_are_used_where_it_has_them() -> None:
    document = odcs_document(CONTRACTS["resident.v2"])
    number, _, sex, *_ = document["schema"][0]["properties"]
    assert number["primaryKey"]
    assert number["classification"] == "personal"
    assert sex["quality"][0]["arguments"] == {"validValues": ["0", "1", "2", "9"]}
    assert {"property": "latency", "value": 2.0, "unit": "s"}.items() <= document["slaProperties"][
        0
    ].items()
    assert document["team"]["name"].endswith("Public security")


FOREIGN = """
apiVersion: v3.1.0
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
version: 1.4.0
status: active
schema:
  - name: Orders
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: it, %s}
team: {name: Sales}
slaProperties: [{property: latency, value: 2, unit: h}, {property: retention, value: 3, unit: y}]
"""


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ("physicalType: VARCHAR(20), required: true", String(max_length=20)),
        ("physicalType: bigint", Integer(nullable=True)),
        ("physicalType: 'numeric(10, 2)', required: true", Decimal(digits=10, places=2)),
        ("physicalType: TIMESTAMP WITH TIME ZONE, required: true", DateTime()),
        ("logicalType: date, required: true, logicalTypeOptions: {format: yyyy-MM-dd}", Date()),
        (
            "logicalType: integer, required: true, logicalTypeOptions: {exclusiveMinimum: 0}",
            Integer(ge=1),
        ),
        (
            "logicalType: array, required: true, items: {logicalType: boolean, required: true}",
            Array(items=Boolean()),
        ),
        (
            "logicalType: string, required: true, quality: [{metric: invalidValues, arguments: {validValues: [a, b]}}]",
            Enum(values=("a", "b")),
        ),
    ],
)
def test_contracts_of_others_are_read(said: str, shape: Shape) -> None:
    found = contract_of_odcs(FOREIGN % said, condition=Text("按需", "as needed"))
    assert found.shape_of("it") == shape
    assert (found.subject, found.major, found.minor, found.key) == ("orders", 1, 4, "id")
    assert (found.freshness, found.retention, found.sharing) == (7200.0, 1096, "not_shared")
    assert found.owner == Text("Sales", "Sales")


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ("logicalType: time", "logicalType"),
        (
            "logicalType: integer, logicalTypeOptions: {multipleOf: 2}",
            "logicalTypeOptions/multipleOf",
        ),
        (
            "logicalType: date, logicalTypeOptions: {minimum: '2020-01-01'}",
            "logicalTypeOptions/minimum",
        ),
        ("logicalType: array", "items"),
        (
            "logicalType: string, logicalTypeOptions: {pattern: '(?=a)'}",
            "logicalTypeOptions/pattern",
        ),
        ("description: no type at all", "logicalType"),
    ],
)
def test_what_no_shape_can_say_is_refused_where_it_stands(said: str, pointer: str) -> None:
    with pytest.raises(WrongContract) as caught:
        contract_of_odcs(FOREIGN % said)
    assert str(caught.value).endswith(f"at `#/schema/0/properties/1/{pointer}`")


@pytest.mark.parametrize(
    "text", ["[", "a: [", "- 1", "kind: DataContract\napiVersion: v2.2.2", "&a [*a]", "x: 9" * 5000]
)
def test_what_is_no_open_data_contract_is_refused(text: str) -> None:
    with pytest.raises(WrongContract):
        contract_of_odcs(text)


def test_one_of_several_objects_is_chosen_by_name() -> None:
    document = yaml.safe_load(FOREIGN % "logicalType: date")
    document["schema"].append(
        {"name": "Lines", "properties": document["schema"][0]["properties"][:1]}
    )
    with pytest.raises(WrongContract, match="Orders, Lines"):
        contract_of_odcs(yaml.safe_dump(document))
    assert contract_of_odcs(yaml.safe_dump(document), schema="Lines").subject == "lines"


WORDS = [
    "name", "logicalType", "logicalTypeOptions", "items", "properties", "required", "quality", "metric",
    "arguments", "validValues", "customProperties", "property", "value", "physicalType", "engine", "team",
    "slaProperties", "minLength", "pattern", "format",
]  # fmt: skip
ANY = st.recursive(
    st.sampled_from(
        [
            None,
            True,
            -1,
            1.5,
            "",
            "string",
            "array",
            "object",
            "map",
            "decimal(3,9)",
            "cel",
            "latency",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=14,
)


@settings(max_examples=250, deadline=None)
@given(
    rest=st.dictionaries(st.sampled_from(WORDS), ANY, max_size=4),
    inner=ANY,
    properties=st.lists(ANY, max_size=2),
    more=ANY,
)
def test_no_document_does_worse_than_being_refused(
    rest: Any, inner: Any, properties: Any, more: Any
) -> None:
    it = {"logicalType": "string", **(inner if isinstance(inner, dict) else {}), "name": "it"}
    it["quality"], it["customProperties"] = rest.pop("quality", None), more
    document = rest | {
        "kind": "DataContract", "apiVersion": "v3.1.0",
        "schema": [{"name": "x", "properties": [it, *properties[1:]], "quality": inner}],
    }  # fmt: skip
    with contextlib.suppress(WrongContract):
        contract_of_odcs(yaml.safe_dump(document))
