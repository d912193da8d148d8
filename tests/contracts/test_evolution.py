"""Every change is judged by rule, in both directions; what is called compatible is read in fact."""

import itertools
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st

from contracts.check import Checker, Rejected
from contracts.evolution import compare, compatible, harmless, judge, reads
from contracts.evolution.records import records_compared
from contracts.evolution.rules import RULES
from contracts.identifiers import credit_check
from contracts.model import Contract, Rule
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
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.contracts.generated import (
    can_be,
    contracts,
    expressions,
    mutations,
    neighbours,
    shapes,
    value_of,
    values,
)
from tests.examples import examples

replace = msgspec.structs.replace
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
WORDS = Text("字", "words")


def field(name: str = "f", shape: Shape | None = None, **more: Any) -> Field:
    return Field(name=name, title=Text(name, name), shape=shape or String(), **more)


def contract(*fields: Field, **change: Any) -> Contract:
    plain = Contract(
        subject="thing",
        major=1,
        title=Text("事物", "Things"),
        catalogue="1",
        owner=Text("部门", "Department"),
        level="province",
        key="key",
        scope="scope",
        classification="important",
        sharing="unconditional",
        basis=Text("条例", "Regulations"),
        freshness=2.0,
        retention=30,
        purposes=(Text("核验", "verification"),),
        fields=(field("key", String(min_length=1)), field("scope", String(min_length=1)), *fields),
    )
    return replace(plain, **change)


def rule(when: str, name: str = "r", **more: Any) -> tuple[Rule, ...]:
    return (Rule(name, when, WORDS, **more),)


def refused(reader: Contract, value: bytes) -> bool:
    try:
        Checker(reader).decode(value)
    except Rejected:
        return True
    return False


def written(writer: Contract, **record: Any) -> bytes:
    given = {"key": "k", "scope": "37", **record}
    return Checker(writer).accept(msgspec.json.encode(given)).value


# ---- each shape's rules, with a value that proves them --------------------------------------


class Change(NamedTuple):
    """``before`` is a value of the old shape that new readers refuse, ``after`` one of the new shape
    that old readers refuse; None where there is none."""

    rule: str
    old: Shape
    new: Shape
    before: Any
    after: Any
    path: str = "$.f"


def inner(shape: Shape, **more: Any) -> Object:
    return Object(fields=(field("a", Integer()), field("b", shape, **more)))


