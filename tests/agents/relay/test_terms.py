"""What a grant lets through of each record."""

import json
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from agents.base.stream import Record
from agents.relay.terms import Rule, Terms, fingerprint
from contracts.envelope import Event, headers_of
from contracts.subjects import CONTRACTS

FIELDS = {
    "id_number": "370102199003070012",
    "name": "王小明",
    "birth_date": "1990-03-07",
    "division_code": "370102001",
    "status": "active",
    "phone": "13812345678",
}


def record(scope: str = "370102001", fields: Any = None, kind: str = "application/json") -> Record:
    value = json.dumps(FIELDS if fields is None else fields).encode()
    event = Event("k", value, "id", "/37/resident.v2", "resident.v2.changed", 0, "s", "1", scope, content_type=kind)  # fmt: skip
    return Record(0, 0, b"k", value, headers_of(event))


def rule(to: str = "370102", secret: str = "s", **terms: Any) -> Rule:
    return Rule(Terms(**terms), CONTRACTS["resident.v2"], to=to, secret=secret)


def given(made: Rule, entry: Record) -> dict[str, Any]:
    value = made.given(entry)
    assert value is not None
    found: dict[str, Any] = json.loads(value)
    return found


@pytest.mark.parametrize(
    ("terms", "goes"),
    [
        ({"scope": "370102"}, True),
        ({"scope": "370103"}, False),
        ({"scope": "0"}, True),
        ({"where": "status == 'active'"}, True),
        ({"where": "status == 'deceased'"}, False),
        ({"where": "name.startsWith('王') && phone != null"}, True),
        ({"where": "household_no == '1'"}, False),  # a field the record does not carry is null
        ({"scope": "370102", "where": "status == 'moved_out'"}, False),
        ({"ended": True}, False),
    ],
)
def test_rows_are_given_by_scope_and_rule(terms: dict[str, Any], goes: bool) -> None:
    assert (rule(**terms).given(record()) is not None) == goes


def test_what_is_given_whole_is_the_same_bytes() -> None:
    entry = record()
    assert rule(scope="3701", where="status == 'active'").given(entry) is entry.value


def test_only_listed_fields_are_given() -> None:
    fields = ("id_number", "division_code", "name")
    assert given(rule(fields=fields), record()) == {name: FIELDS[name] for name in fields}


def test_masks_keep_what_they_say() -> None:
    masks = {"phone": "last4", "birth_date": "year", "name": "hash", "status": "null"}
    found = given(rule(mask=masks), record())
    assert found["phone"] == "*******5678"
    assert found["birth_date"] == "1990"
    assert found["status"] is None
    assert found["name"] != FIELDS["name"]
    assert len(found["name"]) == 32
    assert found["id_number"] == FIELDS["id_number"]


def test_a_short_value_is_masked_whole() -> None:
    assert given(rule(mask={"name": "last4"}), record())["name"] == "***"


def test_a_hash_is_the_same_for_one_neighbour_and_another_for_each() -> None:
    def hashed(to: str, secret: str = "s") -> str:
        return str(given(rule(to, secret, mask={"name": "hash"}), record())["name"])

    assert hashed("370102") == hashed("370102")
    assert hashed("370102") != hashed("370103"), "two neighbours cannot join their data"
    assert hashed("370102") != hashed("370102", "other")


def test_a_missing_value_stays_missing_under_a_mask() -> None:
    assert (
        given(rule(mask={"phone": "last4"}), record(fields=FIELDS | {"phone": None}))["phone"]
        is None
    )


@pytest.mark.parametrize("value", [b"not json", b"[1]", b""])
def test_what_cannot_be_judged_is_not_given(value: bytes) -> None:
    entry = record()._replace(value=value)
    assert rule(where="status == 'active'").given(entry) is None


def test_a_rule_that_fails_on_a_record_leaves_it_out_and_says_so_once() -> None:
    made = rule(where="phone.startsWith('1')")
    entry = record(fields=FIELDS | {"phone": None})
    with capture_logs() as logs:
        assert made.given(entry) is None
        assert made.given(entry) is None
    assert [line["log_level"] for line in logs] == ["warning"]


def test_messagepack_is_read_and_written_as_what_it_is() -> None:
    entry = record(kind="application/msgpack")._replace(value=msgspec.msgpack.encode(FIELDS))
    value = rule(mask={"phone": "last4"}).given(entry)
    assert value is not None
    assert msgspec.msgpack.decode(value)["phone"] == "*******5678"


def test_a_fingerprint_tells_secrets_apart_and_nothing_else() -> None:
    assert fingerprint("a") == fingerprint("a") != fingerprint("b")
    assert "secret" not in fingerprint("secret")


def test_only_everything_needs_no_copy() -> None:
    assert Terms().everything
    for terms in (
        {"scope": "37"}, {"where": "true"}, {"fields": ("name",)}, {"mask": {"name": "null"}},
        {"ended": True},
    ):  # fmt: skip
        assert not Terms(**terms).everything
