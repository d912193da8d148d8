"""Copies brought in line on a real broker: changed grants, resync, another upstream, more partitions."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from agents.base.run import supervise
from agents.base.status import Hop
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.topics import DATA, Topic
from agents.kafka.wire import Claim
from agents.relay import align
from agents.relay.relay import MARK_SECONDS, Relay
from agents.relay.terms import Rule, Terms
from agents.relay.view import View
from contracts.envelope import Event, event_of, headers_of
from contracts.subjects import CONTRACTS
from tests.live.hop import link
from tests.live.streams import PARTITIONS, Running, Writer, event, ids, read_all, until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture
def cluster(kafka: KafkaServer) -> Cluster:
    return Cluster(kafka.bootstrap)


def resident(number: int, key: str, scope: str = "370102001", **fields: Any) -> Event:
    """A change of a resident; ``fields`` are the record's."""
    value = json.dumps({"division_code": scope, **fields}).encode()
    return Event(
        key, value, f"id-{number}", "/37/resident.v2", "resident.v2.changed",
        1_700_000_000_000_000 + number, "resident.v2/2.0", f"{number:016}", scope,
    )  # fmt: skip


def view(
    cluster: Cluster, topic: str, target: str, terms: Terms, state: Path, *, resync: int = 0
) -> Relay:
    return Relay(
        Hop("view", "resident.v2", topic, target),
        upstream=cluster,
        downstream=cluster,
        sources=lambda: frozenset({topic}),
        target=Topic(target, PARTITIONS, DATA),
        identity=f"view-{target}",
        state=state,
        view=lambda: View(
            "resident.v2",
            Rule(terms, CONTRACTS["resident.v2"], to="370102", secret="s3cret"),
            state / "v.sqlite",
        ),
        ended=terms.ended,
        resync=resync,
    )


async def settle(relay: Relay, complete: int = 0) -> None:
    """Run a hop until it has passed on everything and says so."""
    async with Running(relay) as running:
        if complete:
            await until_true(lambda: running.hop.complete >= complete and running.hop.lag == 0)
        else:
            await until_true(lambda: running.hop.state == "ended")


async def state(cluster: Cluster, topic: str) -> dict[str, Any]:
    """What a reader of ``topic`` ends with; events of a key must rise, and none come twice."""
    records, _ = await read_all(cluster, topic)
    assert len(ids(records)) == len(set(ids(records))), "repeated"
    found: dict[str, Any] = {}
    latest: dict[str, str] = {}
    for record in records:
        told = event_of(record.value, record.headers)
        assert told.sequence > latest.get(told.key, ""), f"{told.key} goes back"
        latest[told.key] = told.sequence
        found.pop(told.key, None)
        if told.value is not None:
            found[told.key] = json.loads(told.value)
    return found


