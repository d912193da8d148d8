"""Records found by what is in them, and what became of one: only of what the reader sees."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer

from agents.window import search
from agents.window.openapi import addresses
from tests.agents.window.house import ENOUGH, LITTLE, House, bearer

LICENCES = "/v1/business_licence.v1/records"


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def client(house: House) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(house.app)) as made:
        yield made


async def found(client: TestClient[Any, Any], query: str, token: str = ENOUGH) -> list[str]:
    """The keys of all pages."""
    keys: list[str] = []
    after: str | None = ""
    while after is not None:
        path = f"{LICENCES}?limit=7&{query}&after={after}"
        async with client.get(path, headers=bearer(token)) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            assert "Complete-As-Of" in answer.headers
        keys += [each["key"] for each in body["records"]]
        after = body["next"]
    return keys


async def test_records_are_found_by_a_searchable_field(
    house: House, client: TestClient[Any, Any]
) -> None:
    there = house.records["business_licence.v1"]
    some = next(iter(there.values()))
    wanted = sorted(
        key for key, each in there.items() if each["company_name"] == some["company_name"]
    )
    assert await found(client, f"field=company_name&value={quote(some['company_name'])}") == wanted
    assert await found(client, "field=company_name&value=nobody") == []
    person = some["legal_person_id"]
    assert await found(client, f"field=legal_person_id&value={person}")
    headers = bearer(LITTLE)
    path = f"{LICENCES}?field=legal_person_id&value={person}"
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 400, "masked for this one: it is not to be guessed either"
        assert "field=one of company_name, got" in (await answer.json())["detail"]


async def test_records_are_found_by_an_expression_over_what_the_reader_sees(
    house: House, client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = house.records["business_licence.v1"]
    wanted = sorted(key for key, each in there.items() if each["kind"] == "branch")
    assert wanted
    assert await found(client, "where=" + quote("kind == 'branch'")) == wanted
    # Where a page ends early, the next goes on.
    monkeypatch.setattr(search, "MOST", 3)
    monkeypatch.setattr(search, "TURN", 2)
    assert await found(client, "where=" + quote("kind == 'branch'")) == wanted
    monkeypatch.setattr(search, "SECONDS", 0.0)
    monkeypatch.setattr(search, "TURN_SECONDS", 0.0)
    assert await found(client, "where=" + quote("kind == 'branch'")) == wanted
    some = there[house.key("business_licence.v1", "370102001")]
    whole, masked = some["legal_person_id"], "*" * 14 + some["legal_person_id"][-4:]
    assert await found(client, "where=" + quote(f"legal_person_id == '{whole}'"))
    assert not await found(client, "where=" + quote(f"legal_person_id == '{whole}'"), LITTLE)
    assert await found(client, "where=" + quote(f"legal_person_id == '{masked}'"), LITTLE)
    assert await found(client, "where=" + quote("1 / 0 == 1")) == [], "it fails on every one"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("field=company_name", "Expected field and value together, got only field"),
        ("value=x", "got only value"),
        ("field=kind&value=x", "Expected field=one of company_name, legal_person_id, got `kind`"),
        ("where=kind ==", "Expected where=a CEL expression"),
        ("where=nobody == 1", "got `nobody`"),
        ("where=kind.matches('x')", "Expected where=contains, startsWith or endsWith, got matches"),
        ("where=[1].all(a, [1].all(b, true))", "one of all, exists"),
        ("where=" + "x" * 1_001, "Expected where=at most 1000 characters, got 1001"),
        ("after=" + "x" * 201, "Expected after=at most 200 characters, got 201"),
    ],
)
async def test_what_cannot_be_searched_is_said(
    client: TestClient[Any, Any], query: str, says: str
) -> None:
    async with client.get(f"{LICENCES}?{query}", headers=bearer(ENOUGH)) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["detail"]


async def test_a_field_left_out_cannot_be_asked_about(client: TestClient[Any, Any]) -> None:
    async with client.get(f"{LICENCES}?where=kind=='x'", headers=bearer(LITTLE)) as answer:
        assert answer.status == 400
        assert "got `kind`" in (await answer.json())["detail"]


async def test_the_history_of_a_key_is_told_newest_first(
    house: House, client: TestClient[Any, Any]
) -> None:
    key = house.key("business_licence.v1", "370102001")
    path = f"{LICENCES}/{key}/history"
    for token, fields in ((ENOUGH, len(house.records["business_licence.v1"][key])), (LITTLE, 4)):
        async with client.get(path, headers=bearer(token)) as answer:
            body = await answer.json()
        one, two = body["changes"]
        assert one["sequence"] > two["sequence"]
        assert (one["op"], one["scope"], len(one["record"])) == ("put", "370102001", fields)
        assert body["since"] == "2023-11-14T22:13:20.000001Z"
    async with client.get(f"{path}?limit=1", headers=bearer(ENOUGH)) as answer:
        assert len((await answer.json())["changes"]) == 1
    async with client.get(f"{LICENCES}/nobody/history", headers=bearer(ENOUGH)) as answer:
        assert answer.status == 404


async def test_every_look_is_written_down_with_who_and_what(
    house: House, client: TestClient[Any, Any]
) -> None:
    key = house.key("business_licence.v1", "370202")
    for path in (f"/{key}", "/nobody", f"/{key}/history", "?limit=3", "?where=kind=='x'"):
        await client.get(LICENCES + path, headers=bearer(ENOUGH))
    await client.get(f"{LICENCES}/{key}", headers=bearer(LITTLE))
    name = "business_licence.v1"
    assert house.journal.lines == [
        ("counter", "look-up", name, key),
        ("counter", "look-up", name, "nobody"),
        ("counter", "look-up", name, key),
        ("counter", "page", name, "limit=3"),
        ("counter", "page", name, "where=kind=='x'"),
        ("screen", "look-up", name, key),
    ]


async def test_the_document_describes_every_address_and_the_contracts_as_seen(
    client: TestClient[Any, Any], house: House
) -> None:
    async with client.get("/openapi.json", headers=bearer(LITTLE)) as answer:
        document = await answer.json()
    told = {(method.upper(), path) for path, one in document["paths"].items() for method in one}
    assert told == set(addresses(house.app))
    assert set(document["components"]["schemas"]["record.business_licence.v1"]["properties"]) == {
        "credit_code", "division_code", "company_name", "legal_person_id"
    }  # fmt: skip
    assert "record.resident.v2" not in document["components"]["schemas"]
    text = json.dumps(document)
    for name in set(document["components"]["schemas"]):
        text = text.replace(f'"#/components/schemas/{name}"', "")
    assert "#/components/schemas/" not in text, "nothing is named that is not there"
