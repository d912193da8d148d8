"""A contract in the order that a class keeps: what a written module gives back."""

import msgspec

from contracts.model import Contract
from contracts.shape import Array, Enum, Field, Map, Object, Shape


def orderly(contract: Contract) -> Contract:
    """``contract`` with the codes in the order that a class keeps them in."""
    fields = tuple(_orderly(field) for field in contract.fields)
    return msgspec.structs.replace(contract, fields=fields)


def _orderly(field: Field) -> Field:
    return msgspec.structs.replace(field, shape=_sorted(field.shape))


def _sorted(shape: Shape) -> Shape:
    match shape:
        case Enum() if not is_table(shape):
            return msgspec.structs.replace(shape, values=tuple(sorted(shape.values)), standard="")
        case Enum():
            labels = {value: shape.labels[value] for value in shape.values}
            return msgspec.structs.replace(shape, labels=labels)
        case Array():
            return msgspec.structs.replace(shape, items=_sorted(shape.items))
        case Map():
            return msgspec.structs.replace(shape, values=_sorted(shape.values))
        case Object():
            fields = tuple(_orderly(field) for field in shape.fields)
            return msgspec.structs.replace(shape, fields=fields)
    return shape


def is_table(shape: Enum) -> bool:
    """Is it a code table, with a meaning for each code?"""
    if set(shape.labels) != set(shape.values):
        return False
    return bool(shape.standard) or list(shape.values) != sorted(shape.values)
