"""社会保险参保: pensions, unemployment and work injury; medical insurance is a subject of its own."""

import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    BENEFITS,
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    RELATION_NUMBER,
    CitizenNumber,
    EmployerCode,
    EmployerName,
    Name,
    basis,
    division,
    month,
    not_before,
)
from contracts.text import Text


class SocialInsuranceV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person in one kind of insurance at one place; a person may have several."""

    relation_no: Annotated[
        str,
        about(
            "参保关系编号",
            "Relation number",
            note=Text(
                "经办机构给每人每险种编的号",
                "the insurer's number for a person in a kind of insurance",
            ),
            pattern=RELATION_NUMBER,
        ),
    ]
    id_number: CitizenNumber
    name: Name
    insurance: Annotated[
        Literal[
            "employee_pension", "public_pension", "resident_pension", "unemployment", "work_injury"
        ],
        about(
            "险种",
            "Insurance",
            labels={
                "employee_pension": Text("企业职工基本养老保险", "Basic pension, employees"),
                "public_pension": Text(
                    "机关事业单位养老保险", "Basic pension, public institutions"
                ),
                "resident_pension": Text("城乡居民基本养老保险", "Basic pension, residents"),
                "unemployment": Text("失业保险", "Unemployment"),
                "work_injury": Text("工伤保险", "Work injury"),
            },
        ),
    ]
    division_code: Annotated[str, division("参保地区划", "Division of the insurance")]
    employer_code: EmployerCode | None = None
    employer_name: EmployerName | None = None
    joined_on: Annotated[datetime.date, about("参保日期", "Joined on")]
    status: Annotated[
        Literal["contributing", "paused", "receiving", "ended"],
        about(
            "参保状态",
            "Status",
            labels={
                "contributing": Text("参保缴费", "Contributing"),
                "paused": Text("暂停缴费", "Paused"),
                "receiving": Text("享受待遇", "Receiving benefits"),
                "ended": Text("终止参保", "Ended"),
            },
        ),
    ]
    contribution_base: Annotated[
        Decimal | None,
        about(
            "月缴费基数（元）",
            "Monthly contribution base (yuan)",
            digits=10,
            places=2,
            positive=True,
        ),
    ] = None
    paid_months: Annotated[
        int,
        about(
            "累计缴费月数",
            "Months paid",
            note=Text("含视同缴费月数", "with those that count as paid"),
            ge=0,
            le=1200,
        ),
    ]
    paid_until: Annotated[str, month("缴费至", "Paid until")] | None = None
    benefits_from: Annotated[datetime.date | None, about("待遇起始日期", "Benefits from")] = None
    ended_on: Annotated[datetime.date | None, about("终止日期", "Ended on")] = None


V1 = define(
    SocialInsuranceV1,
    subject="social_insurance",
    major=1,
    title=Text("社会保险参保信息", "Social insurance"),
    description=Text(
        "养老、失业、工伤保险的参保关系、缴费和待遇状态",
        "Pension, unemployment and work injury insurance: relation, contributions, state of benefits",
    ),
    catalogue="203001/000001",
    owner=Text("人力资源社会保障部门", "Human resources and social security"),
    level="province",
    key="relation_no",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis("中华人民共和国社会保险法", "Social Insurance Law"),
    condition=CONDITION,
    purposes=(OVER_THE_COUNTER, BENEFITS),
    freshness=5.0,
    retention=KEPT_AFTER,
    personal={
        "relation_no": "last4",
        "id_number": "last4",
        "name": "null",
        "employer_code": "null",
        "employer_name": "null",
        "contribution_base": "null",
        "paid_months": "null",
        "benefits_from": "year",
    },
    searchable=("id_number", "employer_code"),
    rules=(
        Rule(
            "joined-after-birth",
            "joined_on >= birth_of(id_number)",
            Text("参保日期不应早于出生日期", "Nobody can be insured before being born"),
            "$.joined_on",
        ),
        Rule(
            "employer-named",
            "employer_code == null || employer_name != null",
            Text("填写单位代码的，应填写单位名称", "An employer with a code must be named"),
            "$.employer_name",
        ),
        Rule(
            "residents-have-no-employer",
            "insurance != 'resident_pension' || employer_name == null",
            Text("城乡居民养老保险不填参保单位", "The residents' pension knows no employer"),
            "$.employer_name",
        ),
        Rule(
            "receiving-since",
            "status != 'receiving' || benefits_from != null",
            Text("享受待遇的，应填写待遇起始日期", "Who receives benefits does so since a date"),
            "$.benefits_from",
        ),
        not_before(
            "benefits-after-joined",
            "benefits_from",
            "joined_on",
            "待遇起始日期不应早于参保日期",
            "Benefits must not begin before the insurance",
        ),
        Rule(
            "ended-when-over",
            "(status == 'ended') == (ended_on != null)",
            Text(
                "终止参保的应填写终止日期，其他的不填",
                "The end is for what has ended, and for all of it",
            ),
            "$.ended_on",
        ),
        not_before(
            "ended-after-joined",
            "ended_on",
            "joined_on",
            "终止日期不应早于参保日期",
            "The insurance must not end before it begins",
        ),
    ),
)
