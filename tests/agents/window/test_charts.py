"""The last hour of every contract: one sample a step, no more than an hour of them, and gaps said."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from agents.base.status import Status
from agents.kafka.cluster import Cluster
from agents.window.answers import VISITOR
from agents.window.charts import SAMPLES, STEP, Hour, add_charts
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.office import Office
from agents.window.rights import Visitor
from agents.window.store import Store
from contracts.subjects import CONTRACTS

BEGAN = 1_700_000_000.0
RESIDENT = "resident.v2"


class Watched:
    """Two contracts and their hour."""

    def __init__(self, folder: Path) -> None:
        self.status, self.store = Status("370102", "test"), Store(folder / "w.sqlite")
        self.status.planned = True
        self.feed = Feed(self.store)
        self.follows = {name: self._follow(name) for name in (RESIDENT, "division.v1")}
        self.hop = self.follows[RESIDENT].hop
        self.hour = Hour(self.follows)
        self.now = BEGAN

    def _follow(self, name: str) -> Follow:
        follow = Follow(
            self.status,
            contract=CONTRACTS[name],
            cluster=Cluster("127.0.0.1:1"),
            store=self.store,
            feed=self.feed,
            sources=lambda: frozenset({f"{name}.from.37"}),
        )
        self.status.show(follow.hop)
        return follow

    def look(self, after: float = STEP, age: float | None = 0.5, events: int = 0) -> None:
        """A sample ``after`` seconds, when all up to ``age`` seconds before it is here."""
        self.now += after
        self.hop.complete = int((self.now - age) * 1e6) if age is not None else 0
        self.hop.events += events
        self.hour.look(self.now)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_sample_says_age_events_and_state(watched: Watched) -> None:
    watched.look(age=None)
    watched.hop.state = "running"
    watched.look(events=7)
    watched.hop.state = "stopped"
    watched.look(age=10.5)
    assert watched.hour.of(RESIDENT) == {
        "age_s": [None, 0.5, 10.5],
        "events": [0, 7, 0],
        "states": [("starting", 1), ("running", 1), ("stopped", 1)],
    }


def test_an_hour_is_kept_and_no_more(watched: Watched) -> None:
    for _ in range(SAMPLES + 40):
        watched.look()
    found = watched.hour.of(RESIDENT)
    assert len(found["age_s"]) == len(found["events"]) == SAMPLES
    assert sum(count for _, count in found["states"]) == SAMPLES


def test_what_nobody_looked_at_is_not_known(watched: Watched) -> None:
    watched.look()
    watched.look(after=5 * STEP, events=9)
    found = watched.hour.of(RESIDENT)
    assert found["age_s"] == [0.5, None, None, None, None, 0.5]
    assert found["events"] == [0, 0, 0, 0, 0, 9]
    assert found["states"] == [("starting", 1), (None, 4), ("starting", 1)]
    watched.look(after=30 * 86_400)
    assert len(watched.hour.of(RESIDENT)["age_s"]) == SAMPLES


def test_a_clock_set_back_marks_nothing_and_a_part_that_began_anew_counts_from_nothing(
    watched: Watched,
) -> None:
    watched.look(events=100)
    watched.hop.events = 0
    watched.look(after=-3600, events=4)
    assert watched.hour.of(RESIDENT)["events"] == [0, 4]


def test_a_contract_that_is_gone_is_forgotten(watched: Watched) -> None:
    watched.look()
    watched.status.hide(watched.hop)
    watched.look()
    assert watched.hour.of(RESIDENT)["age_s"] == []
    watched.status.show(watched.hop)
    watched.look(events=50)
    assert watched.hour.of(RESIDENT)["events"] == [0]


async def test_it_is_answered_for_what_the_visitor_may_see(watched: Watched) -> None:
    visitor = Visitor("clerk", "w", purpose="p", sights={})

    @web.middleware
    async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[VISITOR] = visitor
        return await handler(request)

    app = web.Application(middlewares=[named])
    office = Office("x", "370102", watched.store, watched.feed, watched.follows, watched.status)
    add_charts(app, office)
    async with TestClient(TestServer(app)) as client:
        body = await (await client.get("/v1/freshness")).json()
        assert (body["step_s"], body["contracts"]) == (STEP, {})
        visitor._sights = None
        body = await (await client.get("/v1/freshness")).json()
        assert body["contracts"].keys() == watched.follows.keys()
        assert len(body["contracts"][RESIDENT]["age_s"]) == 1
        assert body["until"]
