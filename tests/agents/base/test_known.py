"""Which published contracts an agent takes, and why it refuses the others."""

import datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.base.known import Known
from contracts.model import Contract
from contracts.shape import Field, String
from contracts.signed import Forged, opened, public_text, sign
from contracts.subjects import CONTRACTS
from contracts.text import Text

KEYS = {node: Ed25519PrivateKey.generate() for node in ("0", "37", "3701", "3702", "370102")}
RESIDENT = CONTRACTS["resident.v2"]
PERMIT = msgspec.structs.replace(CONTRACTS["division.v1"], subject="permit")
COUNTY = msgspec.structs.replace(PERMIT, level="county")
NOTE = Field(name="note", title=Text("备注", "Note"), shape=String(nullable=True), required=False)


def signed(
    contract: Contract,
    publisher: str,
    *,
    time: int = 1,
    sunset: datetime.date | None = None,
    key: Ed25519PrivateKey | None = None,
) -> dict[str, bytes]:
    raw = sign(contract, publisher=publisher, key=key or KEYS[publisher], time=time, sunset=sunset)
    return {contract.dataschema: raw}


def revision(contract: Contract, minor: int, *more: Field) -> Contract:
    return msgspec.structs.replace(contract, minor=minor, fields=contract.fields + more)


def known(node: str, *published: dict[str, bytes], **trust: Any) -> Known:
    made = Known(node, trust)
    for each in published:
        made.learn(each)
    return made


def test_a_contract_from_above_is_known_and_passed_on_as_it_came() -> None:
    published = signed(PERMIT, "37")
    county = known("370102", published)
    assert county.contracts["permit.v1"] == PERMIT
    assert county.taken == published
    assert county.learn(published) == ([], {}), "nothing is looked at twice"


@pytest.mark.parametrize(
    ("node", "contract", "publisher", "says"),
    [
        ("370102", PERMIT, "3701", "belongs to the province; 3701 is a city"),
        ("370102", COUNTY, "3702", "neither is above 370102 nor below it"),
        ("37", msgspec.structs.replace(CONTRACTS["business_licence.v1"], minor=1), "370102",
         "is below 37, where business_licence is known already"),
    ],
)  # fmt: skip
def test_who_does_not_own_it_is_refused(
    node: str, contract: Contract, publisher: str, says: str
) -> None:
    found = known(node, signed(contract, publisher))
    assert says in found.refused[contract.dataschema]
    assert found.taken == {}


def test_a_county_may_define_its_own_for_those_above_until_they_do() -> None:
    city = known("3701", signed(COUNTY, "370102"))
    assert city.publishers == {"permit": "370102"}
    assert city.from_here_or_below.keys() == {"permit.v1/1.0"}
    other = msgspec.structs.replace(COUNTY, freshness=1.0)
    second = msgspec.structs.replace(COUNTY, major=2)
    city.learn(signed(second, "370102"))
    city.learn(signed(other, "37", time=2))
    assert city.publishers == {"permit": "37"}
    assert "permit.v2" not in city.contracts, "its other majors are the county's no more"
    assert city.taken.keys() == {"permit.v1/1.0"}
    assert city.contracts["permit.v1"].freshness == 1.0
    city.learn(signed(revision(COUNTY, 1, NOTE), "370102", time=3))
    assert "published by 37, not by 370102" in city.refused["permit.v1/1.1"]


def test_what_is_installed_stays_frozen_for_whoever_defines_the_subject() -> None:
    licence = CONTRACTS["business_licence.v1"]
    county = known("370102", signed(revision(licence, 1, NOTE), "370102"))
    assert county.contracts["business_licence.v1"].minor == 1
    county.learn(signed(msgspec.structs.replace(licence, freshness=60.0), "37", time=2))
    assert "frozen" in county.refused[licence.dataschema]
    assert county.publishers["business_licence"] == "370102"
    county.learn(signed(revision(licence, 2, NOTE), "37", time=3))
    assert county.publishers["business_licence"] == "37"
    assert county.contracts["business_licence.v1"].minor == 2
    assert county.taken.keys() == {"business_licence.v1/1.2"}


