"""Code tables are whole, and say what the standards say."""

import pytest

from contracts import codes
from contracts.codes import (
    DISABILITY,
    FAMILY_RELATION,
    MARITAL_STATUS,
    NATIONALITY,
    SEX,
    CodeTable,
    table,
)
from contracts.subjects import medical_insurance, real_estate

TABLES = {
    name: found
    for module in (codes, medical_insurance, real_estate)
    for name, found in vars(module).items()
    if isinstance(found, CodeTable)
}


def test_there_are_tables() -> None:
    assert {"SEX", "NATIONALITY", "FAMILY_RELATION", "MEDICAL_INSURANCE", "ESTATE_RIGHT"} <= set(
        TABLES
    )


@pytest.mark.parametrize("found", TABLES.values(), ids=TABLES)
def test_each_code_has_one_meaning_in_both_languages(found: CodeTable) -> None:
    for language in ("zh", "en"):
        meanings = [getattr(meaning, language) for meaning in found.codes.values()]
        assert len(set(meanings)) == len(meanings)
        assert all(meaning.strip() == meaning != "" for meaning in meanings)
    lengths = {len(code) for code in found.codes}
    assert len(lengths) == 1 or found is real_estate.ESTATE_RIGHT


def test_the_tables_have_as_many_codes_as_their_standards() -> None:
    assert list(SEX.codes) == ["0", "1", "2", "9"]
    assert list(NATIONALITY.codes) == [*(f"{code:02}" for code in range(1, 57)), "97", "98"]
    assert list(MARITAL_STATUS.codes) == ["10", "20", "21", "22", "23", "30", "40", "90"]
    assert list(DISABILITY.codes) == list("1234567")
    tens = [code for code in FAMILY_RELATION.codes if code.endswith("0")]
    assert tens == ["10", "20", "30", "40", "50", "60", "70", "80", "90"]
    assert not {"00", "03", "98"} & set(FAMILY_RELATION.codes)
    assert len(FAMILY_RELATION.codes) == 84


@pytest.mark.parametrize(
    ("found", "code", "chinese"),
    [
        (NATIONALITY, "01", "汉族"), (NATIONALITY, "11", "满族"), (NATIONALITY, "23", "高山族"),
        (NATIONALITY, "56", "基诺族"), (MARITAL_STATUS, "30", "丧偶"),
        (FAMILY_RELATION, "02", "户主"), (FAMILY_RELATION, "41", "孙子"),
        (FAMILY_RELATION, "84", "婶母"), (DISABILITY, "4", "肢体残疾"),
        (medical_insurance.MEDICAL_INSURANCE, "310", "职工基本医疗保险"),
        (medical_insurance.MEDICAL_INSURANCE, "390", "城乡居民基本医疗保险"),
    ],
)  # fmt: skip
def test_known_codes_mean_what_they_should(found: CodeTable, code: str, chinese: str) -> None:
    assert found.codes[code].zh == chinese


def test_a_table_with_a_code_twice_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="got '1' twice"):
        table("", "表", "Table", "1 一 | One\n1 二 | Two")
