"""The name of a topic says who may write it."""

from agents.kafka.cluster import Cluster
from agents.kafka.topics import Watch, dead, held, neighbour_of, received, view

TOPICS = [
    "resident.v2", "resident.v2.to.3701", "resident.v2.from.37", "resident.v2.dead",
    "business_licence.v1.from.370102", "business_licence.v1.from.3701-housing",
    "levelsync.contracts", "__consumer_offsets",
]  # fmt: skip


def test_a_node_holds_its_own_and_what_it_received_and_nothing_else() -> None:
    assert held(TOPICS) == {
        "resident.v2": {"resident.v2", "resident.v2.from.37"},
        "business_licence.v1": {
            "business_licence.v1.from.370102",
            "business_licence.v1.from.3701-housing",
        },
    }


def test_names_are_made_and_read_alike() -> None:
    assert view("resident.v2", "3701") == "resident.v2.to.3701"
    assert dead("resident.v2") == "resident.v2.dead"
    assert neighbour_of(received("resident.v2", "37")) == "37"
    assert neighbour_of("resident.v2") is None


def test_what_came_from_a_neighbour_is_never_sent_back_to_it() -> None:
    watch = Watch(Cluster("127.0.0.1:1"))
    watch.see(TOPICS)
    assert watch.held("resident.v2") == {"resident.v2", "resident.v2.from.37"}
    assert watch.held("resident.v2", without="37") == {"resident.v2"}
    assert watch.held("business_licence.v1", without="370102") == {
        "business_licence.v1.from.3701-housing"
    }
    assert watch.held("nothing.v1") == frozenset()
