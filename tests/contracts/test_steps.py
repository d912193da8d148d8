"""Steps between majors: what one major's writer writes, the other's reader can have and give back."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from contracts.check import Checker
from contracts.load import stepped_class
from contracts.model import Contract
from contracts.subjects import CONTRACTS, STEPS
from tests.contracts.generated import accepted_by, records

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def resident(record: dict[str, Any]) -> dict[str, Any]:
    """A resident whose fields say the same as the citizen number."""
    number = record["id_number"]
    fitted = {
        **record,
        "birth_date": f"{number[6:10]}-{number[10:12]}-{number[12:14]}",
        "sex": "21"[int(number[16]) % 2],
        "registered_at": "2026-06-01T08:00:00+08:00",
    }
    if fitted.get("household_no") is None or fitted.get("relation") is None:
        fitted |= {name: None for name in ("household_no", "relation") if name in fitted}
    return fitted


#: By subject: what makes a record of right fields keep the rules across them.
FITTED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"resident": resident}


def fitting(contract: Contract) -> SearchStrategy[dict[str, Any]]:
    """Records that the contract's writer accepts."""
    fitted = FITTED.get(contract.subject, dict)
    return records(contract.fields).map(fitted).filter(accepted_by(contract))


def stepped(source: str, into: str, value: bytes) -> bytes | None:
    """The record ``value`` of ``source`` as ``into``'s writer writes it."""
    function = STEPS[source, into]
    found = function(msgspec.json.decode(value, type=stepped_class(function)))
    if found is None:
        return None
    return Checker(CONTRACTS[into]).check(msgspec.to_builtins(found)).value


@pytest.mark.parametrize(("source", "into"), STEPS, ids=map(" to ".join, STEPS))
def test_every_step_makes_records_the_other_major_accepts(source: str, into: str) -> None:
    made = 0

    @given(record=fitting(CONTRACTS[source]))
    @settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
    def steps(record: dict[str, Any]) -> None:
        nonlocal made
        value = Checker(CONTRACTS[source]).accept(msgspec.json.encode(record)).value
        there = stepped(source, into, value)
        made += there is not None
        if there is None or (into, source) not in STEPS:
            return
        back = stepped(into, source, there)
        assert back is not None
        before, between, after = (msgspec.json.decode(each) for each in (value, there, back))
        for name in before.keys() & between.keys():
            assert after[name] == before[name]

    steps()
    assert made, "not one record was stepped"


@pytest.mark.parametrize(("source", "into"), STEPS, ids=map(" to ".join, STEPS))
def test_every_step_leads_between_majors_of_one_subject_and_keeps_key_and_scope(
    source: str, into: str
) -> None:
    old, new = CONTRACTS[source], CONTRACTS[into]
    assert (old.subject, old.key, old.scope) == (new.subject, new.key, new.scope)
    assert old.major != new.major


def test_majors_published_side_by_side_have_a_step_down() -> None:
    """Else an owner cannot fill the lower from the upper until its sunset."""
    majors: dict[str, list[Contract]] = {}
    for contract in CONTRACTS.values():
        majors.setdefault(contract.subject, []).append(contract)
    for found in majors.values():
        for lower, upper in itertools.pairwise(found):
            assert (upper.name, lower.name) in STEPS
