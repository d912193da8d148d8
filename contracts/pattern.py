"""Patterns that mean the same everywhere and cannot hang.

A contract's pattern is judged by Python's ``re`` here, by ECMA-262 in a browser and by Rust or Java in
whatever reads the exported schema. They differ in what ``\\d``, ``.`` and ``$`` match, so a pattern is
rewritten to a subset in which they do not; and a backtracking engine can take longer than the universe
lasts, so the ways it could try are counted beforehand.
"""

import re

from contracts.model import WrongContract

#: Ways to match that a pattern may have at most: a fraction of a second.
MOST_WAYS = 10_000_000
#: Characters of a pattern at most.
MOST_PATTERN = 1_000
#: Characters of a text whose contract does not limit it.
LONGEST = 8 * 1024 * 1024

_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\r\\f\\v"}
_CONTROLS = "tnrfv"
_SPECIAL = frozenset("^$.*+?{}[]()|\\/")


def portable(pattern: str, longest: int | None = None) -> str:
    """``pattern`` in the subset. ``longest`` is how many characters the text may have.

    There are literals, classes, ``.``, groups, alternatives, ``^``, ``$`` and the greedy quantifiers; no
    look-around, back-references, flags, word borders or lazy quantifiers. Raises WrongContract.
    """
    if len(pattern) > MOST_PATTERN:
        raise WrongContract(
            f"Expected a pattern of at most {MOST_PATTERN} characters, got {len(pattern)}"
        )
    reader = _Reader(pattern, LONGEST if longest is None else longest)
    text, ways = reader.alternatives()
    if reader.at < len(pattern):
        raise reader.wrong("the end", "an unopened `)`")
    if not pattern.startswith("^") or "|" in pattern:
        ways *= min(reader.longest, 1000)
    if ways > MOST_WAYS:
        raise WrongContract(
            f"Expected a pattern with few ways to match, got `{pattern}` with {ways:.0e}: it could"
            " hang; leave out nested or repeated `*`, `+`, `?` and `|`, or give the field a"
            " max_length"
        )
    try:
        re.compile(python_form(text))
    except re.error as error:
        raise WrongContract(f"Expected a regular expression, got `{pattern}`: {error}") from None
    return text


def python_form(portable_pattern: str) -> str:
    """A portable pattern for ``re``, whose ``$`` would match before a last line break too."""
    return re.sub(
        r"\\.|\[(?:\\.|[^\]\\])*\]|\$",
        lambda found: r"\Z" if found[0] == "$" else found[0],
        portable_pattern,
    )


class _Reader:
    """Reads a pattern; each part is answered as its portable text and the ways it can match."""

    def __init__(self, pattern: str, longest: int) -> None:
        self.pattern = pattern
        self.longest = longest
        self.at = 0

    def wrong(self, expected: str, found: str) -> WrongContract:
        return WrongContract(
            f"Expected {expected} at character {self.at} of the pattern `{self.pattern}`, got {found}"
        )

    def next(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        character = self.next()
        if not character:
            raise self.wrong("more", "its end")
        self.at += 1
        return character

    def alternatives(self, depth: int = 0) -> tuple[str, float]:
        if depth > 20:
            raise self.wrong("at most 20 nested groups", "more")
        text, ways = self.sequence(depth)
        while self.next() == "|":
            self.at += 1
            other, more = self.sequence(depth)
            text, ways = f"{text}|{other}", ways + more
        return text, ways

    def sequence(self, depth: int) -> tuple[str, float]:
        parts, ways = [], 1.0
        while (character := self.next()) and character not in "|)":
            atom, each = self.atom(depth)
            repeated, total = self.repeated(atom, each)
            parts.append(repeated)
            ways *= total
        return "".join(parts), ways

    def atom(self, depth: int) -> tuple[str, float]:
        character = self.take()
        if character == "(":
            if self.next() == "?" and self.pattern[self.at : self.at + 2] != "?:":
                raise self.wrong("a plain group", "`(?`")
            self.at += 2 * (self.next() == "?")
            inner, ways = self.alternatives(depth + 1)
            if self.take() != ")":
                raise self.wrong("`)`", "something else")
            return f"(?:{inner})", ways
        if character == "[":
            return self.set(), 1
        if character == "\\":
            return self.escape(inside=False), 1
        if character == ".":
            return r"[^\n\r]", 1
        if character in "*+?{}]":
            raise self.wrong("something to repeat, or `\\` before it", f"`{character}`")
        return character if character in "^$" else _literal(character), 1

    def repeated(self, atom: str, ways: float) -> tuple[str, float]:
        found = re.compile(r"[*+?]|\{(\d{1,4})(,(\d{1,4})?)?\}").match(self.pattern, self.at)
        if found is None:
            return atom, ways
        self.at = found.end()
        if self.next() and self.next() in "?+*{":
            raise self.wrong("one quantifier", f"`{found[0]}{self.next()}`")
        if atom in ("^", "$"):
            raise self.wrong("something to repeat", f"`{atom}{found[0]}`")
        least = {"*": 0, "+": 1, "?": 0}.get(found[0], int(found[1] or 0))
        most: int | None = least
        if found[0] in "*+" or found[2] == ",":
            most = None
        elif found[0] == "?":
            most = 1
        elif found[3]:
            most = int(found[3])
        if most is not None and most < least:
            raise self.wrong("a quantifier from small to large", f"`{found[0]}`")
        limit = self.longest if most is None else min(most, self.longest)
        if ways > 1:
            total = ways**limit * 2 if limit * ways < 1000 else float("inf")
        else:
            total = max(limit - least, 0) + 1
        return atom + found[0], total

    def set(self) -> str:
        parts = ["["]
        if self.next() == "^":
            parts.append(self.take())
        first = len(parts)
        while (character := self.take()) != "]":
            if character == "\\":
                parts.append(self.escape(inside=True))
            elif character == "[":
                parts.append("\\[")
            elif character == "-":
                edge = len(parts) == first or self.next() == "]"
                parts.append("\\-" if edge else "-")
            elif character in "&~|" and self.next() == character:
                raise self.wrong("each character of a set once", f"`{character * 2}`")
            else:
                parts.append(character)
        if len(parts) == first:
            raise self.wrong("a character in the set", "none")
        return "".join([*parts, "]"])

    def escape(self, *, inside: bool) -> str:
        character = self.take()
        if character in _CLASSES:
            return _CLASSES[character] if inside else f"[{_CLASSES[character]}]"
        if character in "DWS" and not inside:
            return f"[^{_CLASSES[character.lower()]}]"
        if character in _CONTROLS:
            return f"\\{character}"
        if character == "u":
            digits = self.pattern[self.at : self.at + 4]
            if not re.fullmatch("[0-9A-Fa-f]{4}", digits):
                raise self.wrong("four hexadecimal digits", f"`{digits}`")
            self.at += 4
            return _literal(chr(int(digits, 16)))
        if character.isalnum():
            raise self.wrong("\\d, \\w, \\s or an escaped sign", f"`\\{character}`")
        return f"\\{character}" if character in _SPECIAL or character == "-" else character


def _literal(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        raise WrongContract("Expected a whole character in a pattern, got half a surrogate pair")
    return f"\\{character}" if character in _SPECIAL else character