CREDIT = "91370102MA3C4B5X7" + credit_check("91370102MA3C4B5X7")
TEN_DIGITS = String(pattern="^[0-9]{10}$")
CHANGES = [
    Change("null-allowed", String(), String(nullable=True), None, [None]),
    Change("null-refused", String(nullable=True), String(), [None], None),
    Change("length-tightened", String(max_length=5), String(max_length=4), ["12345"], None),
    Change("length-tightened", String(), String(min_length=2), ["1"], None),
    Change("length-loosened", String(max_length=5), String(), None, ["123456"]),
    Change("length-loosened", Map(values=Boolean(), max_length=0), Map(values=Boolean()), None, [{"a": True}]),
    Change("length-tightened", Array(items=Boolean()), Array(items=Boolean(), max_length=0), [[True]], None),
    Change("range-tightened", Integer(), Integer(ge=0), [-1], None),
    Change("range-loosened", Integer(le=5), Integer(le=6), None, [6]),
    Change("range-tightened", Number(ge=1), Number(gt=1), [1.0], None),
    Change("range-loosened", Number(lt=1), Number(le=1), None, [1.0]),
    Change("range-tightened", Number(), Number(lt=1e9), [1e9], None),
    Change("range-loosened", Decimal(digits=4, places=2), Decimal(digits=5, places=2), None, ["123.45"]),
    Change("range-tightened", Decimal(digits=4, places=2), Decimal(digits=4, places=3), ["12.3"], ["1.234"]),
    Change("range-loosened", Decimal(digits=4, places=2), Decimal(digits=4, places=3), ["12.3"], ["1.234"]),
    Change("range-tightened", Decimal(), Decimal(positive=True), ["-1"], None),
    Change("pattern-added", String(), TEN_DIGITS, ["1"], None),
    Change("pattern-removed", TEN_DIGITS, String(), None, ["1"]),
    Change("pattern-changed", TEN_DIGITS, String(pattern="^[0-9]{11}$"), ["0123456789"], ["01234567890"]),
    Change("format-added", String(), String(format="citizen-number"), ["1"], None),
    Change("format-removed", String(format="division-code"), String(), None, ["1"]),
    Change("format-changed", String(format="division-code"), String(format="credit-code"), ["37"], [CREDIT]),
    Change("format-removed", String(format="division-code", pattern="^3"), String(pattern="^3"), None, ["3x"]),
    Change("enum-value-added", Enum(values=("a",)), Enum(values=("a", "b")), None, ["b"]),
    Change("enum-value-removed", Enum(values=("a", "b")), Enum(values=("a",)), ["b"], None),
    Change("type-widened", Enum(values=("a", "b")), String(max_length=1), None, ["c"]),
    Change("type-narrowed", String(), Date(), ["x"], None),
    Change("type-widened", DateTime(), String(), None, ["x"]),
    Change("type-widened", Decimal(), String(), None, ["x"]),
    Change("type-widened", Integer(ge=0, le=2**53), Number(), None, [0.5]),
    Change("type-narrowed", Number(), Integer(ge=0, le=9), [0.5], None),
    Change("type-changed", Integer(), Number(ge=0), [-1], [0.5]),
    Change("type-widened", Decimal(digits=4, places=2), String(max_length=6), None, ["x"]),
    Change("type-changed", Decimal(digits=4, places=2), String(max_length=5), ["-12.34"], ["x"]),
    Change("type-changed", String(), Integer(), ["x"], [1]),
    Change("type-changed", Enum(values=("ab",)), String(max_length=1), ["ab"], ["a"]),
    Change("null-allowed", Array(items=Boolean()), Array(items=Boolean(nullable=True)), None, [[None]], "$.f[]"),
    Change("range-tightened", Map(values=Integer()), Map(values=Integer(le=0)), [{"a": 1}], None, "$.f{}"),
    Change("length-tightened", inner(String()), inner(String(max_length=0)), [{"a": 1, "b": "x"}], None, "$.f.b"),
    Change("field-added-without-default", Object(fields=(field("a", Integer()),)), inner(String()), [{"a": 1}], None, "$.f.b"),
    Change("field-removed", inner(String()), Object(fields=(field("a", Integer()),)), None, [{"a": 1}], "$.f.b"),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.rule} {change.path}")
def test_a_change_of_shape_is_found_and_hurts_whom_it_names(change: Change) -> None:
    old, new = contract(field("f", change.old)), contract(field("f", change.new))
    (found,) = [each for each in compare(old, new) if each.rule == change.rule]
    assert found.path == change.path
    assert reads(new, old) == (change.before is None)
    assert reads(old, new) == (change.after is None)
    assert not compatible(old, new)
    for reader, writer, value in ((new, old, change.before), (old, new, change.after)):
        if value is not None:
            assert refused(reader, written(writer, f=value[0]))


# ---- the other rules ------------------------------------------------------------------------

