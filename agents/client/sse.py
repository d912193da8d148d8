"""Server-sent events from bytes (the HTML standard, section 9.2.6)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

#: Bytes of one message at most; a broker's records are a few MB at the very most.
LARGEST = 64 << 20
_ENDS = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Message(NamedTuple):
    """One message; ``id`` None when it carries none of its own."""

    event: str
    data: bytes
    id: str | None


class TooLarge(ValueError):
    """A message does not end."""


class Parser:
    """Takes a stream's bytes as they come, and gives its messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._event, self._id = "", None
        self._data: list[bytes] = []
        self._size = 0

    _id: str | None

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that end within ``chunk``. Raises TooLarge."""
        text = self._rest + chunk
        if not self._begun:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return
            self._begun, text = True, text.removeprefix(_BOM)
        lines = _ENDS.split(text)
        # A carriage return at the very end may be half of an end of line.
        rest = lines.pop()
        if not rest and text.endswith(b"\r"):
            rest = lines.pop() + b"\r"
        self._rest = rest
        if len(rest) + self._size > LARGEST:
            raise TooLarge(f"Expected messages of at most {LARGEST >> 20} MB, got a larger one")
        for line in lines:
            if line:
                self._take(line)
                continue
            found = self._ended()
            if found:
                yield found

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")

    def _ended(self) -> Message | None:
        event, data, name = self._event, self._data, self._id
        self._event, self._data, self._id, self._size = "", [], None, 0
        return Message(event or "message", b"\n".join(data), name) if data else None
