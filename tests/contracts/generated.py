"""Contracts that nobody wrote, records which fit them, and their neighbouring revisions.

What is promised for every contract is tested on these, not only on ours: all shapes, nested, with
formats, patterns, code tables, defaults and rules across fields.
"""

import datetime
import random
import re
import string
from collections.abc import Callable
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from contracts.check import Checker, Rejected
from contracts.examine import examine
from contracts.formats import FORMATS
from contracts.identifiers import CREDIT_ALPHABET, citizen_check, credit_check
from contracts.model import Contract, Mask, Rule, WrongContract
from contracts.pattern import portable, python_form
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

PATTERNS = tuple(
    portable(pattern)
    for pattern in (
        "^[0-9]{2,6}$",
        "^[A-Z]{2,4}$",
        "^(a|b)[0-9]{0,4}$",
        r"^1\d{10}$",
        "[0-9]",
        "^.{1,3}$",
    )
)
_WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota")
_CODES = ("0", "1", "2", "9", "valid", "revoked", "甲", "乙")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_Draw = Callable[..., Any]


# ---- contracts ------------------------------------------------------------------------------


def contracts() -> SearchStrategy[Contract]:
    """Any contract that can be, as revision 1.0."""
    return _contracts()


@st.composite
def _contracts(draw: _Draw) -> Contract:
    names = draw(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=5, unique=True))
    plain = tuple(_field(draw, name, depth=2) for name in names)
    fields = draw(st.permutations([_identifying(draw, "key"), _identifying(draw, "scope"), *plain]))
    purposes = draw(st.sets(st.sampled_from("甲乙丙"), max_size=2))
    contract = _around(
        tuple(fields),
        scope=draw(st.sampled_from(["scope", "key"])),
        classification=draw(st.sampled_from(["general", "important", "core"])),
        sharing=draw(st.sampled_from(["unconditional", "not_shared"])),
        purposes=tuple(Text(each, each) for each in sorted(purposes)),
        freshness=draw(st.sampled_from([1.0, 2.0, 5.0])),
        retention=draw(st.sampled_from([None, 30, 365])),
        journal=draw(st.sampled_from([None, 30])),
        personal=draw(st.dictionaries(st.sampled_from(names), _masks(), max_size=2)),
        searchable=tuple(sorted(draw(st.sets(st.sampled_from(names), max_size=2)))),
    )
    return msgspec.structs.replace(contract, rules=_rules(draw, contract))


def _around(fields: tuple[Field, ...], **promises: Any) -> Contract:
    plain = Contract(
        subject="generated",
        major=1,
        title=Text("生成", "Generated"),
        catalogue="generated",
        owner=Text("部门", "Department"),
        level="province",
        key="key",
        scope="scope",
        classification="general",
        sharing="unconditional",
        basis=Text("条例", "Regulations"),
        freshness=1.0,
        fields=fields,
    )
    return msgspec.structs.replace(plain, **promises)


def _masks() -> SearchStrategy[Mask]:
    masks: tuple[Mask, ...] = ("last4", "hash", "year", "null")
    return st.sampled_from(masks)


def _identifying(draw: _Draw, name: str) -> Field:
    shape: Shape = draw(
        st.sampled_from(
            [
                String(min_length=1, max_length=8),
                String(format="division-code"),
                String(format="credit-code"),
                String(pattern=PATTERNS[0]),
                Enum(values=_CODES[:3]),
            ]
        )
    )
    return Field(name=name, title=_title(name), shape=shape)


def _title(name: str) -> Text:
    return Text(f"字段{name}", f"Field {name}")


def _field(draw: _Draw, name: str, *, depth: int) -> Field:
    shape = draw(shapes(depth=depth))
    return Field(name=name, title=_title(name), shape=shape, **_presence(draw, shape))


def _presence(draw: _Draw, shape: Shape) -> dict[str, Any]:
    if draw(st.booleans()):
        return {}
    return {"required": False, "default": draw(value_of(shape))}


def shapes(*, depth: int = 2) -> SearchStrategy[Shape]:
    """Any shape, at most ``depth`` levels of lists, maps and records above the plain values."""
    return _shapes(depth)


