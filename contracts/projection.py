"""What is left of a contract for a receiver whose grant leaves out or masks fields."""

from collections.abc import Collection, Mapping

import msgspec

from contracts.expression import Expression
from contracts.model import Contract, Mask
from contracts.shape import Field, String


def project(
    contract: Contract, fields: Collection[str] = (), mask: Mapping[str, Mask] | None = None
) -> Contract:
    """``contract`` with ``fields`` alone, all when empty, those in ``mask`` as masks leave them.

    A masked field is text of any kind or null; rules that look at what is not there whole are left
    out. Key and scope are never masked or left out.
    """
    mask = mask or {}
    given = tuple(
        _masked(field, mask[field.name]) if field.name in mask else field
        for field in contract.fields
        if not fields or field.name in fields
    )
    whole = {field.name for field in given} - mask.keys()
    return msgspec.structs.replace(
        contract,
        fields=given,
        personal={name: how for name, how in contract.personal.items() if name in whole},
        searchable=tuple(name for name in contract.searchable if name in whole),
        rules=tuple(
            rule
            for rule in contract.rules
            if whole.issuperset(Expression(rule.when, contract.field_names).fields)
        ),
    )


def _masked(field: Field, mask: Mask) -> Field:
    nullable = field.shape.nullable or mask == "null"
    return msgspec.structs.replace(field, shape=String(nullable=nullable), default=None)
