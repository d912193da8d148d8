"""Expressions in CEL over a record: rules across fields, and which rows a grant gives.

A record is seen as its JSON: dates and moments are text, exact numbers too (``double(x)``,
``timestamp(x)``), and a field that is not filled in is null.
"""

import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from contracts.functions import FUNCTIONS

# The library imports its own command line too: 13 MB and 80 ms that nothing here needs.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402

#: Text in quotes, which is passed over.
_QUOTED = r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"""
#: A function called on names and whole numbers alone.
_CALL = re.compile(_QUOTED + r"""|(?<![\w.])(?P<name>\w+)\((?P<given>\s*\w+\s*(?:,\s*\w+\s*)*)\)""")
#: A test whether a name is null that is an operand by itself, so that what it is replaced by is too.
_NULL = re.compile(
    _QUOTED + r"""|(?P<before>(?:^|\(|&&|\|\||\?|:)\s*)(?P<field>\w+)\s*(?P<how>==|!=)\s*null\b"""
    r"""(?=\s*(?:$|\)|&&|\|\||\?|:|==|!=))"""
)
#: Names that CEL's macros give to the elements of a list.
_BOUND = re.compile(r"\.(?:all|exists|exists_one|map|filter)\(\s*(\w+)\s*,")


#: Characters of an expression at most: contracts come from elsewhere, too.
LONGEST = 4_000


class WrongExpression(ValueError):
    """An expression that cannot be: what was expected and what was found."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"Expected {expected}, got {found}")


class _Call(NamedTuple):
    """What is found out before CEL begins and given to it as ``variable``: a call of one of our
    functions, which costs 3 µs from within, or whether a field is null, since handing its text over
    costs 1 µs. What is given are fields, or numbers as they are."""

    variable: str
    function: Callable[..., Any]
    given: tuple[str | int, ...]

    def made(self, values: Mapping[str, Any]) -> Any:
        """The answer; null when a field that is given is."""
        given = [values[each] if isinstance(each, str) else each for each in self.given]
        if self.function is _is_null:
            return given[0] is None
        return None if None in given else self.function(*given)


def _is_null(value: Any) -> bool:
    return value is None


class Expression:
    """``source`` compiled for records with the fields ``names``. Raises WrongExpression."""

    def __init__(self, source: str, names: Sequence[str]) -> None:
        if len(source) > LONGEST:
            raise WrongExpression(f"at most {LONGEST} characters", f"{len(source)}")
        self._calls: dict[str, _Call] = {}
        bound = _BOUND.findall(source)
        free = frozenset(names).difference(bound)
        try:
            self._program = cel.compile(self._found_out(source, free))
        except ValueError as error:
            said = " ".join(str(error).split())[:300]
            raise WrongExpression("a CEL expression", said) from None
        used: dict[str, None] = {}
        for name in self._program.variables():
            given = self._calls[name].given if name in self._calls else (name,)
            used |= {each: None for each in given if isinstance(each, str)}
        for name in used:
            if name not in names and name not in bound:
                raise WrongExpression(f"fields of the contract ({', '.join(names)})", f"`{name}`")
        called = self._program.functions()
        for name in called:
            if name.isidentifier() and name not in FUNCTIONS and name not in _CEL_FUNCTIONS:
                raise WrongExpression(f"functions of CEL or {', '.join(FUNCTIONS)}", f"`{name}`")
            # The library has one namespace: the field's value would stand in for the function.
            if name in FUNCTIONS and name in names:
                raise WrongExpression("a function whose name no field has", f"`{name}`")
        #: The fields it looks at: only they need to be given.
        self.fields = tuple(name for name in used if name in names)
        #: Those of them whose values CEL itself is handed.
        self._handed = tuple(name for name in self._program.variables() if name in names)
        self._functions: dict[str, Any] = {
            name: FUNCTIONS[name] for name in called if name in FUNCTIONS
        }

    def _found_out(self, source: str, free: Collection[str]) -> str:
        """``source`` with variables for what is found out before."""

        def call(found: "re.Match[str]") -> str:
            name = found["name"]
            given = [each.strip() for each in (found["given"] or "").split(",")]
            if name not in FUNCTIONS or not all(each.isdecimal() or each in free for each in given):
                return found[0]
            arguments = tuple(int(each) if each.isdecimal() else each for each in given)
            return self._before("__".join([name, *given]), FUNCTIONS[name], arguments)

        def null(found: "re.Match[str]") -> str:
            field = found["field"]
            if field not in free:
                return found[0]
            test = self._before(f"{field}__null", _is_null, (field,))
            return f"{found['before']}{'!' * (found['how'] == '!=')}{test}"

        return _NULL.sub(null, _CALL.sub(call, source))

    def _before(
        self, variable: str, function: Callable[..., Any], given: tuple[str | int, ...]
    ) -> str:
        self._calls[variable] = _Call(variable, function, given)
        return variable

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Is it true of ``values``, which has all of ``fields``? Raises ValueError where CEL can say
        neither, as when a number is compared with text."""
        given = {name: values[name] for name in self._handed}
        try:
            for call in self._calls.values():
                given[call.variable] = call.made(values)
            return self._program.execute(given | self._functions) is True
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(str(error)) from None


class Rulebook:
    """Several expressions judged over the same record, whose values CEL is handed once: that is most of
    what a rule costs."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._programs = [each._program for each in expressions]
        #: The fields they look at: only they need to be given.
        self.fields = tuple(dict.fromkeys(name for each in expressions for name in each.fields))
        self._handed = tuple(dict.fromkeys(name for each in expressions for name in each._handed))
        self._functions: dict[str, Any] = {}
        self._calls: dict[str, _Call] = {}
        for each in expressions:
            self._functions |= each._functions
            self._calls |= each._calls

    def broken(self, values: Mapping[str, Any]) -> int | None:
        """The place of the first that is not true of ``values``, or of which CEL can say neither."""
        given = {name: values[name] for name in self._handed}
        place = 0
        try:
            for call in self._calls.values():
                given[call.variable] = call.made(values)
            context = cel.Context(given, self._functions)
            for place, program in enumerate(self._programs):
                if program.execute(context) is not True:
                    return place
        except (RuntimeError, TypeError, ValueError):
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
