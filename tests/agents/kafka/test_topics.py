"""The name of a topic says who may write it."""

from agents.kafka.topics import contract_of, dead, parse_received, received, view


def test_names_are_made_and_read_alike() -> None:
    assert view("resident.v2", "3701") == "resident.v2.to.3701"
    assert dead("resident.v2") == "resident.v2.dead"
    assert parse_received(received("resident.v2", "37")) == ("resident.v2", "37")
    assert parse_received(received("resident.v2", "37-housing")) == ("resident.v2", "37-housing")
    for other in ("resident.v2", "resident.v2.to.37", "resident.v2.from.37.dead"):
        assert parse_received(other) is None
        assert contract_of(other) == "resident.v2"
