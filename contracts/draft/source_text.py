"""A contract as the Python module one would have written for it."""

import keyword
from collections.abc import Mapping

import msgspec

from contracts import codes
from contracts.codes import CodeTable
from contracts.draft.defaults import default_text, number_text
from contracts.draft.layout import (
    Labelled,
    Node,
    assigned,
    call,
    class_line,
    comment,
    exploded,
    literal,
    mapping,
    member,
    spoken,
    subscript,
)
from contracts.draft.names import words
from contracts.draft.orderly import is_table, orderly
from contracts.draft.promises import promises, text_node
from contracts.model import Contract
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
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
from contracts.text import Text

#: Names that a written module uses; no field, type or table of it may hide them.
_TAKEN = frozenset(
    {
        "Annotated", "Decimal", "Literal", "Rule", "Text", "CodeTable", "about", "bool", "datetime",
        "define", "dict", "float", "int", "list", "msgspec", "str",
    }
)  # fmt: skip
_TABLES = {name: table for name, table in vars(codes).items() if isinstance(table, CodeTable)}


def source_text(
    contract: Contract, *, origin: str, questions: Mapping[str, tuple[str, ...]] | None = None
) -> str:
    """The module that defines ``contract``, which importing it gives back as :func:`orderly` has it.

    ``origin`` says where it was drafted from. ``questions`` are what is still to be decided: by the
    name of a field, or of one of the contract's own promises such as ``key``; they stand there as
    ``# OPEN:`` comments.
    """
    return _Module(orderly(contract), origin, questions or {}).text()


