"""Can this contract be? Before it is used, whoever wrote or sent it."""

import keyword
import re
from typing import Any

from contracts.expression import Expression, WrongExpression
from contracts.model import Contract, WrongContract
from contracts.pattern import portable
from contracts.shape import (
    Array,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)

#: Levels of records in records, and fields of all of them together, at most.
DEEPEST, MOST_FIELDS = 8, 1_000

_SUBJECT = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_RULE = re.compile(r"[a-z][a-z0-9-]{0,62}")


def examine(contract: Contract) -> None:
    """Raises WrongContract with contract, path, what was expected and what was found."""
    _Examination(contract).run()


class _Examination:
    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.fields = 0

    def wrong(self, path: str, expected: str, found: Any) -> WrongContract:
        return WrongContract(
            f"Expected {expected}, got {found} - at `{path}` of `{self.contract.name}`"
        )

    def run(self) -> None:
        contract = self.contract
        if not _SUBJECT.fullmatch(contract.subject):
            raise self.wrong("subject", "a name such as `business_licence`", contract.subject)
        for path, number, least in (
            ("major", contract.major, 1),
            ("minor", contract.minor, 0),
            ("partitions", contract.partitions, 1),
        ):
            if not least <= number <= 10_000:
                raise self.wrong(path, f"a number from {least} to 10000", number)
        if not 0 < contract.freshness < float("inf"):
            raise self.wrong("freshness", "seconds above 0", contract.freshness)
        if contract.retention is not None and contract.retention < 0:
            raise self.wrong("retention", "days, or none for no limit", contract.retention)
        if contract.journal is not None and not 1 <= contract.journal <= 36_500:
            raise self.wrong("journal", "days from 1 to 36500", contract.journal)
        if contract.sharing == "conditional" and contract.condition is None:
            raise self.wrong("condition", "what a conditional sharing asks for", "nothing")
        self.object(contract.fields, "$", 0)
        for role in ("key", "scope"):
            self.identifying(role, getattr(contract, role))
        names = contract.field_names
        for role in ("personal", "searchable"):
            for name in getattr(contract, role):
                if name not in names:
                    raise self.wrong(role, f"a field ({', '.join(names)})", f"`{name}`")
        self.rules()

    def identifying(self, role: str, name: str) -> None:
        try:
            shape = self.contract.shape_of(name)
        except KeyError:
            names = ", ".join(self.contract.field_names)
            raise self.wrong(role, f"a field ({names})", f"`{name}`") from None
        required = next(each.required for each in self.contract.fields if each.name == name)
        if not isinstance(shape, String | Enum) or shape.nullable or not required:
            raise self.wrong(f"$.{name}", f"required text, being the {role}", "something else")
        if isinstance(shape, String) and not (shape.min_length or shape.pattern or shape.format):
            raise self.wrong(f"$.{name}", f"text that cannot be empty, being the {role}", "any")

    def object(self, fields: tuple[Field, ...], path: str, depth: int) -> None:
        if depth > DEEPEST:
            raise self.wrong(path, f"at most {DEEPEST} records in records", "more")
        if not fields:
            raise self.wrong(path, "fields", "none")
        self.fields += len(fields)
        if self.fields > MOST_FIELDS:
            raise self.wrong(path, f"at most {MOST_FIELDS} fields", "more")
        seen = set()
        for field in fields:
            inner = f"{path}.{field.name}"
            if not _FIELD.fullmatch(field.name) or keyword.iskeyword(field.name):
                raise self.wrong(inner, "a name of letters, digits and `_`", f"`{field.name}`")
            if field.name in seen:
                raise self.wrong(inner, "each name once", "the same again")
            seen.add(field.name)
            self.shape(field.shape, inner, depth)

    def shape(self, shape: Shape, path: str, depth: int) -> None:
        match shape:
            case String():
                self.between(shape.min_length, shape.max_length, path)
                if shape.pattern is not None:
                    normal = portable(shape.pattern, shape.max_length)
                    if normal != shape.pattern:
                        raise self.wrong(path, f"the portable pattern `{normal}`", shape.pattern)
            case Integer():
                if not -(2**63) <= shape.ge <= shape.le < 2**63:
                    raise self.wrong(path, "a range within 64 bits", f"{shape.ge} to {shape.le}")
            case Number():
                if shape.ge is not None and shape.gt is not None:
                    raise self.wrong(path, "ge or gt", "both")
                if shape.le is not None and shape.lt is not None:
                    raise self.wrong(path, "le or lt", "both")
            case Decimal():
                if not 0 <= shape.places <= shape.digits <= 38 or shape.digits < 1:
                    raise self.wrong(
                        path, "1 to 38 digits, of which some behind the point",
                        f"{shape.digits} and {shape.places}",
                    )  # fmt: skip
            case Enum():
                if not shape.values or len(set(shape.values)) != len(shape.values):
                    raise self.wrong(path, "codes, each once", list(shape.values))
                if unknown := shape.labels.keys() - set(shape.values):
                    raise self.wrong(path, "labels of its codes", sorted(unknown))
            case Array():
                self.between(shape.min_length, shape.max_length, path)
                self.shape(shape.items, f"{path}[]", depth + 1)
            case Map():
                self.between(0, shape.max_length, path)
                self.shape(shape.values, f"{path}{{}}", depth + 1)
            case Object():
                self.object(shape.fields, path, depth + 1)
        if depth > DEEPEST:
            raise self.wrong(path, f"at most {DEEPEST} levels", "more")

    def between(self, least: int, most: int | None, path: str) -> None:
        if least < 0 or (most is not None and most < least):
            raise self.wrong(path, "lengths from small to large", f"{least} to {most}")

    def rules(self) -> None:
        seen = set()
        for index, rule in enumerate(self.contract.rules):
            path = f"rules[{index}]"
            if not _RULE.fullmatch(rule.name) or rule.name in seen:
                raise self.wrong(path, "a name of its own such as `after-birth`", f"`{rule.name}`")
            seen.add(rule.name)
            names = self.contract.field_names
            try:
                Expression(rule.when, names)
            except WrongExpression as error:
                raise self.wrong(f"{path}.when", error.expected, error.found) from None
