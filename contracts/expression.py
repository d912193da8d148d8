"""Expressions in CEL over a record: rules across fields, and which rows a grant gives.

A record is seen as its JSON: dates and moments are text, exact numbers too (``double(x)``,
``timestamp(x)``), and a field that is not filled in is null.
"""

import operator
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

from contracts.functions import FUNCTIONS

# The library imports its own command line too: 13 MB and 80 ms that nothing here needs.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402

#: Text in quotes, which is passed over.
_QUOTED = r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"""
_NAME = r"[A-Za-z_]\w*"
_ARGUMENTS = r"\(\s*\w+\s*(?:,\s*\w+\s*)*\)"
#: A function called on names and whole numbers alone.
_CALL = re.compile(rf"{_QUOTED}|(?<![\w.])(?P<name>{_NAME})(?P<given>{_ARGUMENTS})")
_OPERAND = rf"""{_NAME}(?:{_ARGUMENTS})?|\"[^\"\\]*\"|'[^'\\]*'"""
#: A comparison of two of them that is an operand by itself, so that what it is replaced by is too.
_COMPARISON = re.compile(
    rf"(?P<before>(?:^|\(|&&|\|\||\?|:)\s*)(?P<left>{_OPERAND})\s*(?P<how>==|!=|<=|>=|<|>)\s*"
    rf"(?P<right>{_OPERAND})(?=\s*(?:$|\)|&&|\|\||\?|:))|{_QUOTED}"
)
_HOW: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt,
    ">": operator.gt,
}  # fmt: skip
#: Names that CEL's macros give to the elements of a list.
_BOUND = re.compile(r"\.(?:all|exists|exists_one|map|filter)\(\s*(\w+)\s*,")


#: Characters of an expression at most: contracts come from elsewhere, too.
LONGEST = 4_000


