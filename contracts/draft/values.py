"""Values → the shape they have in common, and what they leave open. Pure.

A question never repeats a value: it may be somebody's.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.draft.names import Known, identifiers, is_field_name, title
from contracts.draft.texts import Guess, guess_text
from contracts.shape import Array, Boolean, Field, Integer, Map, Number, Object, Shape, String

#: Levels of records in records that are looked into.
DEEPEST = 6
#: Different names in one position from which on they are data.
MANY_NAMES = 60


def guess(values: Sequence[Any], about: Known | None, *, live: bool, depth: int = 0) -> Guess:
    """The shape of ``values`` that came from one column; None among them is passed over.

    ``about`` is what the column's name tells. From a ``live`` source values come to the agent as they
    are, so the shape must take them; a file is only an example, and the shape is what it should be.
    """
    filled = [value for value in values if value is not None]
    if not filled:
        return Guess(String(max_length=200), ("no row looked at has a value here: what is it?",))
    kinds = {_kind(value) for value in filled}
    if kinds == {"text"}:
        return guess_text(filled, about, live=live)
    if kinds == {"boolean"}:
        return Guess(Boolean())
    if kinds == {"whole"}:
        if all(-(2**63) <= value < 2**63 for value in filled):
            return Guess(Integer())
        return Guess(String(max_length=100), ("numbers beyond 64 bits: let the source give text",))
    if kinds <= {"whole", "number"}:
        return Guess(Number(), ("if this must be exact, as money must, let the source give text",))
    if kinds == {"record"} and depth < DEEPEST:
        return _record(filled, live=live, depth=depth)
    if kinds == {"list"} and depth < DEEPEST:
        inner = guess([x for each in filled for x in each], None, live=live, depth=depth + 1)
        items = _with_null(inner.shape, any(x is None for each in filled for x in each))
        return Guess(Array(items=items), inner.questions)
    if depth >= DEEPEST:
        return Guess(String(), ("too many levels: give the inner records a contract of their own",))
    told = ", ".join(sorted(kinds))
    return Guess(String(max_length=200), (f"values of several kinds ({told}): which is right?",))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "text", int: "whole", float: "number", dict: "record", list: "list"}
    return kinds.get(type(value), "text")


def _with_null(shape: Shape, nullable: bool) -> Shape:
    return msgspec.structs.replace(shape, nullable=True) if nullable else shape


def _record(values: list[dict[str, Any]], *, live: bool, depth: int) -> Guess:
    names = list(dict.fromkeys(name for value in values for name in value))
    questions: list[str] = []
    if not names:
        return Guess(Map(values=String()), ("an empty record: what can stand in it?",))
    if len(names) > MANY_NAMES or not all(map(is_field_name, names)):
        inner = guess([x for v in values for x in v.values()], None, live=live, depth=depth + 1)
        empty = any(x is None for value in values for x in value.values())
        said = (
            "the names in here are taken for data; if they are fields, they need names of letters,"
            " digits and `_`"
        )
        return Guess(Map(values=_with_null(inner.shape, empty)), (said, *inner.questions))
    fields = []
    for name in identifiers(names):
        inside = [value.get(name) for value in values]
        inner = guess(inside, None, live=live, depth=depth + 1)
        said_title, _ = title(name)
        missing = any(value is None for value in inside)
        fields.append(
            Field(
                name=name,
                title=said_title,
                shape=_with_null(inner.shape, missing),
                required=not missing,
            )
        )
        questions += [f"{name}: {question}" for question in inner.questions]
    return Guess(Object(fields=tuple(fields)), tuple(questions))
