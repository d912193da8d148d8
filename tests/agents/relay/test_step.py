"""Records of another major, made as they come by."""

import datetime

import msgspec
import pytest

from agents.base.stream import Record
from agents.relay.step import Misstepped, Step
from contracts.check import Checker
from contracts.envelope import Event, event_of, headers_of
from contracts.model import WrongContract
from contracts.subjects import CONTRACTS
from contracts.subjects.resident import ResidentV1, ResidentV2, down
from tests.contracts.test_check import ROW

V1, V2 = CONTRACTS["resident.v1"], CONTRACTS["resident.v2"]


def record(**change: object) -> Record:
    value = Checker(V2).check({**ROW, **change}).value
    event = Event(
        key="k", value=value, id="1", source="/37/resident.v2", type="resident.v2.changed",
        time=1, dataschema=V2.dataschema, sequence="1", scope="370102001",
    )  # fmt: skip
    return Record(0, 0, b"k", value, headers_of(event))


def test_a_record_is_stepped_and_its_event_says_so() -> None:
    step = Step(down, source=V2, into=V1)
    given = record()
    value = step.given(given)
    assert value is not None
    assert msgspec.json.decode(value)["address"] == ROW["address_detail"]
    event = event_of(value, step.headers(given))
    assert (event.type, event.dataschema) == ("resident.v1.changed", V1.dataschema)
    assert (event.id, event.source, event.scope) == ("1", "/37/resident.v2", "370102001")


def test_what_has_no_place_in_the_other_major_is_not_given() -> None:
    assert Step(down, source=V2, into=V1).given(record(status="deceased")) is None


def test_after_the_sunset_nothing_is_given() -> None:
    step = Step(down, source=V2, into=V1, ended=True)
    assert step.given(record()) is None
    assert step.terms.ended


def test_a_step_that_makes_a_wrong_record_is_at_fault_and_said() -> None:
    def wrong(new: ResidentV2) -> ResidentV1:
        old = down(new)
        assert old
        return msgspec.structs.replace(old, birth_date=datetime.date(1, 1, 1), address="x" * 201)

    with pytest.raises(Misstepped, match=r"resident\.v1") as caught:
        Step(wrong, source=V2, into=V1).given(record())
    assert "levelsync resync" in str(caught.value)

    def fails(new: ResidentV2) -> ResidentV1:
        raise KeyError(new.name)

    with pytest.raises(Misstepped):
        Step(fails, source=V2, into=V1).given(record())


def test_another_revision_is_another_copy() -> None:
    newer = msgspec.structs.replace(V2, minor=V2.minor + 1)
    assert Step(down, source=V2, into=V1).terms != Step(down, source=newer, into=V1).terms


def test_a_step_that_does_not_say_what_it_takes_is_refused() -> None:
    with pytest.raises(WrongContract, match="first parameter is a record's class"):
        Step(lambda new: new, source=V2, into=V1)
