"""出生: births, as their medical certificates tell them."""

import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    STATISTICS,
    Sex,
    basis,
    citizen,
    division,
    document,
    organisation,
    person,
    sex_in_number,
)
from contracts.text import Text

Weeks = Annotated[
    int, about("出生孕周", "Weeks of gestation", note=Text("满周", "full weeks"), ge=20, le=45)
]
Weight = Annotated[int, about("出生体重（克）", "Weight (g)", ge=300, le=8000)]
FatherName = Annotated[
    str,
    person(
        "父亲姓名",
        "Father's name",
        Text("未提供父亲信息的不填", "empty where the father was not told"),
    ),
]
MotherDocument = Annotated[str, document("母亲其他证件", "Mother's other document")]
FatherDocument = Annotated[str, document("父亲其他证件", "Father's other document")]


class BirthV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A birth; the child's citizen number follows once the child is registered."""

    certificate_no: Annotated[
        str,
        about(
            "出生医学证明编号",
            "Birth certificate number",
            note=Text("1位大写字母和9位数字", "a capital letter and nine digits"),
            format="birth-certificate",
        ),
    ]
    child_name: Annotated[str, person("新生儿姓名", "Child's name")]
    sex: Sex
    born_at: Annotated[
        datetime.datetime,
        about(
            "出生时间",
            "Born at",
            note=Text("精确到分", "to the minute"),
            tz=True,
        ),
    ]
    weeks: Weeks | None = None
    weight: Weight | None = None
    length: Annotated[
        Decimal | None,
        about("出生身长（厘米）", "Length (cm)", digits=3, places=1, positive=True),
    ] = None
    division_code: Annotated[str, division("出生地区划", "Division of birth")]
    place: Annotated[
        str,
        about("出生地点", "Place of birth", min_length=1, max_length=200),
    ]
    mother_name: Annotated[str, person("母亲姓名", "Mother's name")]
    mother_id_number: Annotated[
        str | None, citizen("母亲公民身份号码", "Mother's citizen number")
    ] = None
    mother_document: MotherDocument | None = None
    father_name: FatherName | None = None
    father_id_number: Annotated[
        str | None, citizen("父亲公民身份号码", "Father's citizen number")
    ] = None
    father_document: FatherDocument | None = None
    issuer: Annotated[str, organisation("签发机构", "Issued by")]
    issuer_code: Annotated[
        str | None,
        about("签发机构统一社会信用代码", "Issuer's credit code", format="credit-code"),
    ] = None
    issued_on: Annotated[datetime.date, about("签发日期", "Issued on")]
    child_id_number: Annotated[
        str | None, citizen("新生儿公民身份号码", "Child's citizen number")
    ] = None


V1 = define(
    BirthV1,
    subject="birth",
    major=1,
    title=Text("出生医学证明", "Births"),
    description=Text(
        "出生医学证明记载的新生儿、父母和签发机构",
        "What the medical certificate of birth tells: child, parents, issuer",
    ),
    catalogue="101004/000001",
    owner=Text("卫生健康部门", "Health"),
    level="province",
    key="certificate_no",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis(
        "中华人民共和国母婴保健法第二十三条", "Law on Maternal and Infant Health Care, article 23"
    ),
    condition=CONDITION,
    purposes=(
        Text("出生登记", "registration of the birth"),
        Text("新生儿参保", "insurance of the newborn"),
        OVER_THE_COUNTER,
        STATISTICS,
    ),
    freshness=5.0,
    retention=KEPT_AFTER,
    personal={
        "certificate_no": "last4",
        "child_name": "null",
        "sex": "null",
        "born_at": "year",
        "weeks": "null",
        "weight": "null",
        "length": "null",
        "place": "null",
        "mother_name": "null",
        "mother_id_number": "last4",
        "mother_document": "null",
        "father_name": "null",
        "father_id_number": "last4",
        "father_document": "null",
        "child_id_number": "last4",
    },
    searchable=("mother_id_number", "father_id_number", "child_id_number"),
    rules=(
        Rule(
            "mother-identified",
            "(mother_id_number == null) != (mother_document == null)",
            Text(
                "母亲的公民身份号码和其他证件应填写其中一项",
                "Either the mother's citizen number or her other document must be given, not both",
            ),
            "$.mother_id_number",
        ),
        Rule(
            "father-identified",
            "father_name == null ? father_id_number == null && father_document == null"
            " : (father_id_number == null) != (father_document == null)",
            Text(
                "有父亲姓名的，应填写其公民身份号码或其他证件之一；没有的都不填",
                "With the father's name goes either his citizen number or his other document; without it,"
                " neither",
            ),
            "$.father_id_number",
        ),
        Rule(
            "mother-born-before",
            "mother_id_number == null || born_at > birth_of(mother_id_number)",
            Text("母亲的出生日期应早于新生儿", "The mother must have been born before the child"),
            "$.mother_id_number",
        ),
        Rule(
            "father-born-before",
            "father_id_number == null || born_at > birth_of(father_id_number)",
            Text("父亲的出生日期应早于新生儿", "The father must have been born before the child"),
            "$.father_id_number",
        ),
        Rule(
            "birth-date-in-number",
            "child_id_number == null || birth_of(child_id_number) == day_of(born_at)",
            Text(
                "出生时间应与新生儿公民身份号码第7至14位一致",
                "The day of birth must be the one in digits 7 to 14 of the child's citizen number",
            ),
            "$.child_id_number",
        ),
        sex_in_number("child_id_number"),
        Rule(
            "issued-after-birth",
            "issued_on >= day_of(born_at)",
            Text("签发日期不应早于出生日期", "The certificate must not be issued before the birth"),
            "$.issued_on",
        ),
    ),
)
