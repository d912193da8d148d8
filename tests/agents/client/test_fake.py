"""The client and the stand-in for a window, which is the real one without Kafka."""

from collections.abc import Iterator
from typing import Any

import pytest

from agents.client.testing import FakeWindow
from tests.agents.client.suite import Suite


class Fake:
    """A :class:`tests.agents.client.suite.Place`."""

    def __init__(self, fake: FakeWindow) -> None:
        self.fake = fake
        self.url = fake.url
        self.cut, self.lose = fake.cut, fake.refuse_tokens

    def put(self, record: dict[str, Any]) -> None:
        self.fake.put("resident.v2", record)

    def delete(self, key: str) -> None:
        self.fake.delete("resident.v2", key)

    def restart(self) -> None:
        self.fake.stop()
        self.fake.start()


class TestFake(Suite):
    @pytest.fixture
    def place(self) -> Iterator[Fake]:
        with FakeWindow("resident.v2") as fake:
            yield Fake(fake)
