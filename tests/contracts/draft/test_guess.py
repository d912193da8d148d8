"""What a draft makes of columns and values."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.check import Checker
from contracts.draft.guess import Draft, draft, of_contract
from contracts.draft.orderly import orderly
from contracts.draft.sample import Column, Sample, WrongSample
from contracts.draft.samples import csv_sample, json_sample
from contracts.draft.source_text import source_text
from contracts.examine import examine
from contracts.identifiers import citizen_check, credit_check
from contracts.model import WrongContract
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS
from tests.contracts.draft.test_source_text import NASTY
from tests.contracts.draft.written import imported

CITIZENS = [
    first + citizen_check(first) for first in ("37010219900307001", "37010219851123002", "37010419771212003", "37010219610505004")
]  # fmt: skip
CREDITS = [first + credit_check(first) for first in ("91370100MA3C0TXQ1", "91370102MA3C0TXQ2", "91370103MA3C0TXQ3", "91370104MA3C0TXQ4")]  # fmt: skip
DIVISIONS = ["370102001", "370102002", "370102003", "370102001"]


def of(live: bool = False, **columns: list[Any]) -> Draft:
    found = tuple(Column(name=name, values=tuple(values)) for name, values in columns.items())
    rows = len(found[0].values) if found else 0
    return draft(Sample(origin="here", columns=found, rows=rows, live=live), "permit")


def shape(values: list[Any], name: str = "what", live: bool = False) -> Shape:
    return of(live, **{name: values}, bh=[f"A{at}" for at in range(len(values))]).contract.shape_of(
        name
    )


def asked(found: Draft, where: str) -> str:
    return " | ".join(found.questions.get(where, ()))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "22", "-3"], Integer()),
        (["1", None], Integer(nullable=True)),
        (["1.50", "1200.00"], Decimal(digits=10, places=2)),
        (["2024-05-01", "2023-12-31"], Date()),
        (["2024-05-01T08:00:00+08:00", "2024-05-01T08:00:00Z"], DateTime()),
        (["2024-05-01 08:00:00+08", "2024/05/02 08:00"], String(min_length=1, max_length=50)),
        (["true", "false"] * 10, Boolean()),
        (["有效", "注销"] * 10, Enum(values=("有效", "注销"))),
        (["001", "002", "010"], String(pattern="^[0-9]{3}$", max_length=3)),
        (["20240501", "20240502", "20240503"], String(pattern="^[0-9]{8}$", max_length=8)),
        (CITIZENS, String(format="citizen-number")),
        (CREDITS, String(format="credit-code")),
        (DIVISIONS, String(format="division-code")),
        (["13805310001", "13905310002"], String(pattern="^1[3-9][0-9]{9}$", max_length=11)),
        (["9" * 30] * 2 + ["1"], String(min_length=1, max_length=100)),
        (["a" * 300, "b"], String(min_length=1, max_length=1000)),
        ([True, False], Boolean()),
        ([1, 2], Integer()),
        ([1, 2.5], Number()),
        ([2**70], String(max_length=100)),
        ([None, None], String(max_length=200, nullable=True)),
        ([["a"], []], Array(items=String(min_length=1, max_length=50))),
        ([[1, None]], Array(items=Integer(nullable=True))),
        ([{"一": 1}, {"二": 2}], Map(values=Integer())),
        ([1, "x"], String(max_length=200)),
        ([{}], Map(values=String())),
    ],
)
def test_the_shape_is_that_of_the_values(values: list[Any], expected: Shape) -> None:
    found = shape(values)
    if isinstance(found, Enum):
        assert isinstance(expected, Enum)
        assert found.values == expected.values
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2024/5/1", "slashes"), ("2024.5.1", "dots"), ("2024年5月1日", "in Chinese"),
        ("20240501", "eight digits"), ("2024-5-1", "without leading zeros"),
        ("5/1/2024", "the day or the month"),
    ],
)  # fmt: skip
def test_a_day_in_another_style_is_a_day_with_a_question(value: str, said: str) -> None:
    found = of(rq=[value, value])
    assert isinstance(found.contract.shape_of("rq"), Date | String)
    found = of(rq=[value, value], bh=["1", "2"])
    assert found.contract.shape_of("rq") == Date()
    assert said in asked(found, "rq")
    # From a live table it comes as it is, so it has to be text for now.
    live = of(True, rq=[value, value], bh=["1", "2"])
    assert isinstance(live.contract.shape_of("rq"), String)
    assert said in asked(live, "rq")


def test_days_in_several_styles_are_said_so() -> None:
    found = of(rq=["2024/5/1", "2024年5月2日"], bh=["1", "2"])
    assert "several styles" in asked(found, "rq")


def test_a_time_without_its_offset_is_asked_about() -> None:
    found = of(at=["2024-05-01 08:00:00"], bh=["1"])
    assert (found.contract.shape_of("at"), "offset" in asked(found, "at")) == (DateTime(), True)
    assert isinstance(shape(["2024-05-01 08:00:00"], live=True), String)


@pytest.mark.parametrize(
    "value", ["2024-05-01 08:00:00+08", "2024/5/1 8:00", "2024-13-01 08:00:00Z"]
)
def test_a_time_written_otherwise_is_asked_about(value: str) -> None:
    found = of(at=[value], bh=["1"])
    assert (found.contract.shape_of("at"), "otherwise" in asked(found, "at")) == (DateTime(), True)


def test_wrong_check_digits_are_counted_and_not_repeated() -> None:
    wrong = CITIZENS[0][:17] + ("0" if CITIZENS[0][17] != "0" else "1")
    found = of(sfzh=[*CITIZENS, wrong], bh=list("12345"))
    assert found.contract.shape_of("sfzh") == String(format="citizen-number")
    assert "1 of 5" in asked(found, "sfzh")
    none = of(sfzh=[wrong] * 2, bh=["1", "2"])
    assert "no citizen number" in asked(none, "sfzh")
    assert wrong not in source_text(none.contract, origin="", questions=none.questions)


def test_random_digits_are_no_format() -> None:
    assert shape(["123456789012345678", "223456789012345679", "323456789012345670"]) == String(
        pattern="^[0-9]{18}$", max_length=18
    )


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"姓名": ["a", "b"], "编号": ["1", "2"]}, "number"),
        ({"编号": ["1", "1"], "sfzh": CITIZENS[:2]}, "sfzh"),
        ({"xm": ["a", "b"], "cert_no": ["x1", "x2"], "sfzh": CITIZENS[:2]}, "cert_no"),
        ({"amount": ["1.5", "2.5"], "other": ["a", "b"]}, "other"),
        ({"tyshxydm": CREDITS, "dwmc": ["甲", "乙", "丙", "丁"]}, "tyshxydm"),
    ],
)
def test_the_key_is_what_tells_records_apart(columns: dict[str, list[Any]], key: str) -> None:
    found = of(False, **columns)
    assert found.contract.key == key
    assert found.questions["contract.key"]


def test_a_key_of_numbers_becomes_text_that_a_record_fits() -> None:
    found = of(True, id=["1", "2"], xzqh=DIVISIONS[:2])
    checked = Checker(found.contract).check({"id": "2", "xzqh": "370102001"})
    assert (checked.key, checked.scope) == ("2", "370102001")


def test_the_primary_key_is_the_key_without_a_question() -> None:
    columns = (
        Column(name="bh", values=("1", "2"), unique=True, nullable=False),
        Column(name="k", values=("a", "b"), primary=True, nullable=False),
    )
    found = draft(Sample(origin="", columns=columns, rows=2), "permit")
    assert found.contract.key == "k"
    assert "contract.key" not in found.questions


def test_scope_and_level_follow_the_division_codes() -> None:
    found = of(bh=list("1234"), place=DIVISIONS)
    assert (found.contract.scope, found.contract.level) == ("place", "county")
    found = of(bh=["1", "2"], xzqh=["370102001", "370103001"])
    assert (found.contract.scope, found.contract.level) == ("xzqh", "city")
    found = of(bh=["1", "2"], xzqh=["370102001", "110101001"])
    assert found.contract.level == "nation"


def test_without_division_codes_the_key_stands_in_and_it_is_asked() -> None:
    found = of(bh=["1", "2"])
    assert found.contract.scope == "bh"
    assert "no field holds division codes" in asked(found, "contract.scope")


def test_personal_information_is_found_by_name_format_and_value() -> None:
    found = of(
        bh=list("1234"), 姓名=list("abcd"), what=CITIZENS, other=["13805310001"] * 4,
        csrq=["1990-01-01"] * 4, hjdz=["x", "y", "z", "z"], zt=["1", "2", "1", "1"],
    )  # fmt: skip
    assert found.contract.personal == {
        "name": "null", "what": "last4", "other": "last4", "csrq": "year", "hjdz": "null",
    }  # fmt: skip
    assert found.contract.classification == "important"


def test_a_comment_tells_of_personal_information_too() -> None:
    columns = (
        Column(name="bh", values=("1", "2")),
        Column(name="owner_id", values=tuple(CITIZENS[:2]), comment="身份证号"),
        Column(name="c7", values=("x", "y"), comment="家庭住址"),
    )
    found = draft(Sample(origin="", columns=columns, rows=2), "permit").contract
    assert found.personal == {"owner_id": "last4", "c7": "null"}
    assert found.shape_of("owner_id") == String(format="citizen-number")


def test_nothing_personal_is_asked_about_too() -> None:
    assert "is there none" in asked(of(bh=["1", "2"]), "contract.personal")


def test_values_of_personal_fields_are_not_in_the_module() -> None:
    names = ["欧阳娜娜娜", "司马相如如"] * 20
    found = of(
        bh=[str(at) for at in range(40)],
        xm=names,
        dz=["某街1号", "某街2号"] * 20,
        tel=["13805310001", "13805310002"] * 20,
    )
    text = source_text(found.contract, origin="", questions=found.questions)
    assert not any(value in text for value in ("欧阳", "司马", "某街", "138053"))


def test_records_in_records_are_looked_into() -> None:
    records = (
        b'[{"bh": "1", "owner": {"xm": "a", "tags": ["x"]}}, {"bh": "2", "owner": {"xm": "b"}}]'
    )
    found = draft(json_sample(records, "x.json"), "permit")
    owner = found.contract.shape_of("owner")
    assert isinstance(owner, Object)
    assert [(field.name, field.required) for field in owner.fields] == [
        ("xm", True),
        ("tags", False),
    ]


def test_columns_that_need_another_name_are_mapped() -> None:
    found = draft(csv_sample("编号,姓名,class\n1,a,b\n".encode(), "x.csv"), "permit")
    assert found.columns == {"number": "编号", "name": "姓名", "class_": "class"}


def test_a_subject_that_cannot_be_is_refused() -> None:
    with pytest.raises(WrongContract, match="a name such as"):
        draft(csv_sample(b"a\n1\n", "x.csv"), "No Subject")


def test_a_contract_from_another_description_is_renamed_and_asked_about() -> None:
    found = of_contract(CONTRACTS["division.v1"], "place", "x.schema.json")
    assert found.contract.subject == "place"
    assert "contract.personal" in found.questions


cells = st.one_of(
    st.none(), st.sampled_from([*NASTY, *CITIZENS, *CREDITS, *DIVISIONS, "13805310001", "2024/5/1", "1.50", "true", "0012"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers().map(str), st.dates().map(str),
)  # fmt: skip
json_values = st.recursive(
    st.one_of(cells, st.booleans(), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "名", "xm", 'q"']), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
headers = st.lists(
    st.one_of(st.sampled_from(["xm", "姓名", "sfzh", "bh", "xzqh", "str", "class", *NASTY]), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)),
    min_size=1, max_size=6, unique=True,
)  # fmt: skip


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    names = draw(headers)
    count = draw(st.integers(0, 6))
    value = draw(st.sampled_from([cells, json_values]))
    columns = tuple(
        Column(
            name=name, values=tuple(draw(value) for _ in range(count)), comment=draw(st.sampled_from(["", *NASTY, "说明"])),
            nullable=draw(st.sampled_from([None, True, False])), unique=draw(st.booleans()),
        )
        for name in names
    )  # fmt: skip
    return Sample(
        origin=draw(st.sampled_from(NASTY)), columns=columns, rows=count, live=draw(st.booleans()),
        comment=draw(st.sampled_from(["", *NASTY])),
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(samples())
def test_any_sample_becomes_a_module_that_is_its_draft(sample: Sample) -> None:
    found = draft(sample, "permit")
    examine(found.contract)
    Checker(found.contract)
    with TemporaryDirectory() as folder:
        assert imported(found, Path(folder)) == orderly(found.contract)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=30))
def test_a_draft_from_a_live_table_takes_the_rows_it_was_made_from(rows: list[list[Any]]) -> None:
    keyed = [[str(at), "370102001", *row] for at, row in enumerate(rows)]
    columns = tuple(
        Column(name=name, values=tuple(row[at] for row in keyed), shape=String(), nullable=at > 1)
        for at, name in enumerate(["bh", "xzqh", "a", "b", "c"])
    )
    found = draft(Sample(origin="", columns=columns, rows=len(keyed), live=True), "permit")
    checker = Checker(found.contract)
    for row in keyed:
        if not any(
            "no " in question for name in "abc" for question in found.questions.get(name, ())
        ):
            checker.check(dict(zip(["bh", "xzqh", "a", "b", "c"], row, strict=True)))


def test_a_sample_of_too_many_columns_is_refused() -> None:
    with pytest.raises(WrongSample, match="at most 1000"):
        csv_sample((",".join(f"c{at}" for at in range(1001)) + "\n").encode(), "x.csv")
