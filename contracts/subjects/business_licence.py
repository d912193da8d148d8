"""营业执照: business licences."""

import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import CONDITION, OVER_THE_COUNTER, Division, basis, citizen
from contracts.text import Text


class BusinessLicenceV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A licence; ``valid_until`` None means without limit, capital is in ten thousand yuan."""

    credit_code: Annotated[
        str,
        about(
            "统一社会信用代码",
            "Unified social credit code",
            note=Text(
                "18位，没有字母I、O、S、V、Z；以91开头的是企业，92是个体工商户，93是农民专业合作社",
                "18 characters, no I, O, S, V, Z; 91 is a company, 92 an individual, 93 a cooperative",
            ),
            format="credit-code",
        ),
    ]
    company_name: Annotated[str, about("名称", "Company name", min_length=2, max_length=120)]
    kind: Annotated[
        Literal["company", "partnership", "sole_proprietorship", "individual", "branch"],
        about(
            "类型",
            "Kind",
            labels={
                "company": Text("公司", "Company"),
                "partnership": Text("合伙企业", "Partnership"),
                "sole_proprietorship": Text("个人独资企业", "Sole proprietorship"),
                "individual": Text("个体工商户", "Individual in business"),
                "branch": Text("分支机构", "Branch"),
            },
        ),
    ]
    legal_person: Annotated[
        str,
        about(
            "法定代表人",
            "Legal person",
            note=Text(
                "合伙企业填执行事务合伙人，个人独资企业填投资人，个体工商户填经营者，分支机构填负责人",
                "the managing partner, the investor, the individual, or the head of a branch",
            ),
            min_length=1,
            max_length=50,
        ),
    ]
    legal_person_id: Annotated[
        str, citizen("法定代表人公民身份号码", "Legal person's citizen number")
    ]
    registered_capital: Annotated[
        Decimal | None,
        about(
            "注册资本（万元）",
            "Registered capital (10,000 yuan)",
            digits=14,
            places=2,
            positive=True,
        ),
    ] = None
    established: Annotated[datetime.date, about("成立日期", "Established")]
    valid_until: Annotated[
        datetime.date | None,
        about("营业期限至", "Valid until", note=Text("长期的不填", "empty for one without limit")),
    ] = None
    business_scope: Annotated[str, about("经营范围", "Scope of business", max_length=2000)]
    division_code: Division
    address: Annotated[str, about("住所", "Address", max_length=200)]
    status: Annotated[
        Literal["valid", "suspended", "revoked", "cancelled"],
        about(
            "状态",
            "Status",
            labels={
                "valid": Text("存续", "Valid"),
                "suspended": Text("歇业", "Suspended"),
                "revoked": Text("吊销", "Revoked"),
                "cancelled": Text("注销", "Cancelled"),
            },
        ),
    ]
    issued_at: Annotated[datetime.datetime, about("发照时间", "Issued at", tz=True)]


V1 = define(
    BusinessLicenceV1,
    subject="business_licence",
    major=1,
    title=Text("营业执照", "Business licences"),
    description=Text(
        "市场主体的登记事项和营业执照状态",
        "What is registered of a business, and its licence's state",
    ),
    catalogue="102001/000001",
    owner=Text("市场监管部门", "Market regulation"),
    level="county",
    key="credit_code",
    scope="division_code",
    classification="general",
    sharing="conditional",
    basis=basis(
        "中华人民共和国市场主体登记管理条例（国务院令第746号）",
        "Regulations on the Registration of Market Entities (State Council Decree 746)",
    ),
    condition=CONDITION,
    purposes=(
        OVER_THE_COUNTER,
        Text("行政许可", "licensing"),
        Text("事中事后监管", "supervision"),
    ),
    freshness=5.0,
    retention=90,
    personal={"legal_person": "null", "legal_person_id": "last4"},
    searchable=("company_name", "legal_person_id"),
    rules=(
        Rule(
            "registered-as-a-business",
            "credit_code.startsWith('9')",
            Text(
                "市场监管部门登记的统一社会信用代码应以9开头",
                "The credit code of what market regulation registers must begin with 9",
            ),
            "$.credit_code",
        ),
        Rule(
            "individual-in-code",
            "(kind == 'individual') == credit_code.startsWith('92')",
            Text(
                "个体工商户的统一社会信用代码应以92开头，其他类型不应",
                "The credit code must begin with 92 for an individual, and for nobody else",
            ),
            "$.kind",
        ),
        Rule(
            "valid-after-established",
            "valid_until == null || valid_until > established",
            Text("营业期限应晚于成立日期", "The licence must be valid beyond the establishment"),
            "$.valid_until",
        ),
        Rule(
            "issued-after-established",
            "day_of(issued_at) >= established",
            Text(
                "发照时间不应早于成立日期",
                "The licence must not be issued before the establishment",
            ),
            "$.issued_at",
        ),
    ),
)
