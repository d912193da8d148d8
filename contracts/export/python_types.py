"""Python types for window developers: records, code tables with their labels, and the changes that a
window's feed sends.

They are ``TypedDict``s of the standard library alone: whatever parses JSON gives dicts, these say to a
type checker what is in them, cost nothing at run time, and let a newer revision's fields pass, which a
window must. Who wants values checked gives the same types to what they have: ``msgspec.json.decode(raw,
type=ResidentV2)``, or pydantic's ``TypeAdapter(ResidentV2)``.
"""

from collections.abc import Iterable

from contracts.export.naming import Named, Names, line, named_parts, quoted
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

_HEAD = '''\
"""Made by `levelsync contract export --form python`; made anew when contracts change."""

from typing import Final, Literal, NamedTuple, NotRequired, TypedDict


class Label(NamedTuple):
    """代码含义，中英文 | What a code means, in Chinese and English."""

    zh: str
    en: str
'''


def python_types(contracts: Iterable[Contract]) -> str:
    """One module with the types of ``contracts``."""
    names, parts, tops = Names(), [_HEAD], []
    for contract in contracts:
        found = named_parts(contract)
        names.of(found[-1].words)
        parts += [_declared(each, names) for each in found]
        name = names.of(found[-1].words)
        parts += [_changes(contract, name)]
        tops.append(name)
    if tops:
        union = " | ".join(f"{name}Put | {name}Deleted" for name in tops)
        parts.append(f"#: 推送的变更 | A change as the feed sends it; `op` and `contract` tell which.\n"
                     f"Change = {union}\n")  # fmt: skip
    return "\n\n".join(parts)


def _declared(part: Named, names: Names) -> str:
    name = names.of(part.words)
    if isinstance(part.shape, Enum):
        return _codes(part, part.shape, name)
    fields = "\n".join(_field(field, part.words, names) for field in part.shape.fields)
    return f"class {name}(TypedDict):\n    {_doc(part.title, part.note)}\n\n{fields}\n"


def _codes(part: Named, shape: Enum, name: str) -> str:
    standard = Text(shape.standard, shape.standard) if shape.standard else None
    values = ", ".join(quoted(value) for value in shape.values)
    declared = f"#: {line(part.title, part.note, standard)}\n{name} = Literal[{values}]\n"
    if not shape.labels:
        return declared
    labels = "\n".join(
        f"    {quoted(value)}: Label({quoted(label.zh)}, {quoted(label.en)}),"
        for value, label in shape.labels.items()
    )
    return f"{declared}{name}Labels: Final[dict[{name}, Label]] = {{\n{labels}\n}}\n"


def _changes(contract: Contract, name: str) -> str:
    shared = f"""\
    contract: Literal[{quoted(contract.name)}]
    key: str
    id: str
    sequence: str
    time: str
    source: str
"""
    return f'''\
class {name}Put(TypedDict):
    """新增或变更 | A record that is there or changed; `state` while a subscription begins."""

    op: Literal["put"]
    scope: str
    record: {name}
    state: NotRequired[bool]
    dataschema: NotRequired[str]
{shared}

class {name}Deleted(TypedDict):
    """删除，或离开所订阅的区划 | A record deleted, or gone from the scope subscribed to."""

    op: Literal["delete"]
    scope: Literal[""]
    record: None
{shared}'''


def _field(field: Field, words: tuple[str, ...], names: Names) -> str:
    kind = _type(field.shape, (*words, field.name), names)
    comment = line(field.title, field.description, _note(field.shape))
    return (
        f"    #: {comment}\n    {field.name}: {kind if field.required else f'NotRequired[{kind}]'}"
    )


def _note(shape: Shape) -> Text | None:
    match shape:
        case Decimal():
            return Text("精确小数文本，用 decimal.Decimal 读", "exact: read by decimal.Decimal")
        case Date():
            return Text("用 date.fromisoformat 读", "read by date.fromisoformat")
        case DateTime():
            return Text("用 datetime.fromisoformat 读", "read by datetime.fromisoformat")
    return None


def _type(shape: Shape, words: tuple[str, ...], names: Names) -> str:
    match shape:
        case String() | Decimal() | Date() | DateTime():
            kind = "str"
        case Integer():
            kind = "int"
        case Number():
            kind = "float"
        case Boolean():
            kind = "bool"
        case Enum() | Object():
            kind = names.of(words)
        case Array():
            kind = f"list[{_type(shape.items, words, names)}]"
        case Map():
            kind = f"dict[str, {_type(shape.values, words, names)}]"
    return f"{kind} | None" if shape.nullable else kind


def _doc(*texts: Text | None) -> str:
    return f'"""{line(*texts)}"""' if _plain(line(*texts)) else quoted(line(*texts))


def _plain(text: str) -> bool:
    return '"' not in text and "\\" not in text
