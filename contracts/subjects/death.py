"""死亡: deaths, and the end of a registration they bring about."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    CONDITION,
    KEPT_AFTER,
    STATISTICS,
    TRIMMED,
    BirthDate,
    CitizenNumber,
    Division,
    Name,
    Sex,
    basis,
    birth_in_number,
    not_before,
    person,
    relation,
    sex_in_number,
)
from contracts.text import Text

CertificateNumber = Annotated[
    str,
    about(
        "死亡证明编号",
        "Death certificate number",
        note=Text(
            "居民死亡医学证明（推断）书、公安机关证明或法院文书的编号，按原件填写",
            "of the medical certificate, of the police's or the court's paper, as it stands there",
        ),
        min_length=1,
        max_length=60,
        pattern=TRIMMED,
    ),
]


class DeathV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A death. What it was caused by stays with the health authority."""

    id_number: CitizenNumber
    name: Name
    sex: Sex
    birth_date: BirthDate
    died_on: Annotated[datetime.date, about("死亡日期", "Died on")]
    how: Annotated[
        Literal["natural", "unnatural", "declared"],
        about(
            "死亡类别",
            "How",
            labels={
                "natural": Text("正常死亡", "Natural"),
                "unnatural": Text("非正常死亡", "Not natural"),
                "declared": Text("法院宣告死亡", "Declared dead by a court"),
            },
        ),
    ]
    place: Annotated[
        Literal["hospital", "way", "home", "care_home", "other", "unknown"],
        about(
            "死亡地点类别",
            "Place",
            labels={
                "hospital": Text("医疗卫生机构", "Medical institution"),
                "way": Text("来院途中", "On the way to one"),
                "home": Text("家中", "At home"),
                "care_home": Text("养老服务机构", "Home for the aged"),
                "other": Text("其他场所", "Elsewhere"),
                "unknown": Text("不详", "Not known"),
            },
        ),
    ]
    certificate_no: CertificateNumber | None = None
    issued_on: Annotated[datetime.date | None, about("证明签发日期", "Certificate issued on")] = (
        None
    )
    division_code: Division
    reported_by: Annotated[str, person("申报人姓名", "Reported by")] | None = None
    reporter_relation: Annotated[
        str | None, relation("申报人与死者关系", "Reporter's relation to the deceased")
    ] = None
    cremated_on: Annotated[datetime.date | None, about("火化日期", "Cremated on")] = None
    cancelled_on: Annotated[
        datetime.date | None, about("户口注销日期", "Registration cancelled on")
    ] = None


V1 = define(
    DeathV1,
    subject="death",
    major=1,
    title=Text("死亡信息", "Deaths"),
    description=Text(
        "死亡的日期、证明、申报和户口注销；不含死因",
        "Date, certificate and report of a death and the end of the registration; not the cause",
    ),
    catalogue="101005/000001",
    owner=Text("卫生健康部门", "Health"),
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis("中华人民共和国户口登记条例", "Regulations on Household Registration"),
    condition=CONDITION,
    purposes=(
        Text("注销户口", "ending the household registration"),
        Text("停发社会保险待遇和补贴", "ending pensions and subsidies"),
        Text("继承等事项核验", "verification for inheritance"),
        STATISTICS,
    ),
    freshness=5.0,
    retention=KEPT_AFTER,
    personal={
        "id_number": "last4",
        "name": "null",
        "sex": "null",
        "birth_date": "year",
        "died_on": "year",
        "how": "null",
        "place": "null",
        "certificate_no": "last4",
        "reported_by": "null",
        "reporter_relation": "null",
        "cremated_on": "null",
    },
    rules=(
        birth_in_number(),
        sex_in_number(),
        not_before(
            "died-after-birth",
            "died_on",
            "birth_date",
            "死亡日期不应早于出生日期",
            "The death must not be before the birth",
        ),
        not_before(
            "certificate-after-death",
            "issued_on",
            "died_on",
            "证明签发日期不应早于死亡日期",
            "The certificate must not be issued before the death",
        ),
        not_before(
            "cremated-after-death",
            "cremated_on",
            "died_on",
            "火化日期不应早于死亡日期",
            "The cremation must not be before the death",
        ),
        not_before(
            "cancelled-after-death",
            "cancelled_on",
            "died_on",
            "户口注销日期不应早于死亡日期",
            "The registration must not end before the death",
        ),
        Rule(
            "reporter-named",
            "reporter_relation == null || reported_by != null",
            Text("填写关系的，应填写申报人姓名", "Whose relation is given must be named"),
            "$.reported_by",
        ),
    ),
)
