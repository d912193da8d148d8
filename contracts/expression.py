"""Expressions in CEL over a record: rules across fields, and which rows a grant gives.

A record is seen as its JSON: dates and moments are text, exact numbers too (``double(x)``,
``timestamp(x)``), and a field that is not filled in is null.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cel

from contracts.functions import FUNCTIONS

#: A function called on names and whole numbers alone; text in quotes is passed over.
_CALL = re.compile(
    r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"""
    r"""|(?<![\w.])(?P<name>\w+)\((?P<given>\s*\w+\s*(?:,\s*\w+\s*)*)\)"""
)
#: Names that CEL's macros give to the elements of a list.
_BOUND = re.compile(r"\.(?:all|exists|exists_one|map|filter)\(\s*(\w+)\s*,")


class WrongExpression(ValueError):
    """An expression that cannot be: what was expected and what was found."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"Expected {expected}, got {found}")


class _Call(NamedTuple):
    """A call of one of our functions, made before CEL begins and given to it as ``variable``: from
    within it costs 3 µs. What is given are fields, or numbers as they are."""

    variable: str
    function: Callable[..., Any]
    given: tuple[str | int, ...]

    def made(self, values: Mapping[str, Any]) -> Any:
        """The answer; null when a field that is given is."""
        given = [values[each] if isinstance(each, str) else each for each in self.given]
        return None if None in given else self.function(*given)


class Expression:
    """``source`` compiled for records with the fields ``names``. Raises WrongExpression."""

    def __init__(self, source: str, names: Sequence[str]) -> None:
        self._calls: dict[str, _Call] = {}
        try:
            self._program = cel.compile(self._called_before(source, names))
        except ValueError as error:
            raise WrongExpression("a CEL expression", " ".join(str(error).split())) from None
        bound = _BOUND.findall(source)
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
        self._functions: dict[str, Any] = {
            name: FUNCTIONS[name] for name in called if name in FUNCTIONS
        }

    def _called_before(self, source: str, names: Sequence[str]) -> str:
        def replaced(found: "re.Match[str]") -> str:
            name = found["name"]
            given = [each.strip() for each in (found["given"] or "").split(",")]
            if name not in FUNCTIONS or not all(
                each.isdecimal() or each in names for each in given
            ):
                return found[0]
            variable = "__".join([name, *given])
            arguments = tuple(int(each) if each.isdecimal() else each for each in given)
            self._calls[variable] = _Call(variable, FUNCTIONS[name], arguments)
            return variable

        return _CALL.sub(replaced, source)

    def holds(self, values: dict[str, Any]) -> bool:
        """Is it true of ``values``, which has all of ``fields`` and may be added to? Raises ValueError
        where CEL can say neither, as when a number is compared with text."""
        try:
            for call in self._calls.values():
                values[call.variable] = call.made(values)
            if self._functions:
                values |= self._functions
            return self._program.execute(values) is True
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(str(error)) from None


class Rulebook:
    """Several expressions judged over the same record, whose values CEL is handed once: that is most of
    what a rule costs."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._programs = [each._program for each in expressions]
        #: The fields they look at: only they need to be given.
        self.fields = tuple(dict.fromkeys(name for each in expressions for name in each.fields))
        self._functions: dict[str, Any] = {}
        self._calls: dict[str, _Call] = {}
        for each in expressions:
            self._functions |= each._functions
            self._calls |= each._calls

    def broken(self, values: dict[str, Any]) -> int | None:
        """The place of the first that is not true of ``values``, or of which CEL can say neither."""
        place = 0
        try:
            for call in self._calls.values():
                values[call.variable] = call.made(values)
            context = cel.Context(values, self._functions)
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
