"""A tamper test over three hops: what is altered anywhere is found at the next watermark, and said."""

import time
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from tests.agents.base.keys import Signs
from tests.live.signed import (
    Alter,
    Levels,
    altered,
    intrude,
    marks,
    one_changed,
    one_dropped,
    signed_by,
    swapped,
    unsigned,
)
from tests.live.streams import Running, read_all, until_true

pytestmark = pytest.mark.live

#: What is altered on the way to the city's link, and what it says.
ALTERED: dict[str, tuple[Alter, str]] = {
    "changed": (one_changed(b"k13"), "not what was signed"),
    "dropped": (one_dropped(b"k14"), "compaction cannot have taken"),
    "swapped": (swapped, "not what was signed"),
    "unsigned": (marks(unsigned), "is not signed"),
    "another_key": (marks(signed_by(Signs("37"), "37")), "by another key"),
    "another_node": (marks(signed_by(Signs("3702"), "3702")), "by another key"),
}


@pytest.fixture
def cluster(kafka: KafkaServer) -> Cluster:
    return Cluster(kafka.bootstrap)


@pytest.mark.parametrize(
    "what",
    [
        each if each in ("dropped", "swapped") else pytest.param(each, marks=pytest.mark.slow)
        for each in ALTERED
    ],
)
async def test_what_is_altered_stops_the_contract_at_the_next_watermark(
    cluster: Cluster, tmp_path: Path, what: str
) -> None:
    alter, said = ALTERED[what]
    async with Levels(cluster, f"altered_{what}", tmp_path).running() as levels:
        complete = levels.window.complete
        async with altered(levels.to, alter):
            await levels.tell()
            hop = levels.hops[levels.to]
            await until_true(lambda: hop.state == "stopped")
        assert said in (hop.error or "")
        assert (hop.signatures() or {})["state"] == "stopped"
        assert hop.failed == 1
        assert levels.window.complete == complete, "below it nothing is claimed"
        assert len(levels.stopped) == 1


@pytest.mark.parametrize(
    "hop",
    ["to", "county", *(pytest.param(each, marks=pytest.mark.slow) for each in ("owned", "city"))],
)
async def test_whoever_reads_what_was_altered_finds_it(
    cluster: Cluster, tmp_path: Path, hop: str
) -> None:
    """At the window too, by the word of the province's view, through two links."""
    async with Levels(cluster, f"found_{hop}", tmp_path).running() as levels:
        topic: str = getattr(levels, hop)
        async with altered(topic, one_changed(b"k13")):
            await levels.tell()
            await until_true(lambda: levels.hops[topic].state == "stopped")
        error = levels.hops[topic].error or ""
        assert "signed" in error
        assert ("by=3701" if hop == "city" else "by=37") in error
        assert len(levels.stopped) == 1


async def test_what_an_intruder_writes_is_found(cluster: Cluster, tmp_path: Path) -> None:
    async with Levels(cluster, "intruder", tmp_path).running() as levels:
        await intrude(cluster, levels.city)
        await levels.tell()
        await until_true(lambda: levels.hops[levels.city].state == "stopped")


async def test_keys_are_changed_without_a_stop(cluster: Cluster, tmp_path: Path) -> None:
    async with Levels(cluster, "rotated", tmp_path).running() as levels:
        for node in ("37", "3701", "370102"):
            before = levels.keys()
            levels.signs[node].rotate()
            both = {
                each: tuple(dict.fromkeys((*before[each], *levels.keys()[each]))) for each in before
            }
            for trust in levels.trusts.values():
                trust.use(both)
            await levels.tell()
            await levels.arrived()
        assert all(hop.verified for hop in levels.hops.values())
        assert (levels.window.signatures() or {})["by"] == ["37"]


async def test_a_whole_stream_read_anew_is_proven(cluster: Cluster, tmp_path: Path) -> None:
    """Over restarts of every hop, with what stood unmarked at the ends."""
    levels = Levels(cluster, "again", tmp_path)
    async with levels.running():
        pass
    again = Levels(cluster, "again", tmp_path)
    again.signs = levels.signs
    again.writer = type(levels.writer)(cluster, again.owned, signer=again.signs["37"])
    for trust in again.trusts.values():
        trust.use(again.keys())
    again._told = levels._told
    async with again.running():
        for _ in range(3):
            await again.tell(5)
        await again.arrived()
    assert not again.stopped


async def test_what_an_intruder_wrote_while_the_writer_was_away_is_not_signed_as_its_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    levels = Levels(cluster, "away", tmp_path)
    async with levels.running():
        pass
    await intrude(cluster, levels.city)
    async with Running(levels.relay("3701", "37", levels.to, levels.city)) as link:
        await until_true(lambda: link.hop.state == "stopped")
        assert "Somebody else has written" in (link.hop.error or "")
    moment = time.time_ns() // 1000
    again = levels.relay("3701", "37", levels.to, levels.city, resync=moment)
    async with Running(again) as link:
        await until_true(lambda: link.hop.state == "running" and link.hop.lag == 0)
    here, _ = await read_all(cluster, levels.city)
    assert [each.value for each in here if each.key == b"intruder"] == [b"{}", None], "set right"
