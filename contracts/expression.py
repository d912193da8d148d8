"""Expressions in CEL over a record: rules across fields, and which rows a grant gives.

A record is seen as its JSON: dates and moments are text, exact numbers too (``double(x)``,
``timestamp(x)``), and a field that is not filled in is null.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import cel

from contracts.functions import FUNCTIONS

#: A function called on a field alone; text in quotes is passed over.
_CALL = re.compile(
    r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?<![\w.])(?P<name>\w+)\(\s*(?P<field>\w+)\s*\)"""
)
#: Names that CEL's macros give to the elements of a list.
_BOUND = re.compile(r"\.(?:all|exists|exists_one|map|filter)\(\s*(\w+)\s*,")


class WrongExpression(ValueError):
    """An expression that cannot be: what was expected and what was found."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"Expected {expected}, got {found}")


class Expression:
    """``source`` compiled for records with the fields ``names``. Raises WrongExpression."""

    def __init__(self, source: str, names: Sequence[str]) -> None:
        #: Calls of our own functions on a field, made before CEL begins: from within they cost 3 µs.
        self._calls: list[tuple[str, Callable[..., Any], str]] = []
        try:
            self._program = cel.compile(self._called_before(source, names))
        except ValueError as error:
            raise WrongExpression("a CEL expression", " ".join(str(error).split())) from None
        bound = _BOUND.findall(source)
        before = {variable: field for variable, _, field in self._calls}
        used = list(dict.fromkeys(before.get(name, name) for name in self._program.variables()))
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
            name, field = found["name"], found["field"]
            if name not in FUNCTIONS or field not in names:
                return found[0]
            variable = f"{name}__{field}"
            self._calls.append((variable, FUNCTIONS[name], field))
            return variable

        return _CALL.sub(replaced, source)

    def holds(self, values: dict[str, Any]) -> bool:
        """Is it true of ``values``, which has all of ``fields`` and may be added to? Raises ValueError
        where CEL can say neither, as when a number is compared with text."""
        try:
            for variable, function, field in self._calls:
                value = values[field]
                values[variable] = None if value is None else function(value)
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
        calls: dict[str, tuple[Callable[..., Any], str]] = {}
        for each in expressions:
            self._functions |= each._functions
            calls |= {variable: (function, field) for variable, function, field in each._calls}
        self._calls = [(variable, *call) for variable, call in calls.items()]

    def broken(self, values: dict[str, Any]) -> int | None:
        """The place of the first that is not true of ``values``, or of which CEL can say neither."""
        place = 0
        try:
            for variable, function, field in self._calls:
                value = values[field]
                values[variable] = None if value is None else function(value)
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