@st.composite
def _shapes(draw: _Draw, depth: int) -> Shape:
    kinds = [_string, _integer, _number, _decimal, _enum, Boolean, Date, DateTime]
    kind = draw(st.sampled_from(kinds + [_array, _map, _object] * (depth > 0)))
    if kind in (Boolean, Date, DateTime):
        made: Any = kind()
    elif kind in (_array, _map, _object):
        made = kind(draw, depth - 1)
    else:
        made = kind(draw)
    shape: Shape = msgspec.structs.replace(made, nullable=draw(st.booleans()))
    return shape


def _string(draw: _Draw) -> Shape:
    least = draw(st.integers(0, 3))
    return draw(  # type: ignore[no-any-return]
        st.sampled_from(
            [
                String(min_length=least),
                String(min_length=least, max_length=least + 4),
                String(pattern=draw(st.sampled_from(PATTERNS))),
                String(pattern=PATTERNS[0], max_length=4 + least),
                String(format=draw(st.sampled_from(sorted(_FORMATTED)))),
                String(format="division-code", pattern=PATTERNS[0]),
            ]
        )
    )


def _integer(draw: _Draw) -> Shape:
    ends = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), min_size=2, max_size=2)
    )
    return draw(st.sampled_from([Integer(), Integer(ge=min(ends), le=max(ends))]))  # type: ignore[no-any-return]


def _number(draw: _Draw) -> Shape:
    least = draw(st.sampled_from([None, -1e300, -1.5, 0.0]))
    most = draw(st.sampled_from([None, 0.5, 2.0**53, 1e300]))
    open_ = draw(st.booleans())
    return Number(
        ge=None if open_ else least, gt=least if open_ else None, le=None if open_ else most,
        lt=most if open_ else None,
    )  # fmt: skip


def _decimal(draw: _Draw) -> Shape:
    digits = draw(st.integers(1, 20))
    return Decimal(digits=digits, places=draw(st.integers(0, digits)), positive=draw(st.booleans()))


def _enum(draw: _Draw) -> Shape:
    values = draw(st.lists(st.sampled_from(_CODES), min_size=1, max_size=4, unique=True))
    return Enum(
        values=tuple(sorted(values)),
        standard=draw(st.sampled_from(["", "GB/T 1"])),
        labels={value: Text(f"码{value}", f"Code {value}") for value in values},
    )


def _array(draw: _Draw, depth: int) -> Shape:
    least = draw(st.integers(0, 2))
    return Array(
        items=draw(_shapes(depth)),
        min_length=least,
        max_length=draw(st.sampled_from([None, least, least + 2])),
    )


def _map(draw: _Draw, depth: int) -> Shape:
    return Map(values=draw(_shapes(depth)), max_length=draw(st.sampled_from([None, 0, 3])))


def _object(draw: _Draw, depth: int) -> Shape:
    names = draw(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3, unique=True))
    return Object(fields=tuple(_field(draw, name, depth=depth) for name in names))


def _rules(draw: _Draw, contract: Contract) -> tuple[Rule, ...]:
    chosen = draw(st.lists(st.sampled_from(expressions(contract)), max_size=2, unique=True))
    return tuple(
        Rule(f"rule-{number}", when, Text("不符", "Not so")) for number, when in enumerate(chosen)
    )


def expressions(contract: Contract) -> list[str]:
    """Rules that may be asked of the contract's records; many records keep them, some do not."""
    found = ["size(key) > 0"]
    for field in contract.fields:
        name = field.name
        match field.shape:
            case Integer():
                found += [f"{name} == null || {name} % 2 == 0", f"{name} == null || {name} < 1000"]
            case String() | Array() | Map():
                found.append(f"{name} == null || size({name}) >= 1")
            case Boolean():
                found.append(f"{name} != true || size(scope) > 0")
            case Date():
                found.append(f"{name} == null || {name} > '1000-01-01'")
            case Object(fields=inner):
                found.append(f"{name} == null || size({name}) == {len(inner)}")
                found.append(f"{name} == null || {name}.{inner[0].name} == {name}.{inner[0].name}")
        if field.shape.nullable:
            found.append(f"{name} != null")
    return found


# ---- values ---------------------------------------------------------------------------------


def values(contract: Contract) -> SearchStrategy[dict[str, Any]]:
    """Records that ``contract``'s writer accepts, as plain JSON values."""
    return records(contract.fields).filter(accepted_by(contract))


def accepted_by(contract: Contract) -> Callable[[dict[str, Any]], bool]:
    """Does ``contract``'s writer accept a record?"""
    checker = Checker(contract)

    def accepted(record: dict[str, Any]) -> bool:
        try:
            checker.accept(msgspec.json.encode(record))
        except Rejected:
            return False
        return True

    return accepted


