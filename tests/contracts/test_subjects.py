"""Every subject takes what it should, and names what is wrong with what it should not."""

import datetime
from typing import Any

import msgspec
import pytest

from contracts.check import Checker, Rejected
from contracts.identifiers import credit_check
from contracts.model import Contract
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Integer,
    Object,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS, RECORDS, STEPS, contract
from contracts.subjects.resident import ResidentV2, down, up
from contracts.text import Text
from tests.contracts.examples import example

CHECKERS = {name: Checker(found) for name, found in CONTRACTS.items()}
NAMES = tuple(CONTRACTS)
FIELDS = [(name, field.name) for name, found in CONTRACTS.items() for field in found.fields]
RULES = [(name, rule.name) for name, found in CONTRACTS.items() for rule in found.rules]


def rejected(name: str, /, **change: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        CHECKERS[name].check({**example(name), **change})
    return caught.value


# ---- records that are right ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_full_record_is_taken_and_is_the_same_for_every_reader(name: str) -> None:
    for seed in range(50):
        row = example(name, seed)
        assert set(row) == set(CONTRACTS[name].field_names)
        found = CHECKERS[name].check(row)
        assert CHECKERS[name].accept(msgspec.json.encode(row)).value == found.value
        assert msgspec.json.decode(found.value) == row
        record: Any = CHECKERS[name].decode(found.value)
        assert (found.key, found.scope) == (
            getattr(record, CONTRACTS[name].key),
            getattr(record, CONTRACTS[name].scope),
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_typed_class_writes_what_its_contract_takes(name: str) -> None:
    row = example(name)
    record = msgspec.convert(row, RECORDS[name], strict=False)
    assert msgspec.json.decode(CHECKERS[name].accept(msgspec.json.encode(record)).value) == row


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_required_has_to_be_given(name: str) -> None:
    row = example(name)
    for field in CONTRACTS[name].fields:
        less = {other: value for other, value in row.items() if other != field.name}
        if field.required:
            with pytest.raises(Rejected) as caught:
                CHECKERS[name].check(less)
            assert (caught.value.path, caught.value.rule) == (f"$.{field.name}", "required")


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_left_empty_breaks_no_rule_that_is_not_about_it(name: str, field: str) -> None:
    if not CONTRACTS[name].shape_of(field).nullable:
        assert rejected(name, **{field: None}).rule == "type"
        return
    try:
        CHECKERS[name].check({**example(name), field: None})
    except Rejected as error:
        [rule] = [rule for rule in CONTRACTS[name].rules if rule.name == error.rule]
        assert field in rule.when


# ---- fields that are wrong -------------------------------------------------------------------


def wrong(shape: Shape) -> tuple[Any, str]:
    """A value ``shape`` does not take, and the rule it breaks."""
    match shape:
        case String(pattern=str()):
            return "\n\n", "pattern"
        case String(format=str()):
            return "?", "shape"
        case String():
            assert shape.max_length is not None
            return "长" * (shape.max_length + 1), "length"
        case Enum():
            return "no such code", "enum"
        case Date():
            return "2026-02-30", "format"
        case DateTime():
            return "2026-01-01T08:00:00", "type"
        case Decimal():
            return "1e3", "decimal"
        case Integer():
            return shape.le + 1, "range"
        case Boolean():
            return "perhaps", "type"
        case Array():
            return "not a list", "type"
    raise AssertionError(shape)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_wrong_field_is_named_with_the_rule_it_breaks(name: str, field: str) -> None:
    value, rule = wrong(CONTRACTS[name].shape_of(field))
    found = rejected(name, **{field: value})
    assert (found.path, found.rule) == (f"$.{field}", rule)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field)
        for name, field in FIELDS
        if getattr(CONTRACTS[name].shape_of(field), "format", None)
        in ("citizen-number", "credit-code", "disability-certificate")
        and example(name)[field] is not None
    ],
)
def test_a_wrong_check_character_is_found_in_every_field_that_has_one(
    name: str, field: str
) -> None:
    right = example(name)[field]
    other = "1" if right[17] != "1" else "2"
    found = rejected(name, **{field: right[:17] + other + right[18:]})
    assert found.path == f"$.{field}"
    assert found.rule in ("check-digit", "check-character")