def test_what_was_refused_is_looked_at_again_when_the_node_file_has_other_keys() -> None:
    other = Ed25519PrivateKey.generate()
    newer = signed(revision(PERMIT, 1, NOTE), "37", time=2, key=other)
    city = known("3701", signed(PERMIT, "37"), newer)
    assert city.contracts["permit.v1"].minor == 0
    city.use({"37": tuple(public_text(key.public_key()) for key in (KEYS["37"], other))})
    city.learn(newer)
    assert city.contracts["permit.v1"].minor == 1
    assert city.refused == {}


def test_the_first_key_of_a_publisher_counts_unless_the_node_file_has_others() -> None:
    other = Ed25519PrivateKey.generate()
    newer = signed(revision(PERMIT, 1, NOTE), "37", time=2, key=other)
    trusting = known("370102", signed(PERMIT, "37"), newer)
    assert "whose key was" in trusting.refused["permit.v1/1.1"]
    strict = known("370102", **{"37": (public_text(other.public_key()),)})
    strict.learn(signed(PERMIT, "37"))
    assert "[trust] has other keys for 37" in strict.refused["permit.v1/1.0"]
    strict.learn(newer)
    assert strict.contracts["permit.v1"].minor == 1


def test_what_was_published_is_frozen() -> None:
    city = known("3701", signed(PERMIT, "37"))
    city.learn(signed(msgspec.structs.replace(PERMIT, freshness=60.0), "37", time=2))
    assert "what is published is frozen" in city.refused["permit.v1/1.0"]
    assert city.contracts["permit.v1"].freshness == PERMIT.freshness
    resident = msgspec.structs.replace(RESIDENT, freshness=60.0)
    city.learn(signed(resident, "37"))
    assert "frozen" in city.refused[RESIDENT.dataschema], "what is installed is published too"


def test_a_revision_that_breaks_an_earlier_one_is_refused_in_whatever_order_they_come() -> None:
    broken = revision(PERMIT, 2, msgspec.structs.replace(NOTE, required=True))
    late = known("3701", signed(PERMIT, "37"), signed(broken, "37"))
    assert "does not go with permit.v1/1.0" in late.refused["permit.v1/1.2"]
    early = known("3701", signed(broken, "37"), signed(PERMIT, "37"))
    assert "does not go with permit.v1/1.2" in early.refused["permit.v1/1.0"]
    both = known("3701", signed(broken, "37") | signed(PERMIT, "37"))
    assert both.refused.keys() == {"permit.v1/1.2"}, "the older is looked at first"


def test_the_newest_revision_is_used_and_an_old_one_that_comes_again_changes_nothing() -> None:
    first, second = signed(PERMIT, "37"), signed(revision(PERMIT, 1, NOTE), "37", time=2)
    city = known("3701", second, first)
    assert city.contracts["permit.v1"].minor == 1
    day = datetime.date(2027, 6, 30)
    city.learn(signed(revision(PERMIT, 1, NOTE), "37", time=3, sunset=day))
    assert city.sunsets["permit.v1"] == day
    assert city.stands(revision(PERMIT, 1, NOTE), "37", day)
    city.learn(signed(revision(PERMIT, 1, NOTE), "37", time=2, sunset=None))
    assert city.sunsets["permit.v1"] == day


def test_a_contract_under_another_ones_key_is_refused() -> None:
    city = known("3701", {"resident.v2/2.9": signed(PERMIT, "37")["permit.v1/1.0"]})
    assert "got permit.v1/1.0" in city.refused["resident.v2/2.9"]


@pytest.mark.parametrize(
    "change",
    [
        {"contract": msgspec.json.encode(COUNTY).decode()},
        {"publisher": "0"},
        {"time": 2},
        {"sunset": "2099-01-01"},
        {"key": public_text(KEYS["0"].public_key())},
        {"key": "AAAA"},
        {"signature": "…"},
        {"contract": 1},
    ],
)
def test_whatever_is_changed_after_signing_is_noticed(change: dict[str, Any]) -> None:
    (raw,) = signed(PERMIT, "37").values()
    altered = msgspec.json.encode(msgspec.json.decode(raw) | change)
    with pytest.raises(Forged):
        opened(altered)


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"\xff", b"{}" + b" " * 1_000_000])
def test_bytes_that_are_no_signed_contract_are_refused(raw: bytes) -> None:
    with pytest.raises(Forged):
        opened(raw)