def records(fields: tuple[Field, ...]) -> SearchStrategy[dict[str, Any]]:
    """Records whose fields each keep their shape, whatever the rules across them say."""
    return st.fixed_dictionaries(
        {field.name: value_of(field.shape) for field in fields if field.required},
        optional={field.name: value_of(field.shape) for field in fields if not field.required},
    )


def value_of(shape: Shape) -> SearchStrategy[Any]:
    """Values of ``shape`` as they stand in JSON."""
    found = _bare_value(shape)
    return st.none() | found if shape.nullable else found


def _bare_value(shape: Shape) -> SearchStrategy[Any]:
    match shape:
        case String():
            return _texts(shape)
        case Integer():
            return st.sampled_from([shape.ge, shape.le]) | st.integers(shape.ge, shape.le)
        case Number():
            least, most = (
                shape.ge if shape.gt is None else shape.gt,
                shape.le if shape.lt is None else shape.lt,
            )
            return st.floats(
                least, most, allow_nan=False, allow_infinity=False,
                exclude_min=shape.gt is not None, exclude_max=shape.lt is not None,
            )  # fmt: skip
        case Decimal():
            return _exact(shape)
        case Boolean():
            return st.booleans()
        case Date():
            return st.dates().map(lambda day: day.isoformat())
        case DateTime():
            return st.builds(
                lambda moment, zone: moment.isoformat() + zone,
                st.datetimes(),
                st.sampled_from(["Z", "+08:00", "-03:30"]),
            )
        case Enum():
            return st.sampled_from(shape.values)
        case Array():
            most_items = shape.min_length + 2 if shape.max_length is None else shape.max_length
            least_items = st.sampled_from([shape.min_length, most_items])
            return least_items.flatmap(
                lambda least: st.lists(value_of(shape.items), min_size=least, max_size=most_items)
            )
        case Map():
            size = 2 if shape.max_length is None else min(4, shape.max_length)
            return st.dictionaries(_TEXT, value_of(shape.values), max_size=size)
        case Object():
            return records(shape.fields)


def _texts(shape: String) -> SearchStrategy[str]:
    if shape.format is not None and shape.format in FORMATS:
        made = formatted(shape.format)
    elif shape.pattern is not None:
        made = st.from_regex(python_form(shape.pattern)).filter(_encodable)
    else:
        most = shape.min_length + 8 if shape.max_length is None else shape.max_length
        ends = [
            st.text(_TEXT_CHARACTERS, min_size=end, max_size=end)
            for end in (shape.min_length, most)
        ]
        return st.one_of(*ends, st.text(_TEXT_CHARACTERS, min_size=shape.min_length, max_size=most))
    longest = float("inf") if shape.max_length is None else shape.max_length
    pattern = shape.pattern or ""
    return made.filter(
        lambda text: shape.min_length <= len(text) <= longest and _fits(pattern, text)
    )


_TEXT_CHARACTERS = st.characters(exclude_categories=["Cs"])


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _exact(shape: Decimal) -> SearchStrategy[str]:
    whole = shape.digits - shape.places
    integer = st.sampled_from(["0", "9" * max(1, whole)]) if whole else st.just("0")
    integer |= st.integers(0, 10**whole - 1).map(str)
    if shape.places:
        digits = st.text("0123456789", min_size=1, max_size=shape.places) | st.just(
            "9" * shape.places
        )
        integer = st.builds(
            lambda left, right: left + right, integer, st.just("") | digits.map(".{}".format)
        )
    return (
        integer if shape.positive else st.builds(str.__add__, st.sampled_from(["", "-"]), integer)
    )


def formatted(name: str) -> SearchStrategy[str]:
    """Texts that keep the format ``name``, whose check characters are right."""
    made = _FORMATTED.get(name)
    if made is not None:
        return made()
    texts = [text for seed in range(40) if (text := _lucky(name, seed)) is not None]
    assert texts, f"no text of the format {name} was found by trying: give it a strategy here"
    return st.sampled_from(texts)


def _lucky(name: str, seed: int) -> str | None:
    """A text of the format by trying: digits and letters at random, then each last character."""
    found = FORMATS[name]
    chance = random.Random(seed)
    for _ in range(200):
        text: str = _written(_parser.parse(python_form(found.pattern)), chance)
        for last in (text[-1:], *string.digits, *string.ascii_uppercase):
            tried: str = text[:-1] + last
            if found.fault(tried) is None and _fits(found.pattern, tried):
                return tried
    return None