def test_a_wrong_member_of_a_household_is_named_by_place() -> None:
    row = example("household.v1")
    row["members"][1]["id_number"] = "110105194912310029"
    found = rejected("household.v1", members=row["members"])
    assert (found.path, found.rule) == ("$.members[1].id_number", "check-digit")
    row["members"][1].update(id_number=row["members"][0]["id_number"], relation="98")
    assert rejected("household.v1", members=row["members"]).rule == "enum"


# ---- rules across fields ---------------------------------------------------------------------

RESIDENT, MARRIAGE, BIRTH = example("resident.v2"), example("marriage.v1"), example("birth.v1")
ESTATE, DISABILITY = example("real_estate.v1"), example("disability.v1")


def other_sex(row: dict[str, Any]) -> str:
    return "2" if row["sex"] == "1" else "1"


#: What to change of the example so that it breaks the rule, and no other before it.
BROKEN: list[tuple[str, str, dict[str, Any]]] = [
    ("division.v1", "level-by-length", {"level": "county"}),
    ("division.v1", "within-parent", {"parent": "370199"}),
    *(
        found
        for name in ("resident.v1", "resident.v2")
        for found in (
            (name, "birth-date-in-number", {"birth_date": "1990-01-01"}),
            (name, "sex-in-number", {"sex": other_sex(example(name))}),
            (name, "registered-after-birth", {"registered_at": "1930-01-01T00:00:00+08:00"}),
        )
    ),
    ("resident.v2", "relation-within-household", {"household_no": None}),
    ("household.v1", "family-has-head", {"head_name": None}),
    ("household.v1", "closed-when-not-active", {"status": "active"}),
    ("household.v1", "closed-after-established", {"closed_on": "1980-01-01"}),
    ("marriage.v1", "husband-identified", {"man_document": "护照 E12345678"}),
    ("marriage.v1", "wife-identified", {"woman_id_number": None}),
    ("marriage.v1", "husband-birth-date-in-number", {"man_birth_date": "1975-01-01"}),
    ("marriage.v1", "wife-birth-date-in-number", {"woman_birth_date": "1975-01-01"}),
    (
        "marriage.v1",
        "husband-of-age",
        {"man_id_number": None, "man_document": "护照 E1", "man_birth_date": "1999-06-01"},
    ),
    (
        "marriage.v1",
        "wife-of-age",
        {"woman_id_number": None, "woman_document": "护照 E1", "woman_birth_date": "2001-06-01"},
    ),
    ("marriage.v1", "year-in-certificate", {"certificate_no": "J370102-1999-000001"}),
    ("marriage.v1", "ended-when-not-married", {"ended_on": None}),
    ("marriage.v1", "ended-after-registered", {"ended_on": "2001-01-01"}),
    ("marriage.v1", "divorced-somehow", {"divorce_by": None}),
    ("marriage.v1", "divorce-certificate-when-registered", {"divorce_by": "judgment"}),
    ("birth.v1", "mother-identified", {"mother_id_number": None}),
    ("birth.v1", "father-identified", {"father_name": None}),
    ("birth.v1", "mother-born-before", {"born_at": "1950-01-01T08:00:00+08:00"}),
    (
        "birth.v1",
        "father-born-before",
        {"father_document": None, "father_id_number": BIRTH["child_id_number"],
         "born_at": "2015-01-01T08:00:00+08:00"},
    ),
    ("birth.v1", "birth-date-in-number", {"born_at": "2022-01-01T08:00:00+08:00"}),
    ("birth.v1", "sex-in-number", {"sex": other_sex(BIRTH)}),
    ("birth.v1", "issued-after-birth", {"issued_on": "2020-01-01"}),
    ("death.v1", "birth-date-in-number", {"birth_date": "1990-01-01"}),
    ("death.v1", "sex-in-number", {"sex": other_sex(example("death.v1"))}),
    ("death.v1", "died-after-birth", {"died_on": "1900-01-01"}),
    ("death.v1", "certificate-after-death", {"issued_on": "2000-01-01"}),
    ("death.v1", "cremated-after-death", {"cremated_on": "2000-01-01"}),
    ("death.v1", "cancelled-after-death", {"cancelled_on": "2000-01-01"}),
    ("death.v1", "reporter-named", {"reported_by": None}),
    ("business_licence.v1", "registered-as-a-business", {"credit_code": "11370000004500001" + credit_check("11370000004500001")}),
    ("business_licence.v1", "individual-in-code", {"kind": "individual"}),
    ("business_licence.v1", "valid-after-established", {"valid_until": "2000-01-01"}),
    ("business_licence.v1", "issued-after-established", {"issued_at": "2000-01-01T09:00:00Z"}),
    ("social_insurance.v1", "joined-after-birth", {"joined_on": "1950-01-01"}),
    ("social_insurance.v1", "employer-named", {"employer_name": None}),
    ("social_insurance.v1", "residents-have-no-employer", {"insurance": "resident_pension"}),
    (
        "social_insurance.v1",
        "receiving-since",
        {"status": "receiving", "benefits_from": None, "ended_on": None},
    ),
    ("social_insurance.v1", "benefits-after-joined", {"benefits_from": "1990-01-01"}),
    ("social_insurance.v1", "ended-when-over", {"ended_on": None}),
    ("social_insurance.v1", "ended-after-joined", {"ended_on": "1990-01-01"}),
    ("medical_insurance.v1", "sex-in-number", {"sex": other_sex(example("medical_insurance.v1"))}),
    ("medical_insurance.v1", "joined-after-birth", {"joined_on": "1950-01-01"}),
    ("medical_insurance.v1", "residents-as-residents", {"insurance": "390"}),
    ("medical_insurance.v1", "employees-as-employees", {"person_kind": "15"}),
    ("medical_insurance.v1", "employer-named", {"employer_name": None}),
    ("medical_insurance.v1", "stopped-when-not-insured", {"status": "1"}),
    ("medical_insurance.v1", "stopped-after-joined", {"stopped_on": "2001-01-01"}),
    ("real_estate.v1", "holder-identified-once", {"holder_document": "护照 E12345678"}),
    ("real_estate.v1", "shares-when-by-shares", {"share_denominator": None}),
    ("real_estate.v1", "share-below-whole", {"share_numerator": 3, "share_denominator": 2}),
    ("real_estate.v1", "floor-area-of-a-building", {"unit_code": "370102001002GB00001W00000000"}),
    ("real_estate.v1", "term-runs-forward", {"term_until": "2000-01-01"}),
    ("disability.v1", "birth-date-in-number", {"birth_date": "1990-01-01"}),
    ("disability.v1", "sex-in-number", {"sex": other_sex(DISABILITY)}),
    ("disability.v1", "number-in-certificate", {"certificate_no": "11010519491231002X41"}),
    ("disability.v1", "disability-in-certificate", {"disability": "1"}),
    ("disability.v1", "combined-when-multiple", {"combined": ["1"]}),
    ("disability.v1", "combined-of-single-ones", {"combined": ["1", "7"]}),
    ("disability.v1", "issued-after-birth", {"issued_on": "1930-01-01"}),
    ("disability.v1", "valid-after-issued", {"valid_until": "2000-01-01"}),
    ("disability.v1", "guardian-named", {"guardian_name": None}),
    ("correction_answer.v1", "received-with-due", {"state": "received", "due": None}),
    ("correction_answer.v1", "decided-at", {"answered_at": None}),
    ("correction_answer.v1", "rejected-with-reason", {"state": "rejected", "note": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rule", "change"), BROKEN, ids=[f"{n}-{r}" for n, r, _ in BROKEN])
def test_a_record_that_contradicts_itself_is_refused_by_name(
    name: str, rule: str, change: dict[str, Any]
) -> None:
    [broken] = [each for each in CONTRACTS[name].rules if each.name == rule]
    found = rejected(name, **change)
    assert (found.path, found.rule) == (broken.path, rule)
    assert broken.message.zh in str(found)
    assert broken.message.en in str(found)


def test_every_rule_was_seen_to_refuse_something() -> None:
    assert sorted((name, rule) for name, rule, _ in BROKEN) == sorted(RULES)


def test_a_foreigner_may_marry_and_a_father_need_not_be_told() -> None:
    changed = {**MARRIAGE, "man_id_number": None, "man_document": "护照 E12345678"}
    assert CHECKERS["marriage.v1"].check(changed)
    nobody = {"father_name": None, "father_document": None, "child_id_number": None}
    assert CHECKERS["birth.v1"].check({**BIRTH, **nobody})


def test_a_sole_owner_and_a_company_fit_real_estate() -> None:
    company = {
        "holder_id_number": None, "holder_credit_code": "91350100M000100Y43", "co_ownership": "0",
        "share_numerator": None, "share_denominator": None,
    }  # fmt: skip
    assert CHECKERS["real_estate.v1"].check({**ESTATE, **company})


def test_a_single_disability_combines_none() -> None:
    change = {"certificate_no": DISABILITY["id_number"] + "42", "disability": "4", "grade": "2"}
    assert CHECKERS["disability.v1"].check({**DISABILITY, **change, "combined": []})


# ---- what the catalogue says -----------------------------------------------------------------


def every_shape(shape: Shape) -> list[Shape]:
    inner = {Array: lambda s: [s.items], Object: lambda s: [f.shape for f in s.fields]}
    parts = inner.get(type(shape), lambda _: [])(shape)
    return [shape, *(each for part in parts for each in every_shape(part))]


def both_languages(text: Text) -> bool:
    return any("\u4e00" <= each <= "\u9fff" for each in text.zh) and any(
        each.isascii() and each.isalpha() for each in text.en
    )


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=NAMES)
def test_a_contract_is_the_same_after_a_journey_as_json(found: Contract) -> None:
    assert msgspec.json.decode(msgspec.json.encode(found), type=Contract) == found


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=NAMES)
def test_a_contract_says_everything_in_both_languages(found: Contract) -> None:
    assert found.description
    texts = [found.title, found.description, found.owner, found.basis, *found.purposes]
    texts += [rule.message for rule in found.rules]
    for field in found.fields:
        texts += [field.title, *([field.description] if field.description else [])]
        for shape in every_shape(field.shape):
            if isinstance(shape, Enum):
                assert set(shape.labels) == set(shape.values), field.name
                texts += shape.labels.values()
            if isinstance(shape, Object):
                texts += [inner.title for inner in shape.fields]
    assert [text for text in texts if not both_languages(text)] == []


@pytest.mark.parametrize("found", CONTRACTS.values(), ids=NAMES)
def test_personal_fields_are_masked_in_a_way_that_fits_them(found: Contract) -> None:
    for field in found.fields:
        shape, mask = field.shape, found.personal.get(field.name)
        if isinstance(shape, String) and shape.format == "citizen-number":
            assert mask == "last4", field.name
        if field.name.endswith(("birth_date", "phone", "document")) or field.name in (
            "name",
            "sex",
        ):
            assert mask or found.subject == "division", field.name
        if mask == "year":
            assert isinstance(shape, Date | DateTime), field.name
        if mask == "last4":
            assert isinstance(shape, String), field.name


def test_catalogue_numbers_differ() -> None:
    numbers = [found.catalogue for found in CONTRACTS.values()]
    assert len(set(numbers)) == len(numbers)


def test_an_unknown_contract_is_answered_with_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"resident\.v2"):
        contract("resident.v9")
    assert contract("resident.v2").dataschema == "resident.v2/2.0"


