"""The feed's messages as bytes: server-sent events, and WebSocket frames.

One framing's bytes serve everyone who is told the same, so they are made once and written to each
connection as they are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agents.window.feed import Message


class Framing(NamedTuple):
    """``messages`` are made bytes of; ``beat`` is a heartbeat of what stands unchanged, None where
    there is no other way to say it than the messages themselves."""

    name: str
    messages: Callable[[Sequence[Message]], bytes]
    beat: Callable[[Sequence[Message]], bytes] | None


def _events(messages: Sequence[Message]) -> bytes:
    """The HTML standard, section 9.2."""
    return b"".join(
        b"%sevent: %s\ndata: %s\n\n"
        % (b"" if token is None else b"id: %s\n" % token.encode(), name.encode(), data)
        for token, name, data in messages
    )


def _comments(messages: Sequence[Message]) -> bytes:
    return b"".join(b": %s %s\n" % (name.encode(), data) for _, name, data in messages) + b"\n"


def _chunk(body: bytes) -> bytes:
    """RFC 9112, section 7.1."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def _frames(messages: Sequence[Message]) -> bytes:
    """A text frame for each (RFC 6455, section 5.2)."""
    return b"".join(map(_frame, messages))


def _frame(message: Message) -> bytes:
    token, name, data = message
    body = b'{"event":"%s","id":%s,"data":%s}' % (
        name.encode(), b"null" if token is None else b'"%s"' % token.encode(), data,
    )  # fmt: skip
    size = len(body)
    if size < 126:
        return b"\x81%c%s" % (size, body)
    if size < 65536:
        return b"\x81\x7e%s%s" % (size.to_bytes(2, "big"), body)
    return b"\x81\x7f%s%s" % (size.to_bytes(8, "big"), body)


SSE = Framing("sse", lambda them: _chunk(_events(them)), lambda them: _chunk(_comments(them)))
#: Over HTTP/1.0, which ends an answer by closing the connection.
SSE_BARE = Framing("sse-bare", _events, _comments)
WEBSOCKET = Framing("websocket", _frames, None)
FRAMINGS = tuple(framing.name for framing in (SSE, SSE_BARE, WEBSOCKET))
