"""Every contract keeps what the model promises."""

import datetime

import msgspec
import pytest

from contracts.model import Contract
from contracts.subjects import CONTRACTS, contract
from contracts.subjects.resident import ResidentV2, down, up


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=str)
def test_a_contract_is_the_same_after_a_journey_as_json(found: Contract) -> None:
    assert msgspec.json.decode(msgspec.json.encode(found), type=Contract) == found


def test_an_unknown_contract_is_answered_with_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"resident\.v2"):
        contract("resident.v9")
    assert contract("resident.v2").dataschema == "resident.v2/2.0"


def resident(**change: object) -> ResidentV2:
    fields: dict[str, object] = {
        "id_number": "11010519491231002X", "name": "李雷", "sex": "1",
        "birth_date": datetime.date(1949, 12, 31), "nationality": "01",
        "division_code": "370102001", "address_detail": "解放路1号", "household_no": "000000001",
        "relation": "other", "status": "active",
        "registered_at": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        **change,
    }  # fmt: skip
    return msgspec.convert(fields, ResidentV2)


def test_a_resident_steps_down_and_up_again() -> None:
    new = resident()
    old = down(new)
    assert old is not None
    assert up(old, household_no="000000001") == new
    assert down(resident(status="deceased")) is None
