"""What a contract asks of a record as one Python function, made for it: what nearly all records pass.

Whoever does not is looked at closely by :mod:`contracts.check`, which says what is wrong.

Rules across fields become Python where that says the same as CEL and costs a tenth. Understood are
comparisons of fields, quoted texts, null and our own functions on fields, joined by ``&&``, ``||``,
``!``, ``?:`` and brackets; most rules are no more. Where a value is of another kind than such a rule
expects, CEL must be asked, and so for every rule with anything else in it.
"""

import datetime
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from contracts.functions import CHINA, FUNCTIONS

#: How a field's value looks in JSON; None when it is the same.
AsJson = Callable[[Any], Any] | None
#: A record's key and scope when nothing speaks against it; None when somebody must look closely.
Quick = Callable[[Any], tuple[str, str] | None]

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+)"""
    r"""|(?P<text>\"[^\"\\\n]*\"|'[^'\\\n]*')|(?P<sign>&&|\|\||[=!<>]=|[<>!()?:,]))"""
)
#: Brackets within brackets, and the like: more is not written by hand.
_DEEPEST = 30
_RELATIONS = ("==", "!=", "<=", ">=", "<", ">")
_WORDS = {"true": "True", "false": "False"}


def moment_text(moment: datetime.datetime) -> str:
    """A moment as it looks in JSON."""
    return moment.isoformat()


def quickly(
    identity: tuple[str, str],
    patterns: Sequence[tuple[str, Callable[[str], Any]]],
    inspections: Sequence[tuple[str, Callable[[Any], None]]],
    rules: Sequence[str],
    fields: Mapping[str, AsJson],
) -> Quick | None:
    """A function that looks at all of a record at once; None when a rule is not understood.

    ``patterns`` and ``inspections`` are by field; the first find nothing in a text that is wrong, the
    others raise. ``rules`` are over records with ``fields``.
    """
    try:
        found = [_Translation(rule, fields).whole() for rule in rules]
    except _Other:
        return None
    given: dict[str, Any] = {"odd": _odd, "text": str, "day_of_moment": _day_of_moment}
    lines, body = ["def quick(record):", "    try:"], []
    seen = dict.fromkeys(identity)
    for number, (name, each_look) in enumerate((*patterns, *inspections)):
        seen[name] = None
        given[f"look_{number}"] = each_look
        body.append((f"if r_{name} is not None", f"look_{number}(r_{name})"))
    for each in found:
        seen |= dict.fromkeys((*each.fields, *each.moments))
        given |= {f"f_{name}": FUNCTIONS[name] for name in each.functions}
    if not all(map(_plain, seen)):
        return None
    lines += [f"        r_{name} = record.{name}" for name in seen]
    for number, (there, look) in enumerate(body):
        if number < len(patterns):
            lines.append(f"        {there} and {look} is None: return None")
        else:
            lines.append(f"        {there}: {look}")
    for name in dict.fromkeys(name for each in found for name in each.fields):
        if (as_json := fields[name]) is None:
            lines.append(f"        v_{name} = r_{name}")
        else:
            given[f"j_{name}"] = as_json
            lines.append(f"        v_{name} = None if r_{name} is None else j_{name}(r_{name})")
    lines += [f"        if not {each.code}: return None" for each in found]
    lines += [f"        return r_{identity[0]}, r_{identity[1]}"]
    lines += ["    except Exception:", "        return None"]
    # Made of our own words alone: names are the contract's fields, texts are written by repr.
    exec(compile("\n".join(lines), "<contract>", "exec"), given)
    quick: Quick = given["quick"]
    return quick


def _plain(name: str) -> bool:
    """May a name stand in Python as it is?"""
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _day_of_moment(moment: datetime.datetime) -> str:
    """As ``day_of`` says of the moment's text, without it."""
    return moment.astimezone(CHINA).date().isoformat()


def _odd(left: Any, right: Any, equality: bool) -> bool:
    """Nothing is equal to null but null; all else is for CEL."""
    if equality and (left is None or right is None):
        return left is right
    raise TypeError


class _Other(Exception):
    """Something that only CEL understands."""


class _Node(NamedTuple):
    """Python in brackets; ``kind`` is "truth", "value", "text" for a quoted one, or "null"."""

    kind: str
    code: str


class _Rule(NamedTuple):
    """``fields`` are seen as their JSON, ``moments`` as they are."""

    code: str
    fields: list[str]
    moments: list[str]
    functions: set[str]


