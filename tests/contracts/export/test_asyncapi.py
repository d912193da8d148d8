"""A node's AsyncAPI document keeps the standard's own schema, and says who writes and reads what."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from contracts.envelope import Event, headers_of
from contracts.export.asyncapi import Cluster, Flow, NodeView, asyncapi
from contracts.model import WrongContract
from contracts.subjects import CONTRACTS

STANDARD = (
    Path(__file__).parents[3]
    / ".cache/node/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
)

CITY = NodeView(
    id="3701",
    name="济南市",
    version="1.0.0",
    cluster=Cluster(node="3701", bootstrap="10.0.0.1:9092, 10.0.0.2:9092"),
    owns=("division.v1",),
    gives=(
        Flow(
            contract="resident.v2", neighbour="370102", purpose="窗口核验",
            fields=("id_number", "name", "division_code"), mask={"name": "null"},
        ),
    ),
    received=(Flow(contract="business_licence.v1", neighbour="370102"),),
    parent=Cluster(node="37", bootstrap="p:9092", security=("scram-sha-512", "tls")),
    pulls=(Flow(contract="resident.v2", neighbour="37", terms_known=False),),
    pushes=(Flow(contract="business_licence.v1", neighbour="37"),),
)  # fmt: skip


def standard() -> Any:
    if not STANDARD.exists() and not os.environ.get("CI"):
        pytest.skip("deploy/setup installs @asyncapi/specs where node is")
    return jsonschema_rs.Draft7Validator(json.loads(STANDARD.read_text()))


@pytest.mark.parametrize(
    "node",
    [CITY, NodeView(id="37", name="山东省", version="1", cluster=CITY.cluster)],
    ids=["city", "bare"],
)
def test_a_document_keeps_the_standards_schema(node: NodeView) -> None:
    document = json.loads(json.dumps(asyncapi(node, CONTRACTS)))
    assert [str(error) for error in standard().iter_errors(document)] == []
    document["channels"]["x"] = {"addres": "x"}
    assert not standard().is_valid(document)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi(CITY, CONTRACTS)

    def references(within: Any) -> list[str]:
        if isinstance(within, dict):
            own = [within["$ref"]] if isinstance(within.get("$ref"), str) else []
            return own + [each for value in within.values() for each in references(value)]
        return (
            [each for value in within for each in references(value)]
            if isinstance(within, list)
            else []
        )

    found = references(document)
    assert len(found) > 40
    for reference in found:
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_operations_say_who_writes_and_reads_each_topic() -> None:
    document = asyncapi(CITY, CONTRACTS)
    assert set(document["operations"]) == {
        "send.division.v1", "send.division.v1.dead", "send.resident.v2.to.370102",
        "receive.business_licence.v1.from.370102", "send.business_licence.v1.from.370102.dead",
        "receive.resident.v2.to.3701", "send.resident.v2.from.37", "send.resident.v2.from.37.dead",
        "send.business_licence.v1.to.37", "send.business_licence.v1.from.3701",
        "send.business_licence.v1.from.3701.dead",
        "send.levelsync.contracts", "receive.levelsync.contracts",
    }  # fmt: skip
    servers = {name: channel["servers"] for name, channel in document["channels"].items()}
    assert servers["resident.v2.to.3701"] == [{"$ref": "#/servers/parent"}]
    assert servers["division.v1"] == [{"$ref": "#/servers/node"}, {"$ref": "#/servers/node-2"}]
    assert document["servers"]["parent"]["protocol"] == "kafka-secure"
    assert document["channels"]["resident.v2.to.370102"]["description"] == "窗口核验"


def test_a_view_shows_only_what_its_grant_gives() -> None:
    schema = asyncapi(CITY, CONTRACTS)["components"]["schemas"]["resident.v2.to.370102.record"]
    assert list(schema["properties"]) == ["id_number", "name", "division_code"]
    assert jsonschema_rs.is_valid(
        schema, {"id_number": "11010519491231002X", "name": None, "division_code": "370102001"}
    )


def test_where_the_grant_is_not_known_any_field_but_key_and_scope_may_be_missing() -> None:
    schema = asyncapi(CITY, CONTRACTS)["components"]["schemas"]["resident.v2.to.3701.record"]
    sure = {"id_number": "11010519491231002X", "division_code": "370102001"}
    assert jsonschema_rs.is_valid(schema, sure | {"birth_date": "1949", "name": None})
    assert not jsonschema_rs.is_valid(schema, sure | {"name": 1})
    assert not jsonschema_rs.is_valid(schema, {"name": "李雷"})


def test_headers_are_those_that_agents_write() -> None:
    document = asyncapi(CITY, CONTRACTS)
    event = Event(
        key="3701", value=b"{}", id="1", source="s", type="division.v1.changed", time=1, sequence="1",
        dataschema="division.v1/1.3", scope="3701",
    )  # fmt: skip
    for change, right in (
        ({}, True), ({"type": "division.v1.deleted"}, False), ({"dataschema": "division.v1/2.0"}, False),
    ):  # fmt: skip
        headers = {
            name: value.decode()
            for name, value in headers_of(msgspec.structs.replace(event, **change))
        }
        schema = {
            **document["components"]["messages"]["division.v1.put"]["headers"],
            "components": document["components"],
        }
        assert jsonschema_rs.is_valid(schema, headers) == right


def test_an_unknown_contract_is_named() -> None:
    with pytest.raises(WrongContract, match=r"nothing\.v1 at node 37"):
        asyncapi(
            NodeView(id="37", name="", version="1", cluster=CITY.cluster, owns=("nothing.v1",)),
            CONTRACTS,
        )
    with pytest.raises(WrongContract, match="a parent"):
        asyncapi(msgspec.structs.replace(CITY, parent=None), CONTRACTS)
