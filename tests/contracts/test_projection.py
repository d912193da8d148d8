"""What is left of a contract where a grant leaves out or masks fields."""

import msgspec
import pytest

from contracts.check import Checker, Rejected
from contracts.model import Rule
from contracts.projection import project
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.contracts.test_check import ROW

RESIDENT = msgspec.structs.replace(
    CONTRACTS["resident.v2"],
    rules=(
        Rule("head-has-phone", "relation != 'head' || phone != '0'", Text("…", "…")),
        Rule("named", "name != 'nobody'", Text("…", "…")),
    ),
)


def test_what_is_left_out_is_neither_required_nor_asked_of_rules() -> None:
    left = project(RESIDENT, {"id_number", "division_code", "name"})
    assert left.field_names == ("id_number", "name", "division_code")
    assert [rule.name for rule in left.rules] == ["named"]
    assert "phone" not in left.personal
    few = {name: ROW[name] for name in left.field_names}
    Checker(left).decode(msgspec.json.encode(few))


def test_masked_fields_may_hold_what_masks_leave() -> None:
    left = Checker(project(RESIDENT, mask={"birth_date": "year", "name": "null", "sex": "hash"}))
    masked = {**ROW, "birth_date": "1990", "name": None, "sex": "5f2a", "phone": None}
    left.decode(msgspec.json.encode(masked))
    with pytest.raises(Rejected):
        left.decode(msgspec.json.encode({**masked, "nationality": None}))


def test_without_a_grant_that_leaves_out_everything_is_as_it_was() -> None:
    assert project(RESIDENT) == RESIDENT