class _Translation:
    """One rule: CEL's own grammar, as far as it goes."""

    def __init__(self, source: str, fields: Mapping[str, AsJson]) -> None:
        self._tokens: list[tuple[str, str]] = []
        at, end = 0, len(source.rstrip())
        while at < end:
            token = _TOKEN.match(source, at)
            if token is None:
                raise _Other
            self._tokens.append((str(token.lastgroup), token[str(token.lastgroup)]))
            at = token.end()
        self._at = 0
        self._depth = 0
        self._number = 0
        self._known = fields
        self._fields: list[str] = []
        self._moments: list[str] = []
        self._functions: set[str] = set()

    def whole(self) -> _Rule:
        node = self._choice()
        if self._at < len(self._tokens) or node.kind != "truth":
            raise _Other
        return _Rule(node.code, self._fields, self._moments, self._functions)

    def _choice(self) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Other
        node = self._joined("||", "or", lambda: self._joined("&&", "and", self._relation))
        if self._take("?"):
            yes = self._choice()
            self._expect(":")
            no = self._choice()
            node = _truth(f"({yes.code} if {node.code} else {no.code})", node, yes, no)
        self._depth -= 1
        return node

    def _joined(self, sign: str, word: str, part: Callable[[], _Node]) -> _Node:
        parts = [part()]
        while self._take(sign):
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return _truth(f"({f' {word} '.join(each.code for each in parts)})", *parts)

    def _relation(self) -> _Node:
        node, joined = self._unary(), 0
        while (sign := self._next()) in _RELATIONS:
            self._at += 1
            joined += 1
            if joined > _DEEPEST:
                raise _Other
            node = self._compared(node, sign, self._unary())
        return node

    def _compared(self, left: _Node, how: str, right: _Node) -> _Node:
        equality = how in ("==", "!=")
        if "truth" in (left.kind, right.kind):
            if not equality:
                raise _Other
            return _truth(f"({left.code} {how} {right.code})", left, right)
        if "null" in (left.kind, right.kind):
            if not equality:
                raise _Other
            if "text" in (left.kind, right.kind):
                return _Node("truth", str(how == "!="))
            word = "is" if how == "==" else "is not"
            return _Node("truth", f"({left.code} {word} {right.code})")
        names, looks = [], []
        for each in (left, right):
            name = each.code
            if each.kind == "value":
                if not name.isidentifier():
                    name = f"t_{self._number}"
                    self._number += 1
                looks.append(f"({name} := {each.code}).__class__ is text" if name != each.code
                             else f"{name}.__class__ is text")  # fmt: skip
            names.append(name)
        one, other = names
        if not looks:
            return _Node("truth", f"({one} {how} {other})")
        # Both are looked at, so that both are there to be told of.
        look = looks[0] if len(looks) == 1 else f"({looks[0]}) & ({looks[1]})"
        negated = "not " if how == "!=" else ""
        return _Node(
            "truth",
            f"({one} {how} {other} if {look} else {negated}odd({one}, {other}, {equality}))",
        )

    def _unary(self) -> _Node:
        negated = False
        while self._take("!"):
            negated = not negated
        node = self._primary()
        return _truth(f"(not {node.code})", node) if negated else node

    def _primary(self) -> _Node:
        if self._at >= len(self._tokens):
            raise _Other
        kind, word = self._tokens[self._at]
        self._at += 1
        if kind == "sign" and word == "(":
            node = self._choice()
            self._expect(")")
            return node
        if kind == "text":
            return _Node("text", repr(word[1:-1]))
        if kind != "name":
            raise _Other
        if word == "null":
            return _Node("null", "None")
        if word in _WORDS:
            return _Node("truth", _WORDS[word])
        if self._take("("):
            return self._call(word)
        return _Node("value", self._field(word))

    def _call(self, function: str) -> _Node:
        if function not in FUNCTIONS:
            raise _Other
        if function == "day_of" and (moment := self._moment()):
            return _Node("value", f"day_of_moment(r_{moment})")
        self._functions.add(function)
        arguments = []
        while True:
            if self._at >= len(self._tokens):
                raise _Other
            kind, word = self._tokens[self._at]
            self._at += 1
            if kind == "number":
                arguments.append(str(int(word)))
            elif kind == "name":
                arguments.append(self._field(word))
            else:
                raise _Other
            if self._take(")"):
                return _Node("value", f"f_{function}({', '.join(arguments)})")
            self._expect(",")

    def _moment(self) -> str:
        """The field that stands here alone, if it is a moment; its text need not be made then."""
        here = self._tokens[self._at : self._at + 2]
        if (
            len(here) < 2
            or here[1] != ("sign", ")")
            or self._known.get(here[0][1]) is not moment_text
        ):
            return ""
        self._at += 2
        self._moments.append(here[0][1])
        return here[0][1]

    def _field(self, name: str) -> str:
        if name not in self._known:
            raise _Other
        self._fields.append(name)
        return f"v_{name}"

    def _next(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "sign":
            return self._tokens[self._at][1]
        return ""

    def _take(self, sign: str) -> bool:
        if self._next() == sign:
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise _Other


def _truth(code: str, *parts: _Node) -> _Node:
    """``code``, when all it is made of is true or false."""
    if any(part.kind != "truth" for part in parts):
        raise _Other
    return _Node("truth", code)