ONE = field("f", Integer())
OPTIONAL = field("f", Integer(), required=False, default=1)
LABELS = Enum(values=("a",), labels={"a": Text("甲", "A")})
OTHERS: list[tuple[str, str, Contract, Contract]] = [
    ("field-added", "$.f", contract(), contract(OPTIONAL)),
    ("field-added-without-default", "$.f", contract(), contract(ONE)),
    ("field-removed", "$.f", contract(OPTIONAL), contract()),
    ("field-renamed", "$.f", contract(ONE), contract(replace(ONE, name="g"))),
    ("field-became-optional", "$.f", contract(ONE), contract(OPTIONAL)),
    ("field-became-required", "$.f", contract(OPTIONAL), contract(ONE)),
    ("default-changed", "$.f", contract(OPTIONAL), contract(replace(OPTIONAL, default=2))),
    ("words-changed", "$.f", contract(ONE), contract(replace(ONE, description=WORDS))),
    ("enum-label-changed", "$.f=a", contract(field("f", LABELS)),
     contract(field("f", replace(LABELS, labels={"a": WORDS})))),
    ("words-changed", "$.f=a", contract(field("f", LABELS)), contract(field("f", Enum(values=("a",))))),
    ("enum-standard-changed", "$.f", contract(field("f", LABELS)),
     contract(field("f", replace(LABELS, standard="GB/T 1")))),
    ("rule-added", "rules.r", contract(ONE), contract(ONE, rules=rule("f > 0"))),
    ("rule-removed", "rules.r", contract(ONE, rules=rule("f > 0")), contract(ONE)),
    ("rule-changed", "rules.r", contract(ONE, rules=rule("f > 0")), contract(ONE, rules=rule("f > 1"))),
    ("rule-renamed", "rules.s", contract(ONE, rules=rule("f > 0")),
     contract(ONE, rules=rule("f > 0", "s"))),
    ("words-changed", "rules.r", contract(ONE, rules=rule("f > 0")),
     contract(ONE, rules=rule("f > 0", path="$.f"))),
    ("rule-reads-otherwise", "rules.r", contract(field("f", inner(String())), rules=rule("size(f) == 2")),
     contract(field("f", Object(fields=(*inner(String()).fields, OPTIONAL))), rules=rule("size(f) == 2"))),
    ("subject-changed", "subject", contract(), contract(subject="other")),
    ("key-changed", "key", contract(), contract(key="scope")),
    ("scope-changed", "scope", contract(), contract(scope="key")),
    ("level-changed", "level", contract(), contract(level="city")),
    ("owner-changed", "owner", contract(), contract(owner=WORDS)),
    ("catalogue-changed", "catalogue", contract(), contract(catalogue="2")),
    ("condition-changed", "condition", contract(), contract(condition=WORDS)),
    ("words-changed", "title", contract(), contract(title=WORDS)),
    ("words-changed", "basis", contract(), contract(basis=WORDS)),
    ("partitions-more", "partitions", contract(), contract(partitions=4)),
    ("partitions-fewer", "partitions", contract(), contract(partitions=2)),
    ("journal-changed", "journal", contract(), contract(journal=30)),
    ("search-added", "$.f", contract(ONE), contract(ONE, searchable=("f",))),
    ("search-removed", "$.f", contract(ONE, searchable=("f",)), contract(ONE)),
    ("classification-lowered", "classification", contract(), contract(classification="general")),
    ("classification-raised", "classification", contract(), contract(classification="core")),
    ("sharing-narrowed", "sharing", contract(), contract(sharing="not_shared")),
    ("sharing-widened", "sharing", contract(sharing="not_shared"), contract()),
    ("purposes-narrowed", "purposes", contract(purposes=(WORDS, Text("核验", "v"))), contract(purposes=(WORDS,))),
    ("purposes-narrowed", "purposes", contract(purposes=()), contract()),
    ("purposes-widened", "purposes", contract(), contract(purposes=())),
    ("words-changed", "purposes", contract(), contract(purposes=(Text("核验", "checks"),))),
    ("freshness-weakened", "freshness", contract(), contract(freshness=3.0)),
    ("freshness-strengthened", "freshness", contract(), contract(freshness=1.0)),
    ("on-refusal-changed", "on_refusal", contract(), contract(on_refusal="wait")),
    ("updates-slower", "updates", contract(), contract(updates="daily")),
    ("updates-faster", "updates", contract(updates="irregular"), contract(updates="yearly")),
    ("retention-shortened", "retention", contract(), contract(retention=7)),
    ("retention-shortened", "retention", contract(retention=None), contract()),
    ("retention-lengthened", "retention", contract(), contract(retention=None)),
    ("mask-loosened", "$.f", contract(ONE, personal={"f": "hash"}), contract(ONE)),
    ("mask-tightened", "$.f", contract(ONE), contract(ONE, personal={"f": "last4"})),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "old", "new"), OTHERS)
def test_every_other_change_is_found_by_its_rule(
    name: str, path: str, old: Contract, new: Contract
) -> None:
    (found,) = compare(old, new) if name != "rule-reads-otherwise" else compare(old, new)[:1]
    assert (found.rule, found.path, found.severity) == (name, path, RULES[name].severity)
    assert compatible(old, new) == (RULES[name].severity == "note")
    assert found.against == "thing.v1/1.0"


def test_every_rule_is_tried_here_and_told_in_both_languages() -> None:
    assert {each[0] for each in OTHERS} | {each.rule for each in CHANGES} == set(RULES)
    for told in RULES.values():
        for words in (told.message, told.way_out):
            assert words.zh
            assert words.en
        assert told.severity == "note" or told.breaks


