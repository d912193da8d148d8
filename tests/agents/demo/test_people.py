"""Invented people fit the contracts, and the wrong ones break the rule they are meant to."""

from typing import Any

import pytest

from agents.demo.office import resident_columns
from agents.demo.people import COUNTY, People
from contracts.check import Checker, Rejected
from contracts.identifiers import citizen_fault, credit_fault
from contracts.subjects import CONTRACTS

RESIDENT = Checker(CONTRACTS["resident.v2"])
LICENCE = Checker(CONTRACTS["business_licence.v1"])
LICENCE_COLUMNS = {"credit_code": "cert_no", "division_code": "street_code"}


def fields(row: dict[str, Any]) -> dict[str, Any]:
    return {field: row[column] for field, column in resident_columns().items()}


def test_residents_fit_their_contract_and_live_where_they_should() -> None:
    people = People()
    for _ in range(300):
        found = RESIDENT.check(fields(people.resident(COUNTY)))
        assert found.scope.startswith(COUNTY)


def test_the_same_seed_makes_the_same_people() -> None:
    assert People(5).resident(COUNTY) == People(5).resident(COUNTY)
    assert People(5).resident(COUNTY) != People(6).resident(COUNTY)


def test_wrong_residents_break_the_rule_they_name() -> None:
    people = People()
    rules = set()
    for _ in range(60):
        row, rule = people.wrong_resident()
        with pytest.raises(Rejected) as caught:
            RESIDENT.check(fields(row))
        assert caught.value.rule == rule
        rules.add(rule)
    assert rules == {"check-digit", "birth-date", "pattern", "enum"}


def test_licences_fit_their_contract_and_have_true_numbers() -> None:
    people = People()
    for _ in range(300):
        row = people.licence()
        LICENCE.check(
            {name: row[LICENCE_COLUMNS.get(name, name)] for name in LICENCE.contract.field_names}
        )
        assert credit_fault(row["cert_no"]) is None
        assert citizen_fault(row["legal_person_id"]) is None
