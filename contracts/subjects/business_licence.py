"""营业执照: business licences."""

import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.subjects.resident import CitizenNumber, Division
from contracts.text import Text


class BusinessLicenceV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A licence; ``valid_until`` None means without limit, capital is in ten thousand yuan."""

    credit_code: Annotated[
        str, about("统一社会信用代码", "Unified social credit code", format="credit-code")
    ]
    company_name: Annotated[str, about("名称", "Company name", min_length=2, max_length=120)]
    kind: Annotated[
        Literal["company", "partnership", "sole_proprietorship", "individual", "branch"],
        about("类型", "Kind"),
    ]
    legal_person: Annotated[str, about("法定代表人", "Legal person", min_length=1, max_length=50)]
    legal_person_id: CitizenNumber
    registered_capital: Annotated[
        Decimal | None,
        about("注册资本（万元）", "Registered capital (10,000 yuan)", digits=14, places=2),
    ] = None
    established: Annotated[datetime.date, about("成立日期", "Established")]
    valid_until: Annotated[datetime.date | None, about("营业期限至", "Valid until")] = None
    business_scope: Annotated[str, about("经营范围", "Scope of business", max_length=2000)]
    division_code: Division
    address: Annotated[str, about("住所", "Address", max_length=200)]
    status: Annotated[
        Literal["valid", "suspended", "revoked", "cancelled"], about("状态", "Status")
    ]
    issued_at: Annotated[datetime.datetime, about("发照时间", "Issued at", tz=True)]


V1 = define(
    BusinessLicenceV1,
    subject="business_licence",
    major=1,
    title=Text("营业执照", "Business licences"),
    owner=Text("市场监管部门", "Market regulation"),
    level="county",
    key="credit_code",
    scope="division_code",
    classification="general",
    sharing="conditional",
    catalogue="business-licence",
    basis=Text("政务数据共享条例", "Regulations on Government Data Sharing"),
    condition=Text("依法履职需要", "needed for a duty by law"),
    freshness=5.0,
    personal={"legal_person": "null", "legal_person_id": "last4"},
)
