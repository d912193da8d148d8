"""A contract that cannot be is refused with the place, what was expected and what was found."""

from typing import Any

import msgspec
import pytest

from contracts.examine import DEEPEST, MOST_FIELDS, examine
from contracts.model import Contract, Rule, WrongContract
from contracts.shape import (
    Array,
    Decimal,
    Enum,
    Field,
    Integer,
    Number,
    Object,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS
from contracts.text import Text

RESIDENT = msgspec.structs.replace(CONTRACTS["resident.v2"], rules=())
WORDS = Text("字", "Words")


def field(shape: Shape, name: str = "more", **more: Any) -> Field:
    return Field(name=name, title=WORDS, shape=shape, **more)


def with_field(shape: Shape, name: str = "more") -> dict[str, Any]:
    return {"fields": (*RESIDENT.fields, field(shape, name))}


def nested(depth: int) -> Shape:
    shape: Shape = String()
    for _ in range(depth):
        shape = Object(fields=(field(shape),))
    return shape


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subject": "Resident"}, "at `subject` of"),
        ({"subject": "a.v1.to.37"}, "a name such as `business_licence`"),
        ({"major": 0}, "a number from 1 to 10000, got 0"),
        ({"minor": -1}, "at `minor`"),
        ({"partitions": 0}, "at `partitions`"),
        ({"freshness": 0.0}, "seconds above 0"),
        ({"freshness": float("inf")}, "seconds above 0"),
        ({"retention": -1}, "days, or none"),
        ({"journal": 0}, "days from 1"),
        ({"condition": None}, "what a conditional sharing asks for, got nothing"),
        ({"key": "nobody"}, "got `nobody` - at `key`"),
        ({"scope": "birth_date"}, "required text, being the scope"),
        ({"key": "household_no"}, "required text, being the key"),
        ({"personal": {"nick": "null"}}, "got `nick` - at `personal`"),
        ({"searchable": ("nick",)}, "at `searchable`"),
        ({"fields": ()}, "Expected fields, got none"),
        (with_field(String(), "name"), "each name once"),
        (with_field(String(), "class"), "a name of letters"),
        (with_field(String(), "a b"), "a name of letters"),
        (with_field(String(min_length=3, max_length=2)), "lengths from small to large"),
        (with_field(String(pattern=r"^\d$")), "the portable pattern `^[0-9]$`"),
        (with_field(String(pattern="(a+)+$", max_length=1000)), "could hang"),
        (with_field(Integer(ge=5, le=4)), "a range within 64 bits"),
        (with_field(Integer(le=2**63)), "a range within 64 bits"),
        (with_field(Number(ge=1.0, gt=1.0)), "ge or gt, got both"),
        (with_field(Decimal(digits=2, places=3)), "1 to 38 digits"),
        (with_field(Enum(values=())), "codes, each once"),
        (with_field(Enum(values=("a", "a"))), "codes, each once"),
        (with_field(Enum(values=("a",), labels={"b": WORDS})), "labels of its codes"),
        (with_field(Array(items=Enum(values=()))), "at `$.more[]`"),
        (with_field(nested(DEEPEST + 2)), f"at most {DEEPEST}"),
        (
            with_field(Object(fields=tuple(field(String(), f"f{n}") for n in range(MOST_FIELDS)))),
            f"at most {MOST_FIELDS} fields",
        ),
        ({"rules": (Rule("Not a name", "true", WORDS),)}, "a name of its own"),
        ({"rules": (Rule("a", "true", WORDS), Rule("a", "true", WORDS))}, "a name of its own"),
        ({"rules": (Rule("a", "name ==", WORDS),)}, "a CEL expression"),
        ({"rules": (Rule("a", "nick == 'x'", WORDS),)}, "got `nick` - at `rules[0].when`"),
        ({"rules": (Rule("a", "shout(name)", WORDS),)}, "functions of CEL or"),
        ({"rules": (Rule("a", "(" * 900 + "true" + ")" * 900, WORDS),)}, "a CEL expression"),
        ({"rules": (Rule("a", "name == '" + "x" * 5000 + "'", WORDS),)}, "at most 4000 characters"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], says: str) -> None:
    contract = msgspec.structs.replace(RESIDENT, **change)
    with pytest.raises(WrongContract) as caught:
        examine(contract)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda found: found.name)
def test_those_installed_can_be(contract: Contract) -> None:
    examine(contract)
