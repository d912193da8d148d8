"""A record that breaks its contract is named by path and rule, never by its value."""

from typing import Any

import msgspec
import pytest

from contracts.check import Checker, Rejected
from contracts.identifiers import citizen_check
from contracts.shape import Field, Integer, Number, String
from contracts.subjects import CONTRACTS
from contracts.text import Text

RESIDENT = Checker(CONTRACTS["resident.v2"])
NUMBER = "37010219900307451" + citizen_check("37010219900307451")
ROW: dict[str, Any] = {
    "id_number": NUMBER,
    "name": "张三",
    "sex": "1",
    "birth_date": "1990-03-07",
    "nationality": "01",
    "division_code": "370102001",
    "address_detail": "解放路1号",
    "household_no": "370102001",
    "relation": "head",
    "status": "active",
    "registered_at": "2024-01-01 02:00:00Z",
    "phone": None,
}


def rejected(**change: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        RESIDENT.check({**ROW, **change})
    return caught.value


def test_a_right_record_gives_key_scope_and_json() -> None:
    found = RESIDENT.check(ROW)
    assert (found.key, found.scope) == (NUMBER, "370102001")
    assert msgspec.json.decode(found.value)["registered_at"] == "2024-01-01T02:00:00Z"
    record: Any = RESIDENT.decode(found.value)
    assert record.name == "张三"


@pytest.mark.parametrize(
    ("change", "path", "rule"),
    [
        (
            {"id_number": NUMBER[:17] + ("0" if NUMBER[17] != "0" else "1")},
            "$.id_number",
            "check-digit",
        ),
        ({"id_number": "3701021990"}, "$.id_number", "shape"),
        ({"birth_date": "1990-13-07"}, "$.birth_date", "format"),
        ({"division_code": "历下"}, "$.division_code", "pattern"),
        ({"sex": "7"}, "$.sex", "enum"),
        ({"name": None}, "$.name", "type"),
        ({"name": ""}, "$.name", "length"),
        ({"registered_at": "2024-01-01 02:00:00"}, "$.registered_at", "type"),
        ({"surname": "张"}, "$.surname", "unknown-field"),
    ],
)
def test_each_fault_has_its_path_and_rule(change: dict[str, Any], path: str, rule: str) -> None:
    found = rejected(**change)
    assert (found.path, found.rule) == (path, rule)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Rejected) as caught:
        RESIDENT.check({name: value for name, value in ROW.items() if name != "status"})
    assert (caught.value.path, caught.value.rule) == ("$.status", "required")


def test_the_message_does_not_repeat_what_it_is_about() -> None:
    wrong = NUMBER[:17] + ("0" if NUMBER[17] != "0" else "1")
    assert wrong not in str(rejected(id_number=wrong))
    assert "男" not in str(rejected(sex="男"))


def test_numbers_may_come_as_text_and_keep_every_digit() -> None:
    licence = Checker(CONTRACTS["business_licence.v1"])
    row = {
        "credit_code": "91350100M000100Y43", "company_name": "某某公司", "kind": "company",
        "legal_person": "张三", "legal_person_id": NUMBER, "registered_capital": "1234567.10",
        "established": "2001-02-03", "valid_until": None, "business_scope": "餐饮服务",
        "division_code": "370102001", "address": "解放路", "status": "valid",
        "issued_at": "2024-01-01T10:00:00+08:00",
    }  # fmt: skip
    assert msgspec.json.decode(licence.check(row).value)["registered_capital"] == "1234567.10"


def test_bytes_that_are_no_record_are_refused() -> None:
    for value in (b"{", b"[]", b'{"name": 1}'):
        with pytest.raises(Rejected):
            RESIDENT.decode(value)


def whole() -> Checker:
    count = Field(name="count", title=Text("数", "Count"), shape=Integer(nullable=True))
    size = Field(name="size", title=Text("量", "Size"), shape=Number(nullable=True))
    code = Field(
        name="code", title=Text("码", "Code"),
        shape=String(pattern="^[0-9]{2,6}$", format="division-code"),
    )  # fmt: skip
    return Checker(
        msgspec.structs.replace(
            CONTRACTS["division.v1"],
            key="code",
            scope="code",
            fields=(code, count, size),
            rules=(),
            searchable=(),
            personal={},
        )
    )


@pytest.mark.parametrize(
    ("text", "count"), [("1.0", 1), ("1e2", 100), ("-0.0", 0), ("4503599627370496.0", 2**52)]
)
def test_a_whole_number_may_be_written_as_a_fraction(text: str, count: int) -> None:
    value = f'{{"code":"37","count":{text},"size":1.5}}'.encode()
    assert whole().accept(value).value == f'{{"code":"37","count":{count},"size":1.5}}'.encode()


@pytest.mark.parametrize(
    "rest",
    [
        '"count":1.5,"size":1', '"count":1.0,"size":1e999', '"count":1.0,"size":NaN',
        '"count":1e999,"size":1', '"count":1e30,"size":1', '"count":1.0,"size":1,"size":1',
        '"count":1.0,"size":"\\ud800"', '"count":1.0,"size":' + "9" * 5000, '"count":1.0',
        '"count":1.0,"size":' + "[" * 100_000, '"count":1.0,"size":"\n',
    ],
)  # fmt: skip
def test_a_fraction_and_what_stands_behind_a_whole_number_are_refused(rest: str) -> None:
    with pytest.raises(Rejected):
        whole().accept(f'{{"code":"37",{rest}}}'.encode())


def test_a_pattern_of_the_contract_stands_beside_that_of_the_format() -> None:
    whole().accept(b'{"code":"3701","count":1,"size":1}')
    for code in ("370", "370102001"):
        with pytest.raises(Rejected, match="code"):
            whole().accept(f'{{"code":"{code}","count":1,"size":1}}'.encode())
