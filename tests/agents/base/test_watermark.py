"""The count of a watermark is what makes a gap visible."""

import pytest

from agents.base.errors import GapFound, StreamReplaced
from agents.base.watermark import Continuity, Watermark


def mark(number: int, count: int, stream: str = "s") -> Watermark:
    return Watermark(stream, number, count, 1_000, None)


def read(state: Continuity, offsets: range) -> Continuity:
    for offset in offsets:
        state.passed(offset, event=True)
    return state


def from_the_start() -> Continuity:
    return Continuity(offset=0, thinned=False)


def test_what_a_watermark_claims_is_accepted_when_it_is_there() -> None:
    state = read(from_the_start(), range(3))
    state.watermark(3, mark(1, 3))
    read(state, range(4, 6))
    state.watermark(6, mark(2, 2))
    assert (state.number, state.counted, state.offset, state.time) == (2, 0, 7, 1_000)


def test_a_missing_event_is_found_at_the_next_watermark() -> None:
    state = read(from_the_start(), range(3))
    with pytest.raises(GapFound, match="expected=4, counted=3"):
        state.watermark(3, mark(1, 4))


def test_a_repeated_event_is_found_at_the_next_watermark() -> None:
    state = read(from_the_start(), range(3))
    with pytest.raises(GapFound):
        state.watermark(3, mark(1, 2))


def test_fences_are_not_events() -> None:
    state = from_the_start()
    state.passed(0, event=False)
    state.passed(1, event=True)
    state.watermark(2, mark(1, 1))


def test_a_lost_watermark_is_found() -> None:
    state = from_the_start()
    state.watermark(0, mark(1, 0))
    with pytest.raises(GapFound, match="expected=2, found=3"):
        state.watermark(1, mark(3, 0))


def test_a_watermark_that_comes_again_is_found() -> None:
    state = from_the_start()
    state.watermark(0, mark(1, 0))
    with pytest.raises(GapFound):
        state.watermark(1, mark(1, 0))


def test_where_compaction_has_been_there_is_state_and_no_alarm() -> None:
    state = read(from_the_start(), range(2))
    read(state, range(7, 9))  # offsets 2 to 6 were compacted away
    state.watermark(9, mark(5, 40))
    assert not state.thinned
    state.passed(10, event=True)
    with pytest.raises(GapFound):
        state.watermark(11, mark(6, 2))


def test_a_topic_made_anew_is_not_taken_for_the_old_one() -> None:
    state = from_the_start()
    state.watermark(0, mark(1, 0, "old"))
    with pytest.raises(StreamReplaced):
        state.watermark(1, mark(2, 0, "new"))
