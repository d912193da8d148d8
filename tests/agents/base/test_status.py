"""Figures are what they say."""

import pytest

from agents.base.status import STUCK, Hop, Status, percentile


def test_percentiles() -> None:
    with pytest.raises(IndexError):
        percentile([], 0.5)
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(100)], 0.99) == 99.0


def test_connected_is_not_healthy_a_hop_must_move(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("agents.base.status.time.monotonic", lambda: now)
    hop = Hop("link", "resident.v2", "a", "b", lag=7)
    assert hop.trouble() is None, "waiting for a grant is not trouble"
    hop.running()
    hop.moved()
    now += STUCK
    assert hop.trouble() is None
    now += 1
    assert hop.trouble() == "nothing moved for 11 s, 7 records wait"
    hop.moved()
    assert hop.trouble() is None
    hop.state, hop.lost_at, hop.error = "retrying", now, "Kafka does not answer"
    assert hop.trouble() is None
    now += STUCK + 1
    assert hop.trouble() == "away for 11 s: Kafka does not answer"
    hop.state = "stopped"
    assert hop.trouble() == "Kafka does not answer"


def test_an_agent_is_ready_once_it_knows_what_there_is_to_do_and_does_it() -> None:
    seen = Status("37", "test")
    assert not seen.ready
    seen.planned = True
    assert seen.ready, "a node that only gives away whole topics has no hops"
    hop = seen.hop("link", "resident.v2", "a", "b")
    assert not seen.ready
    hop.running()
    assert seen.ready
    seen.hide(hop)
    assert seen.hops == []
