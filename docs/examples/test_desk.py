"""A window system's own tests need no Kafka and no agent."""

import unittest

from agents.client import blocking
from agents.client.testing import FakeWindow

WANG = {
    "id_number": "370102200001170000", "name": "王秀英", "sex": "2", "birth_date": "2000-01-17",
    "nationality": "01", "division_code": "370112009", "address_detail": "历山路1号",
    "status": "active", "registered_at": "2026-04-04T03:03:30Z",
}  # fmt: skip


class DeskTest(unittest.TestCase):
    def test_the_desk_sees_a_change_over_a_cut(self) -> None:
        with (
            FakeWindow("resident.v2") as fake,
            blocking.Window(fake.url, fake.token) as window,
        ):
            key = fake.put("resident.v2", WANG)  # checked against the contract
            events = window.subscribe("resident.v2")
            while not isinstance(next(events), blocking.Live):
                pass
            fake.cut()
            fake.put("resident.v2", {**WANG, "name": "王秀兰"})
            change = next(each for each in events if isinstance(each, blocking.Change))
            assert (change.key, change.record["name"]) == (key, "王秀兰")


if __name__ == "__main__":
    unittest.main()
