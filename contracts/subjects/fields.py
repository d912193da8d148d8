"""Fields and promises that several subjects have in common.

Catalogue numbers are built as the guide of 2017 (政务信息资源目录编制指南) asks: a digit for the class
(1 basic, 2 by theme), two for the item (101 population, 102 legal persons, 103 natural resources and
space; 203 social security), three for the order within it, and a running number. The numbers themselves
are placeholders until the catalogue's administrator gives an owner its own.
"""

import datetime
from typing import Annotated

import msgspec

from contracts.codes import FAMILY_RELATION, NATIONALITY, SEX
from contracts.define import about
from contracts.model import Rule
from contracts.text import Text

#: Neither begins nor ends with a blank.
TRIMMED = r"^\S(.*\S)?$"

_CITIZEN_NOTE = Text(
    "18位，末位可为大写X。港澳台居民居住证和2023版外国人永久居留身份证的号码同样适用",
    "18 characters, the last may be a capital X. Numbers on residence permits of Hong Kong, Macao and"
    " Taiwan residents and on foreigners' permanent residence cards of 2023 are of the same form",
)


def citizen(zh: str, en: str) -> msgspec.Meta:
    """A citizen number."""
    return about(zh, en, note=_CITIZEN_NOTE, format="citizen-number")


def person(zh: str, en: str, note: Text | None = None) -> msgspec.Meta:
    """A person's name."""
    return about(zh, en, note=note, min_length=1, max_length=50, pattern=TRIMMED)


def organisation(zh: str, en: str) -> msgspec.Meta:
    """An organisation's full name."""
    return about(zh, en, min_length=2, max_length=120, pattern=TRIMMED)


#: A relation's number is the insurer's own: letters, digits and hyphens.
RELATION_NUMBER = r"^[0-9A-Za-z-]{4,40}$"
#: Who pays a person's insurance, where it is an employer.
EmployerCode = Annotated[
    str, about("参保单位统一社会信用代码", "Employer's credit code", format="credit-code")
]
EmployerName = Annotated[str, organisation("参保单位名称", "Employer")]


def document(zh: str, en: str) -> msgspec.Meta:
    """What identifies a person who has no citizen number."""
    return about(
        zh,
        en,
        note=Text(
            "没有公民身份号码的人填写，例如护照号码；证件种类写在前面，如“护照 E12345678”",
            "for who has no citizen number, such as a passport's; kind first: `passport E12345678`",
        ),
        min_length=1,
        max_length=60,
        pattern=TRIMMED,
    )


def relation(zh: str, en: str) -> msgspec.Meta:
    """A relation within the family, two digits."""
    return about(zh, en, codes=FAMILY_RELATION)


def division(zh: str, en: str) -> msgspec.Meta:
    """A county, a township or a village."""
    return about(
        zh,
        en,
        note=Text(
            "县级6位，乡级9位，村级12位",
            "6 digits for a county, 9 for a township, 12 for a village",
        ),
        pattern=r"^\d{6}(\d{3}(\d{3})?)?$",
    )


def month(zh: str, en: str) -> msgspec.Meta:
    """A month, ``2026-01``."""
    note = Text("年-月，如2026-01", "year and month, `2026-01`")
    return about(zh, en, note=note, pattern=r"^\d{4}-(0[1-9]|1[0-2])$")


def phone(zh: str, en: str) -> msgspec.Meta:
    """A mobile number."""
    note = Text("中国大陆手机号码，11位", "mobile number in mainland China, 11 digits")
    return about(zh, en, note=note, pattern=r"^1\d{10}$")


CitizenNumber = Annotated[str, citizen("公民身份号码", "Citizen number")]
Name = Annotated[str, person("姓名", "Name")]
Sex = Annotated[str, about("性别", "Sex", codes=SEX)]
Nationality = Annotated[str, about("民族", "Nationality", codes=NATIONALITY)]
BirthDate = Annotated[datetime.date, about("出生日期", "Date of birth")]
Phone = Annotated[str, phone("联系电话", "Phone")]
Division = Annotated[str, division("所属区划", "Division")]

#: Days after which a receiver must have forgotten a person whose record, or whose grant, has ended.
KEPT_AFTER = 30

OVER_THE_COUNTER = Text("窗口办事核验", "verification at the counter")
BENEFITS = Text("待遇资格审核", "deciding on benefits")
STATISTICS = Text("统计分析", "statistics")

CONDITION = Text(
    "因依法履行职责需要，按申请批准的用途和范围使用",
    "needed for a duty by law; for the purpose and within the range that was applied for and granted",
)


def basis(zh: str, en: str) -> Text:
    """What a sharing class rests on: the regulations on sharing, and the law the data is kept by."""
    return Text(
        f"政务数据共享条例（国务院令第809号）；{zh}",
        f"Regulations on Government Data Sharing (State Council Decree 809); {en}",
    )


def birth_in_number(
    born: str = "birth_date", number: str = "id_number", *, name: str = "birth-date-in-number"
) -> Rule:
    """The date of birth is the one that the citizen number holds, where there is a number."""
    return Rule(
        name,
        f"{number} == null || birth_of({number}) == {born}",
        Text(
            "出生日期应与公民身份号码第7至14位一致",
            "The date of birth must be the one in digits 7 to 14 of the citizen number",
        ),
        f"$.{born}",
    )


def sex_in_number(number: str = "id_number") -> Rule:
    """The sex is the one that the citizen number holds, unless it is unknown or not stated."""
    return Rule(
        "sex-in-number",
        f"{number} == null || sex == '0' || sex == '9' || sex_of({number}) == sex",
        Text(
            "性别应与公民身份号码第17位一致（奇数为男，偶数为女）",
            "The sex must agree with the 17th digit of the citizen number (odd male, even female)",
        ),
        "$.sex",
    )


def not_before(name: str, later: str, earlier: str, zh: str, en: str) -> Rule:
    """``later`` is not before ``earlier``, where both are filled in. Each is a field with a date."""
    return Rule(
        name,
        f"{later} == null || {earlier} == null || {later} >= {earlier}",
        Text(zh, en),
        f"$.{later}",
    )