class WrongExpression(ValueError):
    """An expression that cannot be: what was expected and what was found."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"Expected {expected}, got {found}")


class _AskCel(Exception):
    """Only CEL itself can say."""


class _Fails(Exception):
    """CEL would fail here, if it comes this far: its variable is left out, and it does."""


#: What CEL fails with on a record: text where a number should be, a division by zero, a list too short.
_FAILURES = (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError)
#: Finds something out about a record's values. Raises _AskCel or _Fails.
_Finding = Callable[[Mapping[str, Any]], Any]


class Expression:
    """``source`` compiled for records with the fields ``names``. Raises WrongExpression.

    Handing CEL a text costs 1 µs, calling one of our functions from within 3 µs, all else a tenth. So
    what can be found out without it is: calls on fields, and comparisons of texts, which CEL then sees
    as true or false. Where a value is not text, it is asked after all.
    """

    def __init__(self, source: str, names: Sequence[str]) -> None:
        if len(source) > LONGEST:
            raise WrongExpression(f"at most {LONGEST} characters", f"{len(source)}")
        try:
            self._plain = cel.compile(source)
        except ValueError as error:
            said = " ".join(str(error).split())[:300]
            raise WrongExpression("a CEL expression", said) from None
        bound = _BOUND.findall(source)
        for name in self._plain.variables():
            if name not in names and name not in bound:
                raise WrongExpression(f"fields of the contract ({', '.join(names)})", f"`{name}`")
        called = self._plain.functions()
        for name in called:
            if name.isidentifier() and name not in FUNCTIONS and name not in _CEL_FUNCTIONS:
                raise WrongExpression(f"functions of CEL or {', '.join(FUNCTIONS)}", f"`{name}`")
            # The library has one namespace: the field's value would stand in for the function.
            if name in FUNCTIONS and name in names:
                raise WrongExpression("a function whose name no field has", f"`{name}`")
        self._functions: dict[str, Any] = {
            name: FUNCTIONS[name] for name in called if name in FUNCTIONS
        }
        #: The fields it looks at: only they need to be given.
        self.fields = tuple(name for name in self._plain.variables() if name in names)
        #: By the variable that stands for it in the program.
        self._findings: dict[str, _Finding] = {}
        self._program = cel.compile(self._found_out(source, frozenset(names).difference(bound)))
        #: Fields whose values the program is handed, and functions it still calls.
        self._handed = tuple(name for name in self._program.variables() if name in names)
        self._left = {
            name: FUNCTIONS[name] for name in self._program.functions() if name in FUNCTIONS
        }

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Is it true of ``values``, which has all of ``fields``? Raises ValueError where CEL can say
        neither, as when a number is compared with text."""
        try:
            given = {name: values[name] for name in self._handed}
            if self._left:
                given |= self._left
            for variable, finding in self._findings.items():
                try:
                    given[variable] = finding(values)
                except _Fails:
                    continue
            return self._program.execute(given) is True
        except _AskCel:
            return self._asked(values)
        except _FAILURES as error:
            raise ValueError(str(error)) from None

    def _asked(self, values: Mapping[str, Any]) -> bool:
        """The same by CEL alone."""
        given = {name: values[name] for name in self.fields}
        try:
            return self._plain.execute(given | self._functions) is True
        except _FAILURES as error:
            raise ValueError(str(error)) from None

    def _found_out(self, source: str, free: Collection[str]) -> str:
        """``source`` with variables for what is found out before CEL begins."""

        def comparison(found: "re.Match[str]") -> str:
            if found["how"] is None:
                return found[0]
            left, right = self._operand(found["left"], free), self._operand(found["right"], free)
            if left is None or right is None:
                return found[0]
            compared = _compared(left, _HOW[found["how"]], right, equality=found["how"] in "==!=")
            return found["before"] + self._variable(compared)

        def call(found: "re.Match[str]") -> str:
            made = found["name"] and self._operand(found[0], free)
            return self._variable(made) if made else found[0]

        return _CALL.sub(call, _COMPARISON.sub(comparison, source))

    def _variable(self, finding: _Finding) -> str:
        variable = f"found__{len(self._findings)}"
        self._findings[variable] = finding
        return variable

    def _operand(self, text: str, free: Collection[str]) -> _Finding | None:
        """A field, one of our functions on fields and whole numbers, quoted text or null."""
        if text[0] in "'\"":
            quoted = text[1:-1]
            return lambda _: quoted
        if text == "null":
            return lambda _: None
        name, bracket, rest = text.partition("(")
        if not bracket:
            return operator.itemgetter(name) if name in free else None
        given = [each.strip() for each in rest.rstrip(")").split(",")]
        if name not in FUNCTIONS or not all(each.isdecimal() or each in free for each in given):
            return None
        return _called(FUNCTIONS[name], [int(each) if each.isdecimal() else each for each in given])


def _compared(
    left: _Finding, how: Callable[[Any, Any], bool], right: _Finding, *, equality: bool
) -> _Finding:
    def compare(values: Mapping[str, Any]) -> bool:
        one, other = left(values), right(values)
        if type(one) is str and type(other) is str:
            return how(one, other)
        if one is None or other is None:
            if equality:
                return how(one, other)
            raise _Fails
        raise _AskCel

    return compare


def _called(function: Callable[..., Any], given: Sequence[str | int]) -> _Finding:
    def call(values: Mapping[str, Any]) -> Any:
        made = [values[each] if isinstance(each, str) else each for each in given]
        try:
            return function(*made)
        except Exception as error:  # as CEL would take it
            raise _Fails from error

    return call


def first_broken(expressions: Sequence[Expression], values: Mapping[str, Any]) -> int | None:
    """The place of the first that is not true of ``values``, or of which CEL can say neither."""
    place = 0
    try:
        for place, expression in enumerate(expressions):
            if not expression.holds(values):
                return place
    except ValueError:
        return place
    return None


#: What the library offers; anything else would fail on every record.
_CEL_FUNCTIONS = frozenset(
    {
        "contains", "size", "has", "map", "filter", "all", "exists", "exists_one", "max", "min",
        "startsWith", "endsWith", "matches", "string", "bytes", "double", "int", "uint",
        "duration", "timestamp", "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth",
        "getDate", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
        "type", "bool", "dyn",
    }
)  # fmt: skip
