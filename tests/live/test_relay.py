"""A hop on a real broker: killed, superseded, moved, and still exactly once."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from agents.base.errors import (
    GapFound,
    LevelsyncError,
    PositionGone,
    StreamReplaced,
    Superseded,
)
from agents.base.status import Hop
from agents.base.watermark import Continuity
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Claim, Connection
from agents.relay.relay import Position, Relay
from agents.relay.terms import Rule, Terms
from agents.relay.view import View
from contracts.envelope import header
from contracts.subjects import CONTRACTS
from tests.live.hop import link
from tests.live.streams import PARTITIONS, Running, Writer, event, ids, read_all, until_true

pytestmark = pytest.mark.live


@pytest.fixture
def cluster(kafka: KafkaServer) -> Cluster:
    return Cluster(kafka.bootstrap)


async def test_a_link_copies_events_as_they_are_and_says_up_to_when(cluster: Cluster) -> None:
    async with Writer(cluster, "as-they-are") as writer:
        await writer.write([event(number) for number in range(300)])
        async with Running(link(cluster, "as-they-are", "as-they-are.copy")) as running:
            await until_true(lambda: running.hop.events == 300 and running.hop.complete)
    there, _ = await read_all(cluster, "as-they-are")
    here, marks = await read_all(cluster, "as-they-are.copy")
    strip = [(record.timestamp, record.key, record.value, record.headers) for record in there]
    assert sorted(strip) == sorted(
        (record.timestamp, record.key, record.value, record.headers) for record in here
    )
    assert max(mark.time for mark in marks) == event(299).time


async def test_a_hop_killed_again_and_again_loses_and_repeats_nothing(cluster: Cluster) -> None:
    """Red when leaving out what the copy's end holds (``Relay._pass_on``) is taken out: tried."""
    chance = random.Random(20)
    total = 6000
    async with Writer(cluster, "killed") as writer:

        async def write() -> None:
            for start in range(0, total, 20):
                await writer.write(
                    [event(number) for number in range(start, start + 20)],
                    mark=chance.random() < 0.2,
                )
                await asyncio.sleep(0.02)
            await writer.write([])

        async def kill_and_start() -> None:
            for _ in range(6):
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "tests.live.hop",
                    cluster.bootstrap,
                    "killed",
                    "killed.copy",
                )
                await asyncio.sleep(chance.uniform(0.9, 1.6))
                process.kill()
                await process.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(write(), name="write")
            group.create_task(kill_and_start(), name="kill")
    async with Running(link(cluster, "killed", "killed.copy")) as running:
        await until_true(lambda: running.hop.lag == 0)
    here, _ = await read_all(cluster, "killed.copy")
    there, _ = await read_all(cluster, "killed")
    assert len(ids(here)) == len(set(ids(here))), "repeated"
    assert set(ids(here)) == {f"id-{number}" for number in range(total)}, "missing"
    by_key = [sorted(records, key=lambda one: one.key or b"") for records in (here, there)]
    assert ids(by_key[0]) == ids(by_key[1]), "out of order"


async def test_a_second_agent_takes_over_and_the_first_stops(cluster: Cluster) -> None:
    async with Writer(cluster, "twice") as writer:
        await writer.write([event(1)])
        first = Running(link(cluster, "twice", "twice.copy"))
        async with first:
            await until_true(lambda: first.hop.state == "running" and first.hop.events)
            async with Running(link(cluster, "twice", "twice.copy")) as second:
                await until_true(lambda: second.hop.state == "running")
                await writer.write([event(number) for number in range(2, 50)])
                await until_true(lambda: second.hop.lag == 0 and second.hop.events >= 48)
                await until_true(lambda: first.hop.state == "stopped")
            with pytest.raises(Superseded, match="taken over"):
                await first.task
    here, _ = await read_all(cluster, "twice.copy")
    assert sorted(ids(here)) == sorted(f"id-{number}" for number in range(1, 50))


async def test_a_fenced_writer_writes_nothing_more(cluster: Cluster) -> None:
    """Red when ``Copy.open`` writes no fence: tried."""
    await ensure(cluster, [Topic("fenced", PARTITIONS, DATA)])
    parts = [("fenced", partition) for partition in range(PARTITIONS)]
    old, new = Copy(cluster, Claim("fenced"), parts), Copy(cluster, Claim("fenced"), parts)
    try:
        await old.open()
        old.add(parts[0], b"k", b"old", [("ce_id", b"1")], 1)
        await old.drain()
        ends = await new.open()
        assert ends[parts[0]].held == {"1"}
        old.add(parts[0], b"k", b"late", [("ce_id", b"2")], 1)
        with pytest.raises(Superseded):
            await old.drain()
    finally:
        await asyncio.gather(old.close(), new.close())
    here, _ = await read_all(cluster, "fenced")
    assert ids(here) == ["1"]


async def test_who_lost_its_connection_does_not_take_back_what_another_took_over(
    cluster: Cluster,
) -> None:
    """Red when ``Connection.writer`` does not say which writer it was: tried."""
    async with Connection(cluster) as connection:
        first, second = Claim("taken"), Claim("taken")
        await connection.writer(first)
        await connection.writer(first)
        assert first.epoch == 1, "its own it may take up again"
        await connection.writer(second)
        assert (second.producer, second.epoch) == (first.producer, 2)
        with pytest.raises(Superseded):
            await connection.writer(first)
        await connection.writer(second)