def _fits(pattern: str, text: str) -> bool:
    return re.search(python_form(pattern), text) is not None


def _written(parts: Any, chance: random.Random) -> str:
    """A text that matches a pattern, which is given as ``re`` reads it."""
    text = ""
    for kind, given in parts:
        match str(kind):
            case "LITERAL":
                text += chr(given)
            case "IN":
                ranges = [
                    (part, part) if str(sort) == "LITERAL" else part
                    for sort, part in given
                    if str(sort) in ("LITERAL", "RANGE")
                ]
                inside = [chr(code) for low, high in ranges for code in range(low, high + 1)]
                outside = str(given[0][0]) == "NEGATE"
                text += "x" if outside else chance.choice(inside)
            case "MAX_REPEAT":
                least, most, inner = given
                for _ in range(chance.randint(least, min(most, least + 4))):
                    text += _written(inner, chance)
            case "SUBPATTERN":
                text += _written(given[3], chance)
            case "BRANCH":
                text += _written(chance.choice(given[1]), chance)
            case "ANY" | "NOT_LITERAL":
                text += "x"
    return text


def _citizens() -> SearchStrategy[str]:
    def number(division: int, day: Any, order: int) -> str:
        first = f"{division}{day:%Y%m%d}{order:03}"
        return first + citizen_check(first)

    days = st.dates(datetime.date(1900, 1, 1), datetime.date(2026, 1, 1))
    return st.builds(number, st.sampled_from([370102, 110105, 440305]), days, st.integers(0, 999))


def _credits() -> SearchStrategy[str]:
    body = st.text(CREDIT_ALPHABET, min_size=9, max_size=9)
    first = st.builds(lambda rest: f"91370102{rest}", body)
    return first.map(lambda text: text + credit_check(text))


def _divisions() -> SearchStrategy[str]:
    return st.sampled_from(["37", "3701", "370102", "370102001", "370102001001", "110105"])


_FORMATTED: dict[str, Callable[[], SearchStrategy[str]]] = {
    "citizen-number": _citizens,
    "credit-code": _credits,
    "division-code": _divisions,
}


# ---- neighbouring revisions -----------------------------------------------------------------


def mutations(contract: Contract) -> SearchStrategy[Contract]:
    """A next revision: one to three changes, compatible or not, that still make a contract."""
    return _mutations(contract).filter(can_be)


def can_be(contract: Contract) -> bool:
    """Is it a contract, and do its defaults keep its own shapes?"""
    try:
        examine(contract)
        Checker(contract)
    except WrongContract:
        return False
    return True


def _possible(shape: Shape) -> bool:
    key = Field(name="key", title=_title("key"), shape=String(min_length=1))
    return can_be(_around((key, Field(name="f", title=_title("f"), shape=shape)), scope="key"))


@st.composite
def _mutations(draw: _Draw, contract: Contract) -> Contract:
    for _ in range(draw(st.integers(1, 3))):
        contract = draw(st.sampled_from(_CHANGES))(draw, contract)
    names = set(contract.field_names)
    return msgspec.structs.replace(
        contract,
        minor=contract.minor + 1,
        personal={name: mask for name, mask in contract.personal.items() if name in names},
        searchable=tuple(name for name in contract.searchable if name in names),
    )


def _with_fields(draw: _Draw, contract: Contract) -> Contract:
    return msgspec.structs.replace(contract, fields=_changed_fields(draw, contract.fields))