class _Module:
    def __init__(
        self, contract: Contract, origin: str, questions: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.contract = contract
        self.origin = origin
        self.questions = questions
        self.variable = f"V{contract.major}"
        self.taken = {*_TAKEN, *_TABLES, *keyword.kwlist, self.variable}
        for field in contract.fields:
            self._take_fields(field)
        self.used = {"about", "define"}
        self.tables: set[str] = set()
        self.body: list[str] = []

    def _take_fields(self, field: Field) -> None:
        """A default stands in the class under the field's name and would hide a type called so."""
        self.taken.add(field.name)
        match field.shape:
            case Object(fields=fields):
                for inner in fields:
                    self._take_fields(inner)
            case Array(items=inside) | Map(values=inside):
                self._take_fields(msgspec.structs.replace(field, shape=inside))

    def text(self) -> str:
        contract = self.contract
        name = self._name(words(contract.subject), f"V{contract.major}")
        self._record(name, contract.fields, contract.title, asked=True)
        self.body += [
            "",
            "",
            *exploded(self.variable, "define(", [name, *promises(contract, self.questions)]),
        ]
        head = [
            f'"""{spoken(contract.title.zh, 40)}: {spoken(contract.title.en, 50)}.',
            "",
            *(line[2:] for line in comment(f"Drafted from {self.origin}.")),
            *(["`# OPEN:` marks what is still to be decided."] if self.questions else []),
            '"""',
        ]
        text = "\n".join([*head, "", *self._imports(), "", *self.body])
        return text.rstrip("\n") + "\n"

    def _imports(self) -> list[str]:
        used = self.used
        typing = [name for name in ("Annotated", "Literal") if name in used]
        standard = ["import datetime"] if "datetime" in used else []
        if "Decimal" in used:
            standard.append("from decimal import Decimal")
        # As isort has it: constants before classes.
        tables = [*sorted(self.tables), *({"CodeTable"} & used)]
        ours = [f"from contracts.codes import {', '.join(tables)}"] if tables else []
        ours.append("from contracts.define import about, define")
        if self.contract.rules:
            ours.append("from contracts.model import Rule")
        ours.append("from contracts.text import Text")
        first = [*standard, f"from typing import {', '.join(typing)}"]
        return [*first, "", "import msgspec", "", *ours]

    def _name(self, parts: list[str], end: str = "") -> str:
        """A type's name of ``parts`` that is nobody else's."""
        base = "".join(part[:1].upper() + part[1:] for part in parts)
        # Behind a very long field name there is little room on the line.
        base = base[: 24 if len(base) < 40 else 12]
        if not base.isidentifier():
            base = "Field"
        return self._free(base + end)

    def _free(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}{number}" if wanted[-1:].isalpha() else f"{wanted}_{number}"
        self.taken.add(name)
        return name

    def _add(self, lines: list[str]) -> None:
        """A statement at the top level; behind a class stand two empty lines."""
        if self.body and self.body[-1].startswith("    "):
            self.body += ["", ""]
        self.body += lines

    # ---- fields ------------------------------------------------------------------------------

    def _record(
        self, name: str, fields: tuple[Field, ...], title: Text, *, asked: bool = False
    ) -> None:
        """The class of a record, behind the types of its fields."""
        members = [self._member(field, asked=asked) for field in fields]
        self.body += [
            "",
            "",
            *class_line(
                name, "msgspec.Struct", "frozen=True", "kw_only=True", "forbid_unknown_fields=True"
            ),
            f'    """{spoken(title.zh, 40)}: {spoken(title.en, 40)}."""',
            "",
            *(line for stated in members for line in stated),
        ]

    def _member(self, field: Field, *, asked: bool) -> list[str]:
        questions = self.questions.get(field.name, ()) if asked else ()
        about = self._about(field.title, field.description, self._limits(field.shape, field))
        kind = self._kind(field.shape, field)
        alias = self._name(words(field.name))
        above = [line for question in questions for line in comment(f"OPEN: {question}")]
        self.used |= {"Annotated"}
        self._add([*above, *assigned(alias, subscript("Annotated", kind, about))])
        given = f"{alias} | None" if field.shape.nullable else alias
        attribute = field.name
        if attribute in _TAKEN | _TABLES.keys():
            attribute = self._free(f"{attribute}_")
        return member(f"{attribute}: {given}", self._default(field, attribute))

    def _default(self, field: Field, attribute: str) -> Node:
        said: list[Node] = []
        if not field.required:
            value = default_text(field.default, field.shape)
            self.used |= {name for name in ("Decimal", "datetime") if value.startswith(name)}
            if isinstance(field.default, list | dict) and field.default:
                said.append(Labelled("default_factory=", f"lambda: {value}"))
            elif attribute == field.name:
                return value
            else:
                said.append(Labelled("default=", value))
        if attribute != field.name:
            said.append(Labelled("name=", literal(field.name)))
        return call("msgspec.field", *said) if said else ""

    def _about(self, title: Text, note: Text | None, limits: list[Node]) -> Node:
        said = [] if note is None else [Labelled("note=", text_node(note))]
        return call("about", literal(title.zh), literal(title.en), *said, *limits)

    def _kind(self, shape: Shape, field: Field) -> Node:
        """The type of values of ``shape``, None left out."""
        match shape:
            case String():
                return "str"
            case Integer():
                return "int"
            case Number():
                return "float"
            case Boolean():
                return "bool"
            case Decimal():
                self.used.add("Decimal")
                return "Decimal"
            case Date() | DateTime():
                self.used.add("datetime")
                return "datetime.date" if isinstance(shape, Date) else "datetime.datetime"
            case Enum() if is_table(shape):
                return "str"
            case Enum():
                self.used.add("Literal")
                return subscript("Literal", *map(literal, shape.values))
            case Array():
                return f"list[{self._inside(shape.items, field)}]"
            case Map():
                return f"dict[str, {self._inside(shape.values, field)}]"
            case Object():
                name = self._name(words(field.name), "Record")
                self._record(name, shape.fields, field.title)
                return name

    def _inside(self, shape: Shape, field: Field) -> str:
        """The type of what a list or mapping holds: by a name of its own unless it is plain."""
        limits = self._limits(shape, field)
        kind = self._kind(shape, field)
        if limits or not isinstance(kind, str):
            alias = self._name(words(field.name), "Item")
            self.used.add("Annotated")
            about = self._about(field.title, None, limits)
            self._add(assigned(alias, subscript("Annotated", kind, about)))
            kind = alias
        return f"{kind} | None" if shape.nullable else kind

    def _limits(self, shape: Shape, field: Field) -> list[Node]:
        """What limits the values of ``shape``, as arguments of ``about``."""
        limits: dict[str, Node] = {}
        match shape:
            case String():
                for name in ("format", "pattern"):
                    if getattr(shape, name) is not None:
                        limits[name] = literal(getattr(shape, name))
                limits |= _lengths(shape)
            case Integer():
                limits = _unlike(shape, Integer(), "ge", "le")
            case Number():
                limits = _unlike(shape, Number(), "ge", "gt", "le", "lt")
            case Decimal():
                limits = {"digits": str(shape.digits), "places": str(shape.places)}
                if shape.positive:
                    limits["positive"] = "True"
            case Enum() if is_table(shape):
                limits["codes"] = self._table(shape, field)
            case Enum() if shape.labels:
                limits["labels"] = mapping((v, text_node(text)) for v, text in shape.labels.items())
            case Array():
                limits = _lengths(shape)
            case Map() if shape.max_length is not None:
                limits["max_length"] = str(shape.max_length)
        return [Labelled(f"{name}=", value) for name, value in limits.items()]

    def _table(self, shape: Enum, field: Field) -> str:
        """The code table of ``shape``: one of ours, or one written above."""
        for name, table in _TABLES.items():
            same = (shape.standard, list(shape.values)) == (table.standard, list(table.codes))
            if same and shape.labels == table.codes:
                self.tables.add(name)
                return name
        name = self._free("_".join(words(field.name)).upper() + "_CODES")
        self.used.add("CodeTable")
        table_codes = mapping((code, text_node(text)) for code, text in shape.labels.items())
        made = call("CodeTable", literal(shape.standard), text_node(field.title), table_codes)
        self._add(assigned(name, made))
        return name


def _unlike(shape: Shape, other: Shape, *names: str) -> dict[str, Node]:
    """Of ``names`` those in which ``shape`` is not as ``other``."""
    found = {name: getattr(shape, name) for name in names}
    return {
        name: number_text(limit) for name, limit in found.items() if limit != getattr(other, name)
    }


def _lengths(shape: String | Array) -> dict[str, Node]:
    limits: dict[str, Node] = {}
    if shape.min_length:
        limits["min_length"] = str(shape.min_length)
    if shape.max_length is not None:
        limits["max_length"] = str(shape.max_length)
    return limits
