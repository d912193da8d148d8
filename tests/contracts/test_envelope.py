"""Events travel as CloudEvents in Kafka binary mode, and come back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import (
    Event,
    MalformedEvent,
    event_of,
    format_time,
    header,
    headers_of,
    parse_time,
)

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
times = st.integers(0, 4_000_000_000_000_000)
events = st.builds(
    Event, key=text, value=st.none() | st.binary(), id=text, source=text, type=text, time=times,
    dataschema=text, sequence=text, scope=st.text("0123456789"), traceparent=st.just(""),
)  # fmt: skip


@given(events)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert event_of(event.value, headers_of(event)) == event


@given(times)
def test_a_time_comes_back_to_the_microsecond(micros: int) -> None:
    assert parse_time(format_time(micros)) == micros


def test_the_headers_are_those_of_the_binding() -> None:
    event = Event("k", b"{}", "1", "/37/resident.v2", "resident.v2.changed", 0, "s", "1", "37")
    names = [name for name, _ in headers_of(event)]
    assert names == [
        "ce_specversion", "ce_type", "ce_id", "ce_source", "ce_subject", "ce_time",
        "ce_dataschema", "ce_sequence", "ce_scope", "content-type",
    ]  # fmt: skip
    assert header(headers_of(event), "ce_time") == b"1970-01-01T00:00:00.000000Z"


def test_a_record_that_is_no_event_says_what_is_missing() -> None:
    with pytest.raises(MalformedEvent, match="ce_subject"):
        event_of(b"", [("other", b"1")])
