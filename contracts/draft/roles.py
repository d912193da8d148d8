"""What a guessed field can be: the key, the scope, personal information."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from contracts.draft.names import Known
from contracts.draft.sample import Column
from contracts.draft.texts import DIVISION, MOBILE, looks_like_divisions
from contracts.model import Mask
from contracts.shape import Enum, Field, Integer, Shape, String
from contracts.text import Text

#: Formats that are personal information by themselves, and their masks.
_PERSONAL_FORMATS: dict[str, Mask] = {"citizen-number": "last4"}


class Look(NamedTuple):
    """A column as guessed."""

    column: Column
    field: Field
    about: Known | None

    @property
    def filled(self) -> list[Any]:
        return [value for value in self.column.values if value is not None]


def identifies(look: Look) -> int:
    """How likely is it that this is the key? 0 when it cannot be."""
    column, filled = look.column, look.filled
    if not isinstance(look.field.shape, String | Integer | Enum):
        return -2
    if any(isinstance(value, list | dict) for value in filled):
        return -3
    score = 0
    if column.unique and not column.nullable:
        score += 50
    if len(filled) < len(column.values) or len(set(filled)) < len(filled):
        return -1
    kind = look.about.kind if look.about else ""
    shape = look.field.shape
    if isinstance(shape, String) and shape.format and shape.format != DIVISION:
        score += 30
    # One person or company may have many records, so a number of the record's own comes first.
    if kind == "key":
        score += 50
    elif kind in ("citizen", "credit", "code", "document"):
        score += 15
    elif kind:
        score -= 10
    if isinstance(shape, String) and (shape.pattern or shape.format):
        score += 3
    return score if filled or score else 0


def identifying(look: Look, role: str) -> tuple[Field, list[str]]:
    """The field as key or scope, which is required text that cannot be empty, and what that asks."""
    asked: list[str] = []
    shape, name = look.field.shape, look.field.name
    if look.column.nullable or any(value is None for value in look.column.values):
        asked.append(f"the {role} must be in every record: those without it are refused")
    match shape:
        case String():
            found = shape
            if not (shape.min_length or shape.pattern or shape.format):
                found = msgspec.structs.replace(shape, min_length=1)
        case Enum():
            return field_of(name, look.field.title, _bare(shape), nullable=False), asked
        case Integer():
            sign = "-?" if shape.ge < 0 and any(x < 0 for x in _whole(look.filled)) else ""
            found = String(pattern=f"^{sign}[0-9]{{1,19}}$", max_length=20)
            asked.append(f"a number in the source; the {role} is text: `7`, never `007`")
        case _:
            found = String(min_length=1, max_length=200)
            asked.append(f"the {role} is text: does the source give it so?")
    return field_of(name, look.field.title, _bare(found), nullable=False), asked


def mask_by_value(look: Look) -> Mask | None:
    """How a field is masked that is personal information by its values alone."""
    shape = look.field.shape
    if isinstance(shape, String):
        if shape.pattern == MOBILE:
            return "last4"
        return _PERSONAL_FORMATS.get(shape.format or "")
    return None


def is_division(look: Look) -> bool:
    """Does it hold division codes?"""
    shape = look.field.shape
    if isinstance(shape, String) and shape.format == DIVISION:
        return True
    named = look.about is not None and look.about.kind == "division"
    return named and isinstance(shape, String) and looks_like_divisions(look.filled)


def field_of(name: str, said: Text, shape: Shape, *, nullable: bool) -> Field:
    """A field that may be left out if it may be null."""
    if nullable:
        shape = msgspec.structs.replace(shape, nullable=True)
    return Field(name=name, title=said, shape=shape, required=not nullable)


def _bare(shape: Shape) -> Shape:
    return msgspec.structs.replace(shape, nullable=False)


def is_open(shape: String) -> bool:
    """Does the source say no more of it than that it is text?"""
    return shape.pattern is None and shape.format is None


def _whole(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values if str(value).lstrip("-").isdigit()]
