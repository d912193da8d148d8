"""Writing a contract as a typed class: from the class to the contract."""

import decimal
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from contracts.codes import CodeTable
from contracts.examine import examine
from contracts.model import Contract, WrongContract
from contracts.pattern import portable
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

_ABOUT = "about"


class _About(msgspec.Struct, frozen=True):
    """What :func:`about` was told that msgspec has no word for."""

    title: Text
    note: Text | None
    format: str | None
    codes: CodeTable | None
    labels: Mapping[str, Text]
    digits: int | None
    places: int | None
    positive: bool


def about(
    zh: str,
    en: str,
    *,
    note: Text | None = None,
    format: str | None = None,
    codes: CodeTable | None = None,
    labels: Mapping[str, Text] | None = None,
    digits: int | None = None,
    places: int | None = None,
    positive: bool = False,
    **meta: Any,
) -> msgspec.Meta:
    """What a field is, for ``Annotated``: its title in both languages, and what limits it.

    ``note`` says more than the title; ``format`` is one of :mod:`contracts.formats`, ``codes`` a code
    table, both for ``str``; ``labels`` say what the values of a ``Literal`` mean; ``digits``,
    ``places`` and ``positive`` are for ``Decimal``. All else is ``msgspec.Meta``'s: ``min_length``,
    ``max_length``, ``pattern``, ``ge``, ``gt``, ``le``, ``lt``. Raises WrongContract for a pattern
    that is not portable.
    """
    if pattern := meta.get("pattern"):
        # The class is to read what the contract does: `\s` and `\d` mean more to Python.
        meta["pattern"] = portable(pattern, meta.get("max_length"))
    said = _About(Text(zh, en), note, format, codes, labels or {}, digits, places, positive)
    return msgspec.Meta(extra={_ABOUT: said}, **meta)


def define(record: type[msgspec.Struct], **promises: Any) -> Contract:
    """The contract whose records are ``record``. ``promises`` are the fields of
    :class:`contracts.model.Contract` but ``fields``.

    Raises WrongContract that names the class and field.
    """
    info = inspect.type_info(record)
    assert isinstance(info, inspect.StructType)
    contract = Contract(fields=_fields(info, record.__name__), **promises)
    examine(contract)
    return contract


def _fields(info: inspect.StructType, where: str) -> tuple[Field, ...]:
    return tuple(_field(field, f"{where}.{field.name}") for field in info.fields)


def _field(field: inspect.Field, where: str) -> Field:
    shape, said = _shape(field.type, where)
    if said is None:
        raise WrongContract(f"Expected `Annotated[…, about(…)]` at {where}, got no title")
    default: Any = None
    if not field.required:
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        default = _plain(default)
    return Field(
        name=field.encode_name,
        title=said.title,
        description=said.note,
        shape=shape,
        required=field.required,
        default=default,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return msgspec.json.decode(msgspec.json.encode(value))


def _shape(found: inspect.Type, where: str) -> tuple[Shape, _About | None]:
    said: _About | None = None
    nullable = False
    while True:
        if isinstance(found, inspect.Metadata):
            said = said or (found.extra or {}).get(_ABOUT)
            found = found.type
        elif isinstance(found, inspect.UnionType):
            others = [each for each in found.types if not isinstance(each, inspect.NoneType)]
            nullable = nullable or len(others) < len(found.types)
            if len(others) != 1:
                raise WrongContract(
                    f"Expected one type, or one and None, at {where}, got {len(others)} others"
                )
            found = others[0]
        else:
            break
    return msgspec.structs.replace(_bare(found, said, where), nullable=nullable), said


def _bare(found: inspect.Type, said: _About | None, where: str) -> Shape:
    match found:
        case inspect.StrType():
            return _text(found, said)
        case inspect.IntType():
            if found.multiple_of is not None:
                raise WrongContract(f"Expected no multiple_of at {where}; make it a rule")
            least = [
                x
                for x in (found.ge, found.gt + 1 if found.gt is not None else None)
                if x is not None
            ]
            most = [
                x
                for x in (found.le, found.lt - 1 if found.lt is not None else None)
                if x is not None
            ]
            return Integer(ge=max([-(2**63), *least]), le=min([2**63 - 1, *most]))
        case inspect.FloatType():
            if found.multiple_of is not None:
                raise WrongContract(f"Expected no multiple_of at {where}; take a Decimal")
            return Number(ge=found.ge, gt=found.gt, le=found.le, lt=found.lt)
        case inspect.DecimalType():
            plain = Decimal()
            if said is None:
                return plain
            return Decimal(
                digits=plain.digits if said.digits is None else said.digits,
                places=plain.places if said.places is None else said.places,
                positive=said.positive,
            )
        case inspect.BoolType():
            return Boolean()
        case inspect.DateType():
            return Date()
        case inspect.DateTimeType():
            return DateTime()
        case inspect.LiteralType() | inspect.EnumType():
            return _enum(found, said, where)
        case inspect.ListType() | inspect.VarTupleType():
            items, _ = _shape(found.item_type, f"{where}[]")
            return Array(items=items, min_length=found.min_length or 0, max_length=found.max_length)
        case inspect.DictType() if isinstance(found.key_type, inspect.StrType):
            values, _ = _shape(found.value_type, f"{where}{{}}")
            return Map(values=values, max_length=found.max_length)
        case inspect.StructType():
            return Object(fields=_fields(found, where))
    raise WrongContract(
        f"Expected text, a number, true or false, a date, a moment, codes, a list, a mapping from text"
        f" or a Struct at {where}, got {type(found).__name__.removesuffix('Type').lower()}"
    )


def _text(found: inspect.StrType, said: _About | None) -> Shape:
    if said and said.codes:
        return Enum(
            values=tuple(said.codes.codes),
            standard=said.codes.standard,
            labels=said.codes.codes,
        )
    pattern = found.pattern
    return String(
        min_length=found.min_length or 0,
        max_length=found.max_length,
        pattern=None if pattern is None else portable(pattern, found.max_length),
        format=said.format if said else None,
    )


def _enum(found: inspect.LiteralType | inspect.EnumType, said: _About | None, where: str) -> Shape:
    if isinstance(found, inspect.LiteralType):
        given: tuple[Any, ...] = found.values
    else:
        given = tuple(each.value for each in found.cls)
    values = [value for value in given if isinstance(value, str)]
    if len(values) < len(given):
        raise WrongContract(f"Expected codes that are text at {where}, got {list(given)}")
    labels = dict(said.labels) if said else {}
    standard = ""
    if said and said.codes:
        labels, standard = said.codes.codes, said.codes.standard
        if set(labels) != set(values):
            raise WrongContract(f"Expected the codes of {standard} at {where}, got {values}")
    return Enum(values=tuple(sorted(values)), standard=standard, labels=labels)
