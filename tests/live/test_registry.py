"""A real Confluent-compatible registry takes contracts, and their next revisions.

It is started by whoever has one: REGISTRY_URL names its Confluent interface, such as Apicurio Registry's
``http://127.0.0.1:8080/apis/ccompat/v7``.
"""

import os
import uuid

import msgspec
import pytest

from agents.cli.registry import Registry, RegistryRefused
from contracts.model import Contract
from contracts.shape import Field, Integer, String
from contracts.subjects import CONTRACTS
from contracts.text import Text

URL = os.environ.get("REGISTRY_URL", "")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not URL, reason="REGISTRY_URL names no schema registry"),
]
RULE = "BACKWARD_TRANSITIVE"


def mine(contract: Contract) -> Contract:
    """The contract under a subject that no other test has."""
    return msgspec.structs.replace(contract, subject=f"{contract.subject}_{uuid.uuid4().hex[:8]}")


def grown(old: Contract, **field: object) -> Contract:
    title = Text("注", "Note")
    new = Field(name="a_new_note", title=title, **field)  # type: ignore[arg-type]
    return msgspec.structs.replace(old, minor=old.minor + 1, fields=(*old.fields, new))


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=lambda found: found.name)
def test_a_contract_is_taken_once_and_may_grow_but_not_break(found: Contract) -> None:
    first = mine(found)
    registry = Registry(URL)
    made, again = registry.push(first, RULE), registry.push(first, RULE)
    assert (made.new, again.new, made.id) == (True, False, again.id)
    assert registry.push(grown(first, shape=String(nullable=True), required=False), RULE).new
    with pytest.raises(RegistryRefused, match="409"):
        registry.push(grown(first, shape=Integer()), RULE)
    assert not registry.push(first, RULE).new
