"""户籍: households, as the register keeps them."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    CitizenNumber,
    Division,
    Name,
    basis,
    citizen,
    person,
    relation,
)
from contracts.text import Text


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the household beside its head."""

    id_number: CitizenNumber
    name: Name
    relation: Annotated[str, relation("与户主关系", "Relation to head")]


class HouseholdV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A household: its head, and who else is in it. Who they are is in ``resident``."""

    household_no: Annotated[
        str,
        about(
            "户号",
            "Household number",
            note=Text("与人口基本信息的户号相同", "the same as in `resident`"),
            pattern=r"^\d{9}$",
        ),
    ]
    kind: Annotated[
        Literal["family", "collective"],
        about(
            "户别",
            "Kind",
            labels={
                "family": Text("家庭户", "Family"),
                "collective": Text("集体户", "Collective, as of a school or an employer"),
            },
        ),
    ]
    head_id_number: Annotated[str | None, citizen("户主公民身份号码", "Head's citizen number")] = (
        None
    )
    head_name: Annotated[str, person("户主姓名", "Head's name")] | None = None
    members: Annotated[
        tuple[Member, ...],
        about(
            "其他成员",
            "Other members",
            note=Text("户主以外的成员", "all but the head"),
            max_length=1000,
        ),
    ] = ()
    division_code: Division
    address: Annotated[str, about("住址", "Address", min_length=1, max_length=200)]
    status: Annotated[
        Literal["active", "moved_out", "cancelled"],
        about(
            "状态",
            "Status",
            labels={
                "active": Text("在册", "On the register"),
                "moved_out": Text("整户迁出", "Moved out as a whole"),
                "cancelled": Text("已销户", "Cancelled"),
            },
        ),
    ]
    established_on: Annotated[datetime.date, about("立户日期", "Established on")]
    closed_on: Annotated[datetime.date | None, about("销户或迁出日期", "Closed on")] = None


V1 = define(
    HouseholdV1,
    subject="household",
    major=1,
    title=Text("户籍信息", "Households"),
    description=Text(
        "家庭户和集体户的户主、成员和住址", "Families and collectives: head, members, address"
    ),
    catalogue="101002/000001",
    owner=Text("公安部门", "Public security"),
    level="province",
    key="household_no",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis("中华人民共和国户口登记条例", "Regulations on Household Registration"),
    condition=CONDITION,
    purposes=(
        OVER_THE_COUNTER,
        Text("入学、公租房等资格审核", "admission to schools, public housing"),
    ),
    freshness=5.0,
    retention=KEPT_AFTER,
    personal={
        "household_no": "last4",
        "head_id_number": "last4",
        "head_name": "null",
        "members": "null",
        "address": "null",
    },
    searchable=("head_id_number",),
    rules=(
        Rule(
            "family-has-head",
            "kind != 'family' || (head_id_number != null && head_name != null)",
            Text("家庭户应填写户主的姓名和号码", "A family must have a head with name and number"),
            "$.head_id_number",
        ),
        Rule(
            "closed-when-not-active",
            "(status == 'active') == (closed_on == null)",
            Text(
                "在册的户不填销户或迁出日期，其他状态应填写",
                "The closing date is for a household that is not active, and for each such one",
            ),
            "$.closed_on",
        ),
        Rule(
            "closed-after-established",
            "closed_on == null || closed_on >= established_on",
            Text(
                "销户或迁出日期不应早于立户日期",
                "A household must not close before it is established",
            ),
            "$.closed_on",
        ),
    ),
)