async def test_an_event_the_watermark_counts_but_nobody_wrote_stops_the_hop(
    cluster: Cluster,
) -> None:
    async with Writer(cluster, "gap") as writer:
        await writer.write([event(number) for number in range(30)])
        for lane in writer.copy._lanes.values():
            lane.count += 1  # an event that is claimed and is not there
        await writer.write([])
        async with Running(link(cluster, "gap", "gap.copy")) as running:
            await until_true(lambda: running.hop.state == "stopped")
    assert GapFound.__doc__ is not None
    assert GapFound.__doc__[:20] in (running.hop.error or "")


@pytest.mark.parametrize(
    ("topic", "known", "error"),
    [
        ("gone", Continuity(stream="s", number=1, offset=10_000, thinned=False), PositionGone),
        ("anew", Continuity(stream="other", number=1, offset=1, thinned=False), StreamReplaced),
    ],
    ids=["a position that is gone", "a topic made anew"],
)
async def test_an_upstream_that_is_not_what_it_was_stops_the_hop(
    cluster: Cluster, topic: str, known: Continuity, error: type[LevelsyncError]
) -> None:
    async with Writer(cluster, topic) as writer:
        await writer.write([event(number) for number in range(30)])
    target = Topic(f"{topic}.copy", PARTITIONS, DATA)
    await ensure(cluster, [target])
    copy = Copy(cluster, Claim(f"link-{target.name}"), target.parts)
    await copy.open()
    for part in target.parts:
        await copy.mark(part, Position({topic: known}), 1)
    await copy.drain()
    await copy.close()
    async with Running(link(cluster, topic, target.name)) as running:
        await until_true(lambda: running.hop.state == "stopped")
    assert (error.__doc__ or "?") in (running.hop.error or "")


def view(
    cluster: Cluster,
    sources: frozenset[str],
    target: str,
    terms: Terms,
    state: Path,
    *,
    resync: int = 0,
) -> Relay:
    rule = Rule(terms, CONTRACTS["resident.v2"], to=target.rpartition(".")[2], secret="s3cret")
    return Relay(
        Hop("view", "resident.v2", "", target),
        upstream=cluster,
        downstream=cluster,
        sources=lambda: sources,
        target=Topic(target, PARTITIONS, DATA),
        identity=f"view-{target}",
        state=state,
        view=lambda: View("resident.v2", rule, state / "v.sqlite"),
        ended=terms.ended,
        resync=resync,
    )


@pytest.mark.parametrize("memory", ["kept", "lost"])
async def test_a_view_holds_its_scope_and_deletes_what_moves_away_over_restarts(
    cluster: Cluster, tmp_path: Path, memory: str
) -> None:
    topic, target = f"moves-{memory}", f"moves-{memory}.to.370102"
    chance = random.Random(7)
    scopes = ["370102001", "370102002", "370103001"]
    wanted: dict[str, str] = {}
    ever: set[str] = set()
    async with Writer(cluster, topic) as writer:
        number = 0
        for turn in range(4):
            async with Running(
                view(
                    cluster,
                    frozenset({topic}),
                    target,
                    Terms(scope="370102"),
                    tmp_path / f"{turn}-{memory}" if memory == "lost" else tmp_path,
                )
            ) as running:
                for _ in range(3):
                    batch = []
                    for _ in range(40):
                        number += 1
                        key, scope = f"k{chance.randrange(60)}", chance.choice(scopes)
                        batch.append(event(number, key, scope))
                        wanted[key] = scope
                        if scope.startswith("370102"):
                            ever.add(key)
                    await writer.write(batch, mark=chance.random() < 0.5)
                    await asyncio.sleep(0.05)
                await until_true(lambda: running.hop.lag == 0)
    here, _ = await read_all(cluster, target)
    state = {record.key: record for record in here}
    alive = {key.decode() for key, record in state.items() if key and record.value is not None}
    assert alive == {key for key, scope in wanted.items() if scope.startswith("370102")}
    assert {(record.key or b"").decode() for record in here} <= ever
    assert len(ids(here)) == len(set(ids(here)))
    assert not any(b"370103" in (header(record.headers, "ce_scope") or b"") for record in here)


async def test_a_view_merges_what_several_neighbours_gave(cluster: Cluster, tmp_path: Path) -> None:
    async with Writer(cluster, "merge.a") as one, Writer(cluster, "merge.b") as two:
        await one.write([event(number) for number in range(50)])
        sources = frozenset({"merge.a", "merge.b"})
        await two.write([event(number) for number in range(100, 150)])
        relay = view(cluster, sources, "merge.to.37", Terms(), tmp_path)
        async with Running(relay) as running:
            await until_true(lambda: running.hop.complete)
            assert running.hop.complete == event(49).time, "the slower of the two counts"
    here, _ = await read_all(cluster, "merge.to.37")
    assert len(ids(here)) == 100
