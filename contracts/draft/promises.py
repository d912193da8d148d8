"""What a contract promises, as the arguments of ``define``."""

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.draft.defaults import number_text
from contracts.draft.layout import Labelled, Node, call, comment, literal, mapping, series
from contracts.model import Contract, Rule
from contracts.text import Text

#: The promises of a contract in the order one reads them; those with a default are left out when at it.
_PROMISES = tuple(name for name in Contract.__struct_fields__ if name != "fields")
_OPTIONAL = {
    field.name: field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    for field in msgspec.structs.fields(Contract)
    if not field.required
}


def promises(contract: Contract, questions: Mapping[str, tuple[str, ...]]) -> list[Node]:
    """All that is not at its default or is asked about, with the questions above it."""
    said: list[Node] = []
    for name in _PROMISES:
        value = getattr(contract, name)
        asked = questions.get(f"contract.{name}", ())
        if name in _OPTIONAL and value == _OPTIONAL[name] and not asked:
            continue
        above = [line for question in asked for line in comment(f"OPEN: {question}", 4)]
        said.append(Labelled(f"{name}=", _promise(value), tuple(above)))
    return said


def text_node(text: Text) -> Node:
    """``Text("…", "…")``"""
    return call("Text", literal(text.zh), literal(text.en))


def _promise(value: Any) -> Node:
    if isinstance(value, Text):
        return text_node(value)
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, dict):
        return mapping((name, literal(mask)) for name, mask in value.items())
    if isinstance(value, tuple):
        return series([_promise(each) for each in value])
    if isinstance(value, Rule):
        path = [] if value.path == "$" else [literal(value.path)]
        said = (literal(value.name), literal(value.when), text_node(value.message), *path)
        return call("Rule", *said)
    return number_text(value)
