"""In which encoding a text file is: found by decoding all of it strictly, never by a guess."""

import codecs
import io
from collections.abc import Iterator
from typing import IO

#: Characters, or bytes, that a line may have.
LONGEST = 1024 * 1024
#: So many characters of three bytes or more make a line that is UTF-8 and nothing else: as GB18030 it
#: would have to be made of rare characters alone, by chance in this very order.
_SURE = 4
_NAMES = {"utf-8": "UTF-8", "gb18030": "GB18030"}


class FileWrong(Exception):
    """A file of which nothing can be taken: what was expected and found, and in which line."""

    def __init__(self, text: str, line: int = 0) -> None:
        self.line = line
        super().__init__(f"{text} - in line {line}" if line else text)


def encoding_of(data: IO[bytes], given: str) -> str:
    """``utf-8``, ``gb18030`` or ``utf-16``: the one in which all of ``data`` can be read; ``given`` is
    ``auto`` or the one it is said to be in.

    A file in GB18030 that has a line which can only be UTF-8 was put together from two, and is neither.
    Raises FileWrong with the line and the byte.
    """
    start = data.read(2)
    data.seek(0)
    marked = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if given == "utf-16" or (given == "auto" and marked):
        if not marked:
            raise FileWrong("Expected UTF-16 with a byte order mark, found none")
        _utf_16(data)
        return "utf-16"
    if given != "auto":
        if wrong := _wrong(data, given):
            raise FileWrong(
                f"Expected {_NAMES[given]}, found otherwise at byte {wrong[1]}", wrong[0]
            )
        return given
    first = _wrong(data, "utf-8")
    if first is None:
        return "utf-8"
    data.seek(0)
    second = _wrong(data, "gb18030")
    if second is None:
        return "gb18030"
    raise FileWrong(
        f"Expected UTF-8 or GB18030 throughout, found neither: not UTF-8 at byte {first[1]} of line"
        f" {first[0]}, not GB18030 at byte {second[1]} of line {second[0]}",
        max(first[0], second[0]),
    )


def _wrong(data: IO[bytes], encoding: str) -> tuple[int, int] | None:
    """The first line and its byte that cannot be in ``encoding``; None when all can."""
    number = 0
    while line := data.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise FileWrong(
                f"Expected lines of at most {LONGEST} bytes, found a longer one", number
            )
        if b"\0" in line:
            at = line.index(0) + 1
            raise FileWrong(f"Expected text, found a zero byte at byte {at}", number)
        if line.isascii():
            continue
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            return number, error.start + 1
        if encoding == "gb18030" and _surely_utf_8(line):
            return number, 1
    return None


def _surely_utf_8(line: bytes) -> bool:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    return sum(character > "\u07ff" for character in text) >= _SURE


def _utf_16(data: IO[bytes]) -> None:
    decoder = codecs.getincrementaldecoder("utf-16")()
    at = 0
    while True:
        piece = data.read(LONGEST)
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise FileWrong(
                f"Expected UTF-16, found otherwise near byte {at + error.start + 1} of the file"
            ) from None
        at += len(piece)
        if not piece:
            return


def lines_of(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of ``text``, each with its end. Raises FileWrong for one too long."""
    number = 0
    while line := text.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise FileWrong(
                f"Expected lines of at most {LONGEST} characters, found a longer one", number
            )
        yield line