def test_masks_are_loosened_by_what_they_newly_tell_and_tightened_by_what_they_hide() -> None:
    def found(old: str | None, new: str | None) -> list[str]:
        old_, new_ = (contract(ONE, personal={"f": mask} if mask else {}) for mask in (old, new))
        return [each.rule for each in compare(old_, new_)]

    strict = ["null", "hash", None]
    for tighter, looser in itertools.pairwise(strict):
        assert found(tighter, looser) == ["mask-loosened"]
        assert found(looser, tighter) == ["mask-tightened"]
    for mask in ("last4", "year"):
        assert found("null", mask) == ["mask-loosened"]
        assert found(mask, None) == ["mask-loosened"]
        assert found("hash", mask) == ["mask-loosened", "mask-tightened"]
    assert found("last4", "year") == ["mask-loosened", "mask-tightened"]


def test_the_order_of_fields_and_codes_means_nothing() -> None:
    one, other = field("f", Enum(values=("a", "b"))), field("g")
    turned = field("f", Enum(values=("b", "a")))
    assert compare(contract(one, other), contract(other, turned)) == []


def test_a_rule_that_selects_inner_fields_does_not_mind_new_ones_beside_them() -> None:
    old = contract(field("f", inner(String())), rules=rule("f.a > 0"))
    shape = Object(fields=(*inner(String()).fields, OPTIONAL))
    assert compatible(old, contract(field("f", shape), rules=old.rules))


def test_whole_numbers_past_what_a_double_holds_do_not_become_numbers() -> None:
    old, new = contract(field("f", Integer(ge=0, le=2**53 + 1))), contract(field("f", Number()))
    assert not reads(new, old)
    record: Any = Checker(new).decode(written(old, f=2**53 + 1))
    assert record.f != 2**53 + 1


def test_a_rule_over_a_whole_number_is_not_trusted_over_the_same_as_a_number() -> None:
    small, when = Integer(ge=0, le=9), rule("f % 2 == 1")
    old, new = contract(field("f", small), rules=when), contract(field("f", Number()), rules=when)
    assert not reads(new, old)
    assert refused(new, written(old, f=5))


# ---- all earlier revisions ------------------------------------------------------------------


def revisions(*found: Contract) -> list[Contract]:
    return [replace(each, minor=number) for number, each in enumerate(found)]


def test_a_name_that_comes_back_with_another_type_breaks_the_revision_that_had_it_first() -> None:
    text = field("f", String(), required=False, default="")
    first, second, third = revisions(contract(text), contract(), contract(OPTIONAL))
    assert harmless(judge([second], third))
    (found,) = [each for each in judge([first, second], third) if each.severity == "break"][:1]
    assert (found.rule, found.against) == ("type-changed", "thing.v1/1.0")


def test_what_breaks_several_revisions_alike_is_told_once_and_of_the_latest() -> None:
    first, second, third = revisions(contract(ONE), contract(ONE), contract())
    found = judge([first, second], third)
    assert [(each.rule, each.against) for each in found] == [("field-removed", "thing.v1/1.1")]


def test_whom_only_an_earlier_revision_hurts_is_told_too() -> None:
    first, second, third = revisions(contract(ONE), contract(OPTIONAL), contract())
    found = judge([first, second], third)
    assert [(each.against, each.breaks) for each in found] == [
        ("thing.v1/1.1", ("granted children",)),
        ("thing.v1/1.0", ("old readers", "granted children")),
    ]


def test_our_majors_differ_by_more_than_words() -> None:
    findings = compare(CONTRACTS["resident.v1"], CONTRACTS["resident.v2"])
    assert {"field-removed", "field-added-without-default"} <= {each.rule for each in findings}
    assert findings[0].severity == "break"
    assert findings[-1].severity == "note"


# ---- for every contract ---------------------------------------------------------------------


@given(data=st.data(), first=contracts())
@settings(max_examples=examples(200), deadline=None, suppress_health_check=SLOW)
def test_what_is_called_readable_is_read_and_means_the_same(data: Any, first: Contract) -> None:
    second = data.draw(mutations(first))
    for reader, writer in ((second, first), (first, second)):
        if reads(reader, writer):
            value = written_by(data, writer)
            read = msgspec.json.decode(msgspec.json.encode(Checker(reader).decode(value)))
            assert alike(writer.fields, reader.fields, msgspec.json.decode(value), read)


