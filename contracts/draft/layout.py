"""Python expressions as text, laid out as ``ruff format`` would leave them.

Text from outside enters a program only through :func:`literal` and :func:`comment`: whatever it holds,
it stays one string or one comment.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

WIDTH = 100


class Group(msgspec.Struct, frozen=True):
    """``opening`` items ``closing``, such as a call. ``loose`` items may stand on one line of their
    own; others stand one a line once they do not fit."""

    opening: str
    items: "Sequence[Node]"
    closing: str
    loose: bool = True


class Labelled(msgspec.Struct, frozen=True):
    """``label`` and what it names: an argument's name or a mapping's key. ``above`` are comments."""

    label: str
    value: "Node"
    above: tuple[str, ...] = ()


Node = str | Group | Labelled


def call(name: str, *items: Node) -> Group:
    """``name(items)``"""
    return Group(f"{name}(", items, ")")


def subscript(name: str, *items: Node) -> Group:
    """``name[items]``"""
    return Group(f"{name}[", items, "]")


def mapping(items: Iterable[tuple[str, Node]]) -> Group:
    """``{key: value}`` of keys that are text."""
    return Group("{", [Labelled(f"{literal(key)}: ", value) for key, value in items], "}", False)


def listing(items: Iterable[Node]) -> Group:
    """``[items]``"""
    return Group("[", list(items), "]", False)


def series(items: Sequence[Node]) -> Group:
    """``(items)``, a tuple."""
    return Group("(", items, ",)" if len(items) == 1 else ")", False)


def assigned(target: str, value: Node) -> list[str]:
    """``target = value`` as lines."""
    return _lines(f"{target} = ", value, "", 0)


def exploded(target: str, opening: str, items: Sequence[Node]) -> list[str]:
    """``target = opening`` with each item on lines of its own."""
    lines = [f"{target} = {opening}"]
    for item in items:
        lines += _lines("    ", item, ",", 4)
    return [*lines, ")"]


def class_line(name: str, *items: Node) -> list[str]:
    """The line or lines that open a class."""
    return _lines("", call(f"class {name}", *items), ":", 0)


def member(declared: str, default: Node) -> list[str]:
    """A field of a class, ``declared = default``; an empty default is none."""
    if not default:
        return [f"    {declared}"]
    lines = _lines(f"    {declared} = ", default, "", 4)
    # One that cannot be divided goes to the next line if it then fits.
    if isinstance(default, str) and width(default) <= WIDTH - 8 and width(lines[0]) > WIDTH:
        return [f"    {declared} = (", f"        {default}", "    )"]
    return lines


def _lines(prefix: str, node: Node, suffix: str, indent: int) -> list[str]:
    """``node`` behind ``prefix``, which is indented by ``indent`` already."""
    if isinstance(node, Labelled):
        above = [" " * indent + line for line in node.above]
        return above + _lines(prefix + node.label, node.value, suffix, indent)
    flat = _flat(node)
    if isinstance(node, str) or width(prefix + flat + suffix) <= WIDTH or not node.items:
        return [prefix + flat + suffix]
    inner = " " * (indent + 4)
    items = ", ".join(_flat(item) for item in node.items)
    if node.loose and width(inner + items) <= WIDTH:
        body = [inner + items]
    else:
        # A comma behind the only type in a subscript would make a tuple of it.
        comma = "" if node.opening.endswith("[") and node.loose and len(node.items) == 1 else ","
        body = [line for item in node.items for line in _lines(inner, item, comma, indent + 4)]
    return [prefix + node.opening, *body, " " * indent + node.closing[-1:] + suffix]


def _flat(node: Node) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, Labelled):
        return node.label + _flat(node.value)
    return node.opening + ", ".join(_flat(item) for item in node.items) + node.closing


def width(text: str) -> int:
    """Columns that ``text`` takes: two for a Chinese character."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.combining(character) else 1


def literal(text: str) -> str:
    """``text`` as a string of Python that any reader sees as it is: what does not print, or turns the
    direction of writing, stands as an escape."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(_escaped(character, quote) for character in text) + quote


_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(character: str, quote: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character == quote:
        return f"\\{quote}"
    if character == " " or plain(character):
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(character: str) -> bool:
    """Does it print, by itself and where it stands? Marks that join the character before do not."""
    return character.isprintable() and not unicodedata.category(character).startswith("M")


def spoken(text: str, longest: int = 200) -> str:
    """``text`` for a comment, a docstring or a terminal: on one line, without quotes that end it."""
    seen = "".join(character if plain(character) else " " for character in text)
    seen = " ".join(seen.split()).replace("\\", "/").replace('"', "'")
    return seen if len(seen) <= longest else seen[: longest - 1] + "…"


def comment(text: str, indent: int = 0) -> list[str]:
    """``text`` as lines of comment, none of which gives a tool an order."""
    said = re.sub(
        r"\b(fmt|type|ruff|noqa|isort|pragma|yapf|mypy)\s*:", r"\1 -", spoken(text, 2_000)
    )
    return [f"# {line}" for line in _narrowed(said, WIDTH - indent - 2)]


def _narrowed(line: str, room: int) -> list[str]:
    """``line`` in pieces of at most ``room`` columns, cut at spaces where there are some."""
    pieces: list[str] = []
    while width(line) > room:
        end = used = 0
        while used + _columns(line[end]) <= room:
            used += _columns(line[end])
            end += 1
        space = line.rfind(" ", room // 3, end + 1)
        cut = end if space < 0 else space
        pieces.append(line[:cut].rstrip())
        line = line[cut:].lstrip()
    return [*pieces, line]