async def test_a_changed_grant_brings_the_view_in_line_and_tells_only_what_differs(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, target = "change", "change.to.370102"
    async with Writer(cluster, topic) as writer:
        await writer.write(
            resident(n, f"k{n}", "370102001" if n % 3 else "370103001", status="active" if n % 2 else "deceased", phone=f"1380000{n:04}")
            for n in range(60)
        )  # fmt: skip
        last = 1_700_000_000_000_059
        await settle(view(cluster, topic, target, Terms(scope="370102"), tmp_path), last)
        first, _ = await read_all(cluster, target)
        assert {int(r.key[1:]) for r in first if r.key} == {n for n in range(60) if n % 3}

        alive = Terms(scope="370102", where="status == 'active'")
        await settle(view(cluster, topic, target, alive, tmp_path), last)
        second, _ = await read_all(cluster, target)
        expected = {f"k{n}" for n in range(60) if n % 3 and n % 2}
        assert (await state(cluster, target)).keys() == expected
        assert len(second) - len(first) == 20, "the deceased are deleted, nobody else is told again"

        wider = Terms(scope="0", where="status == 'active'", mask={"phone": "last4"})
        await settle(view(cluster, topic, target, wider, tmp_path), last)
        found = await state(cluster, target)
        assert found.keys() == {f"k{n}" for n in range(60) if n % 2}
        assert {record["phone"][:-4] for record in found.values()} == {"*******"}

        await writer.write([resident(100, "k1", "370103001", status="deceased", phone="1")])
        await settle(view(cluster, topic, target, wider, tmp_path), 1_700_000_000_000_100)
        assert "k1" not in await state(cluster, target)

        await settle(view(cluster, topic, target, Terms(ended=True), tmp_path))
        assert await state(cluster, target) == {}
        here, _ = await read_all(cluster, target)
        assert {r.key for r in here} <= {b"k%d" % n for n in range(60) if n % 3 or n % 2}
        await settle(view(cluster, topic, target, alive, tmp_path), 1_700_000_000_000_100)
        assert (await state(cluster, target)).keys() == expected - {"k1"}


class Cut(Exception):
    """In the place of a kill."""


_close = Copy.close


async def drained_and_closed(copy: Copy) -> None:
    """What was told before the kill has reached the broker."""
    await copy.drain()
    await _close(copy)


@pytest.mark.parametrize("following", ["status == 'active'", ""], ids=["kept", "taken back"])
async def test_bringing_in_line_that_was_killed_is_finished_whatever_the_grant_says_by_then(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, following: str
) -> None:
    """Red when ``aligning`` is not looked at, or no watermark says so before the first event: tried."""
    topic = f"midway-{len(following)}"
    target = f"{topic}.to.370102"
    async with Writer(cluster, topic) as writer:
        await writer.write(
            resident(n, f"k{n}", "370102001", status="active" if n % 2 else "moved_out")
            for n in range(100)
        )
        last, whole = 1_700_000_000_000_099, Terms(scope="370102")
        await settle(view(cluster, topic, target, whole, tmp_path), last)

        told = align.Alignment.differing

        relay = view(
            cluster, topic, target, Terms(scope="370102", where="status == 'active'"), tmp_path
        )

        async def cut(self: Any, *args: Any) -> Any:
            count = 0
            async for each in told(self, *args):
                yield each
                count += 1
                if count == 20:
                    raise Cut

        with monkeypatch.context() as during:
            during.setattr(align.Alignment, "differing", cut)
            during.setattr(Copy, "close", drained_and_closed)
            with pytest.raises(Cut):
                await relay.run(asyncio.Event())
        assert len(await state(cluster, target)) < 100, "it was cut in the middle"
        after = Terms(scope="370102", where=following)
        await settle(view(cluster, topic, target, after, tmp_path), last)
        assert len(await state(cluster, target)) == (50 if following else 100)


async def leave_behind(cluster: Cluster, target: str, claim: str, *told: Event) -> None:
    """Stand in the copy behind its last watermark, as after a kill."""
    copy = Copy(cluster, Claim(claim), Topic(target, PARTITIONS, DATA).parts)
    await copy.open()
    for each in told:
        part = (target, sum(each.key.encode()) % PARTITIONS)
        copy.add(part, each.key.encode(), each.value, headers_of(each), each.time // 1000)
    await copy.drain()
    await copy.close()


async def test_a_record_that_left_the_grant_while_compaction_took_its_history_leaves_the_view(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Red when a view goes on with what was never told again: tried. Found by the Spin model.

    The view holds k's first event behind its last watermark, and upstream has only the second.
    """
    topic, target = "taken", "taken.to.370102"
    terms = Terms(scope="370102")
    async with Writer(cluster, topic) as writer:
        await writer.write([resident(1, "other")])
        await settle(view(cluster, topic, target, terms, tmp_path), 1_700_000_000_000_001)
        await leave_behind(cluster, target, f"view-{target}", resident(2, "k"))
        await writer.write([resident(3, "k", "370103001")])
        await settle(view(cluster, topic, target, terms, tmp_path), 1_700_000_000_000_003)
    assert (await state(cluster, target)).keys() == {"other"}


async def test_events_of_a_topic_that_is_away_for_once_are_not_told_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Red when ``_Lane.passed`` asks only the topics that are there: tried."""
    target, sources = "away.to.37", {"away.a", "away.b"}
    claim = f"view-{target}"

    def merged() -> Relay:
        relay = view(cluster, "away.a", target, Terms(), tmp_path)
        relay._sources = lambda: frozenset(sources)
        return relay

    async with Writer(cluster, "away.a") as one, Writer(cluster, "away.b") as two:
        await one.write([event(1, "a1")])
        await two.write([event(2, "b1")])
        await settle(merged(), event(1).time)
        await two.write([event(100, "b2")])
        await leave_behind(cluster, target, claim, event(100, "b2"))
        sources.discard("away.b")
        await one.write([event(101, "a2")])
        relay = merged()
        async with Running(relay) as running:
            await until_true(lambda: running.hop.events == 1 and running.hop.lag == 0)
            await asyncio.sleep(1.0)
        sources.add("away.b")
        await settle(merged(), event(100).time)
    assert (await state(cluster, target)).keys() == {"a1", "a2", "b1", "b2"}


async def test_compaction_at_the_copys_own_end_disorders_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Of two events behind the last watermark the cleaner took the first, which upstream still has.

    Red when ``Relay._out_of_line`` does not look for it: tried. An aborted transaction leaves the gap
    that the cleaner would.
    """
    topic, target = "cleaned", "cleaned.copy"
    async with Writer(cluster, topic) as writer:
        await writer.write([event(1, "other")])
        await settle(link(cluster, topic, target, state=tmp_path), event(1).time)
        await writer.write([event(2, "k"), event(3, "k")])
        async with AIOKafkaProducer(
            bootstrap_servers=cluster.bootstrap, transactional_id="in-place-of-a-cleaner"
        ) as cleaner:
            await cleaner.begin_transaction()
            for number in range(PARTITIONS):
                await cleaner.send_and_wait(target, b"older", b"k", number)
            await cleaner.abort_transaction()
        await leave_behind(cluster, target, f"link-{target}", event(3, "k"))
        await settle(link(cluster, topic, target, state=tmp_path), event(3).time)
        await writer.write([event(4, "k")])
        await settle(link(cluster, topic, target, state=tmp_path), event(4).time)
    assert (await state(cluster, target))["k"] == {"number": 4}


async def test_a_gap_upstream_stops_the_link_and_resync_is_the_way_out(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with Writer(cluster, "resync") as writer:
        await writer.write([event(number) for number in range(100)])
        await settle(link(cluster, "resync", "resync.copy", state=tmp_path), event(99).time)
        for lane in writer.copy._lanes.values():
            lane.count += 1  # an event that is claimed and is not there
        await writer.write([event(number) for number in range(100, 130)])
        relay = link(cluster, "resync", "resync.copy", state=tmp_path)
        async with Running(relay) as running:
            await until_true(lambda: running.hop.state == "stopped")
        assert "missing" in (relay.hop.error or "")
        again = link(cluster, "resync", "resync.copy", state=tmp_path, resync=1)
        await settle(again, event(129).time)
        assert again.hop.aligned > 0
        await writer.write([event(200)])
        await settle(link(cluster, "resync", "resync.copy", state=tmp_path), event(200).time)
    newest = {f"key-{number % 50}": {"number": number} for number in (*range(130), 200)}
    assert await state(cluster, "resync.copy") == newest


async def test_a_topic_deleted_and_made_again_stops_the_link_before_anything_of_it_is_passed_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Red when ``Relay._same`` does not look: the new topic is longer than the old one was."""
    topic, target = "made-again", "made-again.copy"
    async with Writer(cluster, topic) as writer:
        await writer.write([event(number) for number in range(40)])
    await settle(link(cluster, topic, target, state=tmp_path), event(39).time)
    before, _ = await read_all(cluster, target)
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()
    await asyncio.sleep(1.0)
    async with Writer(cluster, topic) as writer:
        await writer.write([event(n, f"key-{n % 30}") for n in range(1000, 1300)], mark=False)
        relay = link(cluster, topic, target, state=tmp_path)
        async with Running(relay) as running:
            await until_true(lambda: running.hop.state == "retrying")
            assert "no watermark yet" in (running.hop.error or "")
            await writer.write([event(1300, "key-0")])
            await until_true(lambda: running.hop.state == "stopped")
        assert "another one" in (relay.hop.error or "")
        assert "resync" in (relay.hop.error or "")
        assert ids((await read_all(cluster, target))[0]) == ids(before)
        await settle(link(cluster, topic, target, state=tmp_path, resync=5), event(1300).time)
    found = await state(cluster, target)
    assert found == await state(cluster, topic)
    assert len(found) == 30, "what the new topic does not have is deleted"


async def test_a_link_given_another_topic_tells_nothing_twice_and_waits_until_it_is_complete(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Red when ``Relay._settled`` does not wait: the half-filled topic empties the copy."""
    target = "another.copy"
    async with Writer(cluster, "another.a") as one, Writer(cluster, "another.b") as two:
        events = [event(number, f"k{number}") for number in range(60)]
        await one.write(events)
        await settle(link(cluster, "another.a", target, state=tmp_path), event(59).time)
        await two.write(events[:20])
        relay = link(cluster, "another.b", target, state=tmp_path)
        async with Running(relay) as running:
            await until_true(lambda: running.hop.state == "aligning")
            await asyncio.sleep(1.0)
            assert running.hop.state == "aligning"
            await two.write([*events[20:], event(70, "new")])
            await until_true(lambda: running.hop.complete >= event(70).time)
        here, _ = await read_all(cluster, target)
        assert len(here) == 61
        assert await state(cluster, target) == await state(cluster, "another.b")


async def test_added_partitions_are_carried_within_seconds(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, target = "grown", "grown.copy"
    async with Writer(cluster, topic) as writer:
        await writer.write([event(number) for number in range(30)])
        relay = link(cluster, topic, target, state=tmp_path)
        stop = asyncio.Event()
        task = asyncio.create_task(supervise(relay, stop), name="hop")
        await until_true(lambda: relay.hop.complete == event(29).time)
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        await admin.start()
        await admin.create_partitions({topic: NewPartitions(PARTITIONS + 2)})
        await admin.close()
    async with Writer(cluster, topic, PARTITIONS + 2) as writer:
        await writer.write([event(number, f"new-{number}") for number in range(100, 150)])
        await until_true(lambda: relay.hop.events == 80, 10.0)
        await until_true(lambda: relay.hop.complete == event(149).time and relay.hop.lag == 0)
        stop.set()
        await task
    here, _ = await read_all(cluster, target, PARTITIONS + 2)
    there, _ = await read_all(cluster, topic, PARTITIONS + 2)
    assert sorted(ids(here)) == sorted(ids(there))


async def test_a_copy_with_more_partitions_than_its_upstream_is_complete_all_the_same(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, target = "grown-first", "grown-first.copy"
    relay = link(cluster, topic, target, state=tmp_path)
    relay._target = Topic(target, PARTITIONS + 1, DATA)
    async with Writer(cluster, topic) as writer:
        await writer.write([event(number) for number in range(30)])
        async with Running(relay) as running:
            await until_true(lambda: running.hop.complete == event(29).time)
            await writer.write([event(31)])
            await until_true(lambda: running.hop.complete == event(31).time)
            await asyncio.sleep(2 * MARK_SECONDS)
    _, marks = await read_all(cluster, target, PARTITIONS + 1)
    assert len([mark for mark in marks if mark.time == event(31).time]) == PARTITIONS + 1
