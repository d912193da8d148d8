"""A node holds its own, what it received and what it was granted, and nothing else."""

import msgspec
import pytest

from agents.kafka.cluster import Cluster
from agents.kafka.grants import Announcement, Grants
from agents.kafka.holdings import Holdings

CLUSTER = Cluster("127.0.0.1:1")
TOPICS = [
    "resident.v2", "resident.v2.to.3701", "resident.v2.from.37", "resident.v2.dead",
    "business_licence.v1.from.370102", "business_licence.v1.from.370102-housing",
    "estate.v1", "estate.v1.to.3701", "levelsync.grants", "__consumer_offsets",
]  # fmt: skip


def holdings(node: str, parent: str | None, *told: Announcement, owns: str = "") -> Holdings:
    grants = Grants(CLUSTER)
    for each in told:
        grants.bulletin.enter(each.key, msgspec.json.encode(each))
    held = Holdings(CLUSTER, grants, node, parent)
    held.owns = frozenset(owns.split())
    held.see(TOPICS)
    return held


def test_received_topics_are_held_and_anothers_own_are_not() -> None:
    city = holdings("3701", "37")
    assert city.held("resident.v2") == {"resident.v2.from.37"}
    assert city.held("business_licence.v1") == {"business_licence.v1.from.370102"}
    assert city.held("estate.v1") == frozenset(), "a department's, which granted nothing"


def test_a_department_holds_its_own_and_what_its_line_gave_it() -> None:
    housing = holdings("3701-housing", None, owns="estate.v1")
    assert housing.held("estate.v1") == {"estate.v1"}
    assert housing.held("resident.v2") == frozenset(), "the city received it, not the department"
    assert housing.held("business_licence.v1") == {"business_licence.v1.from.370102-housing"}


@pytest.mark.parametrize("topic", ["estate.v1", "estate.v1.to.3701"])
def test_what_a_neighbour_grants_is_read_in_place_and_never_given_back(topic: str) -> None:
    told = Announcement("estate.v1", "3701-housing", "3701", topic)
    city = holdings("3701", "37", told)
    assert city.held("estate.v1") == {topic}
    assert city.held("estate.v1", without="3701-housing") == frozenset()
    ended = msgspec.structs.replace(told, ended=True)
    assert holdings("3701", "37", ended).held("estate.v1") == frozenset()


def test_what_came_from_a_neighbour_is_never_sent_back_to_it() -> None:
    city = holdings("3701", "37", owns="resident.v2")
    assert city.held("resident.v2") == {"resident.v2", "resident.v2.from.37"}
    assert city.held("resident.v2", without="37") == {"resident.v2"}
    assert city.held("business_licence.v1", without="370102") == frozenset()


def test_a_topic_is_not_gone_because_a_starting_broker_does_not_know_it() -> None:
    city = holdings("3701", "37")
    for _ in range(9):
        city.see([])
        assert city.held("resident.v2") == {"resident.v2.from.37"}
    city.see([])
    assert city.held("resident.v2") == frozenset()


def test_two_nodes_cannot_fill_one_topic() -> None:
    grants = Grants(CLUSTER)
    topic = "resident.v2.to.3701-housing"
    told = Announcement("resident.v2", "3701", "3701-housing", topic)
    grants.bulletin.enter(told.key, msgspec.json.encode(told))
    assert grants.filled_by_another(topic, "3701-civil") == "3701"
    assert grants.filled_by_another(topic, "3701") == ""


def test_what_every_node_tells_of_itself_is_its_departments_too() -> None:
    def held(node: str, parent: str | None) -> frozenset[str]:
        made = Holdings(CLUSTER, Grants(CLUSTER), node, parent)
        made.everywhere = frozenset({"access.v1"})
        made.owns = frozenset() if "-" in node else made.everywhere
        made.see(["access.v1", "access.v1.from.3701-housing", "access.v1.from.370102"])
        return made.held("access.v1")

    assert held("3701", "37") == {
        "access.v1", "access.v1.from.3701-housing", "access.v1.from.370102",
    }  # fmt: skip
    assert held("3701-housing", "37-housing") == {"access.v1.from.3701-housing"}
    assert held("3701-civil", "37-civil") == frozenset()
