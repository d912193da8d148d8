"""Server-sent events, however the bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.client import sse
from agents.client.sse import Message, Parser, TooLarge

STREAM = (
    "\ufeff: a comment\n"
    'event: change\nid: s.1\ndata: {"name":\ndata: "王"}\n\n'
    "data:bare\r\n\r\n"
    "data:  two blanks\rretry: 5\rother: x\r\r"
    "event: nothing\n\n"
    "id\ndata\n\n"
    "data: not ended\n"
).encode()
FOUND = [
    Message("change", '{"name":\n"王"}'.encode(), "s.1"),
    Message("message", b"bare", None),
    Message("message", b" two blanks", None),
    Message("message", b"", ""),
]


@given(st.sets(st.integers(0, len(STREAM))))
def test_messages_are_the_same_however_the_stream_is_cut(cuts: set[int]) -> None:
    parser, found, at = Parser(), list[Message](), 0
    for cut in (*sorted(cuts), len(STREAM)):
        found += parser.feed(STREAM[at:cut])
        at = cut
    assert found == FOUND


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_message_without_end_is_refused(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LARGEST", 1_000)
    parser = Parser()
    pieces = (each for _ in range(20) for each in parser.feed(b"data: " + b"x" * 90 + end))
    with pytest.raises(TooLarge):
        list(pieces)
