"""JSON Schema → contract: ours come back whole, others as far as their shapes can be said.

A contract has no unions but with null, no open values and no recursion, so not every schema is one;
what cannot be said is refused with its JSON pointer rather than widened or dropped in silence.
Keywords that only annotate are passed over.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.export.json_schema import text_of
from contracts.export.json_schema_shapes import ShapeReader
from contracts.export.json_schema_values import Document, wrong
from contracts.model import Contract, WrongContract
from contracts.shape import Enum, Field, Object, String
from contracts.text import Text


def contract_of(document: Document, **promises: Any) -> Contract:
    """The contract that ``document`` describes. Raises WrongContract with the JSON pointer.

    A schema of ours gives back the contract it was made from. Of another only the fields are known:
    ``promises`` (the other fields of :class:`contracts.model.Contract`) say the rest, and what nobody
    says is the strictest (not shared, important data), under the owner "not stated", with the first
    field that could be one as key and scope.
    """
    fields = fields_of(document)
    kept = document.get("x-levelsync")
    said = dict(kept) if isinstance(kept, Mapping) else _unstated(document, fields)
    said |= {
        "title": text_of(document, "title") or Text("record", "record"),
        "description": text_of(document, "description"),
        "rules": document.get("x-levelsync-rules", []),
    }
    said |= {name: value for name, value in promises.items() if value is not None}
    said["fields"] = fields
    try:
        return msgspec.convert(said, Contract)
    except msgspec.ValidationError as error:
        raise WrongContract(f"{error} of `#/x-levelsync`") from None


def fields_of(document: Document) -> tuple[Field, ...]:
    """The fields of the records that ``document`` accepts. Raises WrongContract with the pointer."""
    try:
        shape = ShapeReader(document).shape(document, "#", ())
    except RecursionError:
        raise wrong("#", "fewer levels", "more than can be read") from None
    if not isinstance(shape, Object):
        raise wrong("#", "an object with properties", type(shape).__name__.lower())
    return shape.fields


def _unstated(document: Document, fields: tuple[Field, ...]) -> dict[str, Any]:
    name = str(document.get("$id") or document.get("title") or "").rstrip("/#").rpartition("/")[2]
    slug = re.sub(r"(\.schema)?\.json$", "", name).lower()
    slug = re.sub(r"[^a-z0-9]+", "_", slug).strip("_")
    identity = next(
        (
            field.name
            for field in fields
            if field.required
            and not field.shape.nullable
            and isinstance(field.shape, String | Enum)
        ),
        fields[0].name,
    )
    unknown = Text("未说明", "not stated")
    return {
        "subject": slug if slug[:1].isalpha() else "record",
        "major": 1,
        "catalogue": "",
        "owner": unknown,
        "level": "county",
        "key": identity,
        "scope": identity,
        "classification": "important",
        "sharing": "not_shared",
        "basis": unknown,
        "freshness": 60.0,
    }
