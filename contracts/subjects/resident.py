"""人口基本信息: residents, as the register keeps them."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    STATISTICS,
    BirthDate,
    CitizenNumber,
    Division,
    Name,
    Nationality,
    Phone,
    Sex,
    basis,
    birth_in_number,
    sex_in_number,
)
from contracts.text import Text

Moment = Annotated[datetime.datetime, about("登记时间", "Registered at", tz=True)]
Status = Annotated[
    Literal["active", "moved_out", "deceased", "cancelled"],
    about(
        "状态",
        "Status",
        labels={
            "active": Text("在册", "On the register"),
            "moved_out": Text("已迁出", "Moved out"),
            "deceased": Text("已死亡", "Deceased"),
            "cancelled": Text("已注销", "Cancelled"),
        },
    ),
]
HouseholdNumber = Annotated[
    str,
    about(
        "户号",
        "Household number",
        note=Text(
            "不知道户号时不填，例如由旧版转换而来",
            "empty when not known, as after a step up from v1",
        ),
        pattern=r"^\d{9}$",
    ),
]
Relation = Annotated[
    Literal["head", "spouse", "child", "parent", "other"],
    about(
        "与户主关系",
        "Relation to head",
        labels={
            "head": Text("户主", "Head"),
            "spouse": Text("配偶", "Spouse"),
            "child": Text("子女", "Child"),
            "parent": Text("父母", "Parent"),
            "other": Text("其他", "Other"),
        },
    ),
]


class ResidentV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A resident with the address in one line."""

    id_number: CitizenNumber
    name: Name
    sex: Sex
    birth_date: BirthDate
    nationality: Nationality
    division_code: Division
    address: Annotated[str, about("住址", "Address", max_length=200)]
    registered_at: Moment


class ResidentV2(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A resident with household, status and the address below the division."""

    id_number: CitizenNumber
    name: Name
    sex: Sex
    birth_date: BirthDate
    nationality: Nationality
    division_code: Division
    address_detail: Annotated[str, about("街路巷门牌", "Street and number", max_length=200)]
    household_no: HouseholdNumber | None = None
    relation: Relation | None = None
    status: Status
    registered_at: Moment
    phone: Phone | None = None


def up(old: ResidentV1) -> ResidentV2 | None:
    """A v1 record as v2. v1 holds only residents on the register, and knows neither household nor phone,
    which therefore stay empty; it never answers None."""
    return ResidentV2(
        id_number=old.id_number,
        name=old.name,
        sex=old.sex,
        birth_date=old.birth_date,
        nationality=old.nationality,
        division_code=old.division_code,
        address_detail=old.address,
        status="active",
        registered_at=old.registered_at,
    )


def down(new: ResidentV2) -> ResidentV1 | None:
    """A v2 record as v1; None for one that v1's register would no longer hold."""
    if new.status != "active":
        return None
    return ResidentV1(
        id_number=new.id_number,
        name=new.name,
        sex=new.sex,
        birth_date=new.birth_date,
        nationality=new.nationality,
        division_code=new.division_code,
        address=new.address_detail,
        registered_at=new.registered_at,
    )


_RULES = (
    birth_in_number(),
    sex_in_number(),
    Rule(
        "registered-after-birth",
        "day_of(registered_at) >= birth_date",
        Text("登记时间不应早于出生日期", "The registration must not be before the birth"),
        "$.registered_at",
    ),
)

V1 = define(
    ResidentV1,
    subject="resident",
    major=1,
    title=Text("人口基本信息（旧版）", "Residents (former version)"),
    description=Text(
        "在册人口，住址写在一行", "Residents on the register, with the address in one line"
    ),
    catalogue="101001/000001",
    owner=Text("公安部门", "Public security"),
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis(
        "中华人民共和国户口登记条例；中华人民共和国居民身份证法",
        "Regulations on Household Registration; Resident Identity Card Law",
    ),
    condition=CONDITION,
    purposes=(OVER_THE_COUNTER, STATISTICS),
    freshness=2.0,
    retention=KEPT_AFTER,
    personal={
        "id_number": "last4",
        "name": "null",
        "sex": "null",
        "birth_date": "year",
        "nationality": "null",
        "address": "null",
    },
    rules=_RULES,
)

V2 = define(
    ResidentV2,
    subject="resident",
    major=2,
    title=Text("人口基本信息", "Residents"),
    description=Text(
        "户籍人口的身份、住址、所在户和状态",
        "Who is registered: identity, address, household and status",
    ),
    catalogue="101001/000002",
    owner=V1.owner,
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=V1.basis,
    condition=CONDITION,
    purposes=V1.purposes,
    freshness=2.0,
    retention=KEPT_AFTER,
    personal={
        "id_number": "last4",
        "name": "null",
        "sex": "null",
        "birth_date": "year",
        "nationality": "null",
        "address_detail": "null",
        "household_no": "last4",
        "relation": "null",
        "phone": "last4",
    },
    searchable=("household_no",),
    rules=(
        *_RULES,
        Rule(
            "relation-within-household",
            "(household_no == null) == (relation == null)",
            Text(
                "户号和与户主关系应同时填写或同时不填",
                "Household number and relation to its head must be given together or not at all",
            ),
            "$.relation",
        ),
    ),
)
