"""Names of types, and texts in comments, for the languages that window developers write in."""

import json
import re
from collections.abc import Iterator

import msgspec

from contracts.export.json_schema import joined
from contracts.model import Contract
from contracts.shape import Array, Enum, Field, Map, Object, Shape
from contracts.text import Text


class Named(msgspec.Struct, frozen=True):
    """A part of a contract that needs a type of its own: a record (``fields``) or ``codes``.

    ``words`` are the name's, ``("resident", "v2", "sex")``; ``title`` and ``note`` say what it is.
    """

    words: tuple[str, ...]
    title: Text
    note: Text | None
    shape: Object | Enum


def named_parts(contract: Contract) -> list[Named]:
    """The records and code tables of ``contract``, the inner ones first, itself last."""
    words = (contract.subject, f"v{contract.major}")
    top = Named(words, contract.title, contract.description, Object(fields=contract.fields))
    return [*_inner(contract.fields, words), top]


def _inner(fields: tuple[Field, ...], words: tuple[str, ...]) -> Iterator[Named]:
    for field in fields:
        shape = core(field.shape)
        path = (*words, field.name)
        if isinstance(shape, Object):
            yield from _inner(shape.fields, path)
        if isinstance(shape, Object | Enum):
            yield Named(path, field.title, field.description, shape)


def core(shape: Shape) -> Shape:
    """What lists and maps hold in the end."""
    while isinstance(shape, Array | Map):
        shape = shape.items if isinstance(shape, Array) else shape.values
    return shape


class Names:
    """A name in camel case for each path of words, and none twice."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()

    def of(self, words: tuple[str, ...]) -> str:
        """``("resident", "v2", "birth_date")`` → ``ResidentV2BirthDate``"""
        if words not in self._given:
            parts = [part for word in words for part in word.split("_")]
            plain = name = "".join(part[:1].upper() + part[1:] for part in parts)
            number = 2
            while not self._taken.isdisjoint(_with_kin(name)):
                name, number = f"{plain}_{number}", number + 1
            self._taken.update(_with_kin(name))
            self._given[words] = name
        return self._given[words]


def _with_kin(name: str) -> set[str]:
    """A name and those that are made from it."""
    return {name, f"{name}Labels", f"{name}Put", f"{name}Deleted"}


def line(*texts: Text | None) -> str:
    """Texts in both languages as one line without anything a comment could end at."""
    said = "; ".join(
        text.zh if text.zh == text.en else joined(text) for text in texts if text is not None
    )
    return re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f\ufffe\uffff]+", " ", said).strip()


def quoted(text: str) -> str:
    """A string literal of JSON, JavaScript and Python, on one line."""
    said = json.dumps(text, ensure_ascii=False)
    return said.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x7f", "\\u007f")
