"""残疾人证: disability certificates."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.codes import DISABILITY, DISABILITY_GRADE
from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    BENEFITS,
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    BirthDate,
    CitizenNumber,
    Division,
    Name,
    Phone,
    Sex,
    basis,
    birth_in_number,
    not_before,
    organisation,
    person,
    phone,
    relation,
    sex_in_number,
)
from contracts.text import Text

Disability = Annotated[str, about("残疾类别", "Disability", codes=DISABILITY)]
GuardianPhone = Annotated[str, phone("监护人联系电话", "Guardian's phone")]


class DisabilityV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate, and what it certifies."""

    certificate_no: Annotated[
        str,
        about(
            "残疾人证号",
            "Certificate number",
            note=Text(
                "公民身份号码加1位类别、1位等级，共20位；遗失补发的再加B1、B2……",
                "the citizen number, a digit for the disability, one for its grade; B1, B2 … are added"
                " when it was issued again after a loss",
            ),
            format="disability-certificate",
        ),
    ]
    id_number: CitizenNumber
    name: Name
    sex: Sex
    birth_date: BirthDate
    disability: Disability
    grade: Annotated[str, about("残疾等级", "Grade", codes=DISABILITY_GRADE)]
    combined: Annotated[
        tuple[Disability, ...],
        about(
            "多重残疾包含的类别",
            "Disabilities combined",
            note=Text("多重残疾的填写，至少两类", "for multiple disabilities, at least two"),
            max_length=6,
        ),
    ] = ()
    division_code: Division
    issued_by: Annotated[str, organisation("批准残联", "Issued by")]
    issued_on: Annotated[datetime.date, about("签发日期", "Issued on")]
    valid_until: Annotated[
        datetime.date | None,
        about("有效期至", "Valid until", note=Text("长期的不填", "empty for good")),
    ] = None
    guardian_name: Annotated[str, person("监护人姓名", "Guardian")] | None = None
    guardian_relation: Annotated[
        str | None, relation("监护人与本人关系", "Guardian's relation to the person")
    ] = None
    guardian_phone: GuardianPhone | None = None
    phone: Phone | None = None
    status: Annotated[
        Literal["valid", "expired", "cancelled"],
        about(
            "状态",
            "Status",
            labels={
                "valid": Text("有效", "Valid"),
                "expired": Text("已过期", "Expired"),
                "cancelled": Text("已注销", "Cancelled"),
            },
        ),
    ]


V1 = define(
    DisabilityV1,
    subject="disability",
    major=1,
    title=Text("残疾人证信息", "Disability certificates"),
    description=Text(
        "残疾人证的持证人、类别、等级和有效期",
        "Holder, disability, grade and validity of a certificate",
    ),
    catalogue="203003/000001",
    owner=Text("残疾人联合会", "Disabled Persons' Federation"),
    level="county",
    key="certificate_no",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis(
        "中华人民共和国残疾人保障法；残疾人证管理办法",
        "Law on the Protection of Disabled Persons; Measures for the Administration of Disability"
        " Certificates",
    ),
    condition=CONDITION,
    purposes=(
        OVER_THE_COUNTER,
        BENEFITS,
        Text("税费减免和公共服务优待", "reduced taxes, fees and fares"),
    ),
    freshness=5.0,
    retention=KEPT_AFTER,
    personal={
        "certificate_no": "null",
        "id_number": "last4",
        "name": "null",
        "sex": "null",
        "birth_date": "year",
        "disability": "null",
        "grade": "null",
        "combined": "null",
        "guardian_name": "null",
        "guardian_relation": "null",
        "guardian_phone": "last4",
        "phone": "last4",
    },
    searchable=("id_number",),
    rules=(
        birth_in_number(),
        sex_in_number(),
        Rule(
            "number-in-certificate",
            "certificate_no.startsWith(id_number)",
            Text(
                "残疾人证号前18位应为公民身份号码",
                "The certificate's number must begin with the citizen number",
            ),
            "$.certificate_no",
        ),
        Rule(
            "disability-in-certificate",
            "part(certificate_no, 18, 20) == disability + grade",
            Text(
                "残疾人证号第19、20位应与残疾类别和等级一致",
                "The 19th and 20th digit of the certificate's number must be disability and grade",
            ),
            "$.disability",
        ),
        Rule(
            "combined-when-multiple",
            "disability == '7' ? size(combined) >= 2 : size(combined) == 0",
            Text(
                "多重残疾应填写至少两个类别，其他的不填",
                "Multiple disabilities combine at least two, others none",
            ),
            "$.combined",
        ),
        Rule(
            "combined-of-single-ones",
            "!('7' in combined)",
            Text(
                "包含的类别不能是多重残疾", "Multiple disabilities are not combined of themselves"
            ),
            "$.combined",
        ),
        not_before(
            "issued-after-birth",
            "issued_on",
            "birth_date",
            "签发日期不应早于出生日期",
            "The certificate must not be issued before the birth",
        ),
        Rule(
            "valid-after-issued",
            "valid_until == null || valid_until > issued_on",
            Text("有效期应晚于签发日期", "The certificate must be valid beyond its issue"),
            "$.valid_until",
        ),
        Rule(
            "guardian-named",
            "(guardian_relation == null && guardian_phone == null) || guardian_name != null",
            Text(
                "填写监护人关系或电话的，应填写姓名",
                "A guardian with relation or phone must be named",
            ),
            "$.guardian_name",
        ),
    ),
)