# ---- steps between versions ------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), STEPS, ids=[f"{a}-{b}" for a, b in STEPS])
def test_a_step_makes_records_that_the_other_version_takes(old: str, new: str) -> None:
    for seed in range(50):
        row = example(old, seed)
        record = STEPS[old, new](msgspec.convert(row, RECORDS[old], strict=False))
        assert isinstance(record, RECORDS[new])
        assert CHECKERS[new].accept(msgspec.json.encode(record))


def resident(**change: Any) -> ResidentV2:
    return msgspec.convert({**RESIDENT, **change}, ResidentV2)


def test_a_resident_steps_down_and_up_again_but_for_what_v1_lacks() -> None:
    new = resident()
    old = down(new)
    assert old is not None
    lost = {"household_no": None, "relation": None, "phone": None}
    assert up(old) == msgspec.structs.replace(new, **lost)
    again = up(old)
    assert again is not None
    assert down(again) == old


@pytest.mark.parametrize("status", ["moved_out", "deceased", "cancelled"])
def test_a_resident_off_the_register_has_no_former_version(status: str) -> None:
    assert down(resident(status=status)) is None


def test_moments_are_judged_by_the_day_in_china() -> None:
    born = datetime.date.fromisoformat(RESIDENT["birth_date"])
    evening = f"{born - datetime.timedelta(days=1)}T16:30:00Z"
    assert CHECKERS["resident.v2"].check({**RESIDENT, "registered_at": evening})
    early = f"{born - datetime.timedelta(days=1)}T15:30:00Z"
    assert rejected("resident.v2", registered_at=early).rule == "registered-after-birth"