def _changed_fields(draw: _Draw, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """One field added, removed, moved or changed."""
    # Key and scope can hardly change, and what cannot be is drawn in vain.
    free = [at for at, each in enumerate(fields) if each.name not in ("key", "scope")]
    at = draw(st.sampled_from(free or [0]))
    before, field, after = fields[:at], fields[at], fields[at + 1 :]
    match draw(st.sampled_from(["add", "remove", "move", "presence", "default", *["shape"] * 5])):
        case "add":
            taken = {each.name for each in fields}
            name = draw(st.sampled_from([each for each in _WORDS if each not in taken]))
            return (*before, field, _field(draw, name, depth=1), *after)
        case "remove":
            return before + after
        case "move":
            return (*before, *after, field)
        case "shape":
            shape = _changed_shape(draw, field.shape)
            default = None if field.required or not _possible(shape) else draw(value_of(shape))
            return (*before, msgspec.structs.replace(field, shape=shape, default=default), *after)
        case "presence":
            presence = {"required": True, "default": None} | _presence(draw, field.shape)
            return (*before, msgspec.structs.replace(field, **presence), *after)
    if field.required:
        return fields
    return (*before, msgspec.structs.replace(field, default=draw(value_of(field.shape))), *after)


def neighbours(shape: Shape) -> SearchStrategy[Shape]:
    """Shapes that a next revision might make of ``shape``, not all of which can be."""
    return _neighbours(shape)


@st.composite
def _neighbours(draw: _Draw, shape: Shape) -> Shape:
    return _changed_shape(draw, shape)


def _changed_shape(draw: _Draw, shape: Shape) -> Shape:
    """A shape near ``shape``: its limits moved, its inside changed, another kind that may hold it; or
    one far from it."""
    replace = msgspec.structs.replace
    match draw(st.sampled_from(["limits"] * 6 + ["null", "kind", "kind", "far"])):
        case "null":
            return replace(shape, nullable=not shape.nullable)
        case "kind":
            longest = draw(st.sampled_from([None, 10, 20, 31, 32]))
            if isinstance(shape, Decimal):
                longest = shape.digits + draw(st.integers(0, 3))
            holds: Shape = String(max_length=longest)
            if isinstance(shape, Integer):
                holds = Number()
            return replace(holds, nullable=shape.nullable)
        case "far":
            return draw(shapes(depth=1))  # type: ignore[no-any-return]
    step = draw(st.integers(-2, 2))
    match shape:
        case Integer():
            return replace(shape, ge=shape.ge + draw(st.integers(-2, 2)), le=shape.le + step)
        case Number() | Boolean() | Date() | DateTime():
            other = Number() if step else _number(draw)
            return replace(other, nullable=shape.nullable)
        case Decimal():
            return replace(
                shape, digits=shape.digits + step, places=shape.places + draw(st.integers(-1, 1)),
                positive=draw(st.booleans()),
            )  # fmt: skip
        case Enum():
            values = draw(st.sets(st.sampled_from(_CODES), min_size=1))
            few = set(shape.values) | values if step > 0 else set(shape.values) & values or values
            return Enum(values=tuple(sorted(few)), standard=shape.standard, nullable=shape.nullable)
        case Array():
            if draw(st.booleans()):
                return replace(shape, items=_changed_shape(draw, shape.items))
            most = None if shape.max_length is None else max(0, shape.max_length + step)
            return replace(shape, max_length=most, min_length=max(0, shape.min_length - step))
        case Map():
            if draw(st.booleans()):
                return replace(shape, max_length=draw(st.sampled_from([None, 0, 1, 3])))
            return replace(shape, values=_changed_shape(draw, shape.values))
        case Object():
            return replace(shape, fields=_changed_fields(draw, shape.fields))
    assert isinstance(shape, String)
    if shape.pattern is not None or shape.format is not None:
        pattern = draw(st.sampled_from([shape.pattern, None, PATTERNS[0]]))
        return replace(shape, pattern=pattern, format=draw(st.sampled_from([shape.format, None])))
    most = None if shape.max_length is None else max(0, shape.max_length + step)
    return replace(
        shape, max_length=most, min_length=max(0, shape.min_length + draw(st.integers(-1, 1)))
    )


def _with_rules(draw: _Draw, contract: Contract) -> Contract:
    return msgspec.structs.replace(contract, rules=_rules(draw, contract))


def _with_promises(draw: _Draw, contract: Contract) -> Contract:
    changes: list[dict[str, Any]] = [
        {"freshness": draw(st.sampled_from([0.5, 1.0, 2.0, 10.0]))},
        {"retention": draw(st.sampled_from([None, 30, 90]))},
        {"sharing": "not_shared"},
        {"scope": draw(st.sampled_from(["key", "scope"]))},
        {"partitions": draw(st.integers(1, 6))},
        {"journal": draw(st.sampled_from([None, 30, 1_096]))},
        {"personal": draw(st.dictionaries(st.sampled_from(contract.field_names), _masks()))},
        {"title": Text("改", "Changed")},
    ]
    return msgspec.structs.replace(contract, **draw(st.sampled_from(changes)))


_CHANGES = (_with_fields, _with_fields, _with_fields, _with_rules, _with_promises)