@given(data=st.data(), first=shapes())
@settings(max_examples=examples(1000), deadline=None, suppress_health_check=SLOW)
def test_what_is_called_readable_of_one_field_is_read(data: Any, first: Shape) -> None:
    """The same with all effort on one shape, its limits and a rule that looks at it."""
    second = data.draw(neighbours(first))
    when = data.draw(st.sampled_from(["", "", *expressions(contract(field("f", first)))]))
    rules = rule(when) if when else ()
    old, new = (contract(field("f", shape), rules=rules) for shape in (first, second))
    assume(old != new and can_be(new))
    hurt = {who for each in compare(old, new) if each.severity == "break" for who in each.breaks}
    assert reads(new, old) == ("new readers" not in hurt)
    assert reads(old, new) == ("old readers" not in hurt)
    for reader, writer, shape in ((new, old, first), (old, new, second)):
        if reads(reader, writer):
            for value in data.draw(st.lists(value_of(shape), min_size=1, max_size=6)):
                record = msgspec.json.encode({"key": "k", "scope": "37", "f": value})
                try:
                    raw = Checker(writer).accept(record).value
                except Rejected:
                    continue
                read = msgspec.json.decode(msgspec.json.encode(Checker(reader).decode(raw)))
                assert alike(writer.fields, reader.fields, msgspec.json.decode(raw), read)


@given(data=st.data(), first=contracts())
@settings(max_examples=examples(100), deadline=None, suppress_health_check=SLOW)
def test_what_is_judged_harmless_is_read_by_and_reads_every_revision(
    data: Any, first: Contract
) -> None:
    history = [first]
    for _ in range(2):
        following = data.draw(mutations(history[-1]))
        if harmless(judge(history, following)):
            history.append(following)
    assume(len(history) > 1)
    for writer in history:
        value = written_by(data, writer)
        for reader in history:
            Checker(reader).decode(value)


@given(data=st.data(), first=contracts())
@settings(max_examples=examples(100), deadline=None, suppress_health_check=SLOW)
def test_both_directions_are_judged_alike(data: Any, first: Contract) -> None:
    second = data.draw(mutations(first))
    breaks = {who for each in records_compared(first, second) for who in each.breaks
              if each.severity == "break"}  # fmt: skip
    assert reads(second, first) == ("new readers" not in breaks)
    assert reads(first, second) == ("old readers" not in breaks)
    assert compare(first, first) == []


@pytest.mark.parametrize("way", ["forth", "back", "both"])
def test_generated_revisions_are_often_readable(way: str) -> None:
    """Else the properties above would say nothing."""

    def readable(pair: tuple[Contract, Contract]) -> bool:
        old, new = pair
        forth, back = reads(new, old), reads(old, new)
        wanted = {"forth": forth and not back, "back": back and not forth, "both": forth and back}
        return old.fields != new.fields and wanted[way]

    pairs = contracts().flatmap(lambda old: st.tuples(st.just(old), mutations(old)))
    find(
        pairs, readable, settings=settings(max_examples=500, database=None, phases=[Phase.generate])
    )


def written_by(data: Any, writer: Contract) -> bytes:
    record = data.draw(values(writer))
    return Checker(writer).accept(msgspec.json.encode(record)).value


def alike(written_as: tuple[Field, ...], read_as: tuple[Field, ...], value: Any, read: Any) -> bool:
    """Is each field that both have the same, and each that only the reader has its default?"""
    shapes = {each.name: each.shape for each in written_as}
    for each in read_as:
        if each.name not in shapes:
            if read[each.name] != each.default and not isinstance(each.shape, Object | Array | Map):
                return False
        elif not _alike(shapes[each.name], each.shape, value[each.name], read[each.name]):
            return False
    return True


def _alike(old: Shape, new: Shape, value: Any, read: Any) -> bool:
    match old, new:
        case _ if value is None:
            return read is None
        case Object(), Object():
            return alike(old.fields, new.fields, value, read)
        case Array(), Array():
            return len(value) == len(read) and all(
                _alike(old.items, new.items, *pair) for pair in zip(value, read, strict=True)
            )
        case Map(), Map():
            return value.keys() == read.keys() and all(
                _alike(old.values, new.values, value[name], read[name]) for name in value
            )
        case Integer(), Number():
            return bool(int(read) == value)
    return bool(value == read)
