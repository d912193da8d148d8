"""营业执照: business licences."""

import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from contracts.identifiers import citizen_fault, credit_fault
from contracts.model import Contract, Rule, Text
from contracts.subjects.resident import CitizenNumber, Division


class BusinessLicenceV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A licence; ``valid_until`` None means without limit, capital is in ten thousand yuan."""

    credit_code: Annotated[
        str,
        msgspec.Meta(
            min_length=18, max_length=18, title="统一社会信用代码 | Unified social credit code"
        ),
    ]
    company_name: Annotated[
        str, msgspec.Meta(min_length=2, max_length=120, title="名称 | Company name")
    ]
    kind: Annotated[
        Literal["company", "partnership", "sole_proprietorship", "individual", "branch"],
        msgspec.Meta(title="类型 | Kind"),
    ]
    legal_person: Annotated[
        str, msgspec.Meta(min_length=1, max_length=50, title="法定代表人 | Legal person")
    ]
    legal_person_id: CitizenNumber
    registered_capital: Annotated[
        Decimal | None, msgspec.Meta(title="注册资本（万元） | Registered capital (10,000 yuan)")
    ] = None
    established: Annotated[datetime.date, msgspec.Meta(title="成立日期 | Established")]
    valid_until: Annotated[datetime.date | None, msgspec.Meta(title="营业期限至 | Valid until")] = (
        None
    )
    business_scope: Annotated[
        str, msgspec.Meta(max_length=2000, title="经营范围 | Scope of business")
    ]
    division_code: Division
    address: Annotated[str, msgspec.Meta(max_length=200, title="住所 | Address")]
    status: Annotated[
        Literal["valid", "suspended", "revoked", "cancelled"], msgspec.Meta(title="状态 | Status")
    ]
    issued_at: Annotated[datetime.datetime, msgspec.Meta(tz=True, title="发照时间 | Issued at")]


V1 = Contract(
    subject="business_licence",
    major=1,
    record=BusinessLicenceV1,
    title=Text("营业执照", "Business licences"),
    owner=Text("市场监管部门", "Market regulation"),
    level="county",
    key="credit_code",
    scope="division_code",
    classification="general",
    sharing="conditional",
    freshness=5.0,
    personal=("legal_person", "legal_person_id"),
    rules=(
        Rule("credit_code", credit_fault, "a unified social credit code by GB 32100"),
        Rule("legal_person_id", citizen_fault, "a citizen number by GB 11643"),
    ),
)
