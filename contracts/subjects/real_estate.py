"""不动产: who holds which right in which unit."""

import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from contracts.codes import table
from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    basis,
    citizen,
    division,
    document,
    not_before,
)
from contracts.text import Text

#: 权利类型 of the real estate registers' databases.
ESTATE_RIGHT = table(
    "",
    "不动产权利类型",
    "Right in real estate",
    """
    1 集体土地所有权 | Collective ownership of land
    2 国家土地所有权 | State ownership of land
    3 国有建设用地使用权 | Use of state land for construction
    4 国有建设用地使用权/房屋（构筑物）所有权 | Use of state land for construction; building
    5 宅基地使用权 | Use of a homestead
    6 宅基地使用权/房屋（构筑物）所有权 | Use of a homestead; building
    7 集体建设用地使用权 | Use of collective land for construction
    8 集体建设用地使用权/房屋（构筑物）所有权 | Use of collective land for construction; building
    9 土地承包经营权 | Contracted land
    10 土地承包经营权/森林、林木所有权 | Contracted land; trees
    11 林地使用权 | Use of forest land
    12 林地使用权/森林、林木使用权 | Use of forest land; trees
    13 草原使用权 | Use of grassland
    14 水域滩涂养殖权 | Aquaculture
    15 海域使用权 | Use of a sea area
    16 海域使用权/构（建）筑物所有权 | Use of a sea area; structure
    17 无居民海岛使用权 | Use of an uninhabited island
    18 无居民海岛使用权/构（建）筑物所有权 | Use of an uninhabited island; structure
    19 地役权 | Easement
    20 取水权 | Taking water
    21 探矿权 | Prospecting
    22 采矿权 | Mining
    23 其它权利 | Other
    """,
)

#: 共有方式 of the same databases.
CO_OWNERSHIP = table(
    "",
    "共有方式",
    "Co-ownership",
    """
    0 单独所有 | Sole
    1 共同共有 | Joint
    2 按份共有 | By shares
    3 其它共有 | Other
    """,
)

#: A part of a right; numerator and denominator.
ShareNumerator = Annotated[
    int,
    about(
        "份额（分子）",
        "Share, numerator",
        note=Text("按份共有的填写，如三分之一填1", "for ownership by shares; 1 for a third"),
        ge=1,
        le=1_000_000,
    ),
]
ShareDenominator = Annotated[
    int,
    about(
        "份额（分母）",
        "Share, denominator",
        note=Text("如三分之一填3", "3 for a third"),
        ge=1,
        le=1_000_000,
    ),
]
Use = Annotated[str, about("用途", "Use", min_length=1, max_length=100)]
HolderDocument = Annotated[str, document("权利人其他证件", "Holder's other document")]


class RealEstateV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One holder's part in one right in one unit: two owners of a flat are two records with the same
    ``unit_code``, and a sale ends the seller's record and begins the buyer's."""

    holding_no: Annotated[
        str,
        about(
            "权利人登记编号",
            "Holding number",
            note=Text(
                "登记簿给每个权利人的每项权利编的号",
                "the register's number for one holder of one right",
            ),
            pattern=r"^[0-9A-Za-z-]{4,40}$",
        ),
    ]
    unit_code: Annotated[
        str,
        about(
            "不动产单元代码",
            "Unit code",
            note=Text(
                "28位：县级区划6、地籍区3、地籍子区3、宗地特征2、顺序号5、定着物9；不含空格",
                "28 characters without blanks: 6 county, 3 and 3 cadastral zones, 2 kind of parcel, 5 its"
                " number, 9 what stands on it",
            ),
            format="real-estate-unit",
        ),
    ]
    certificate_no: Annotated[
        str | None,
        about(
            "不动产权证书号",
            "Certificate number",
            note=Text(
                "括号用全角，如鲁（2026）济南市不动产权第0012345号；尚未发证的不填",
                "with full-width brackets, `鲁（2026）济南市不动产权第0012345号`; empty before"
                " it is issued",
            ),
            format="real-estate-certificate",
        ),
    ] = None
    right: Annotated[str, about("权利类型", "Right", codes=ESTATE_RIGHT)]
    holder_name: Annotated[str, about("权利人", "Holder", min_length=1, max_length=120)]
    holder_id_number: Annotated[
        str | None, citizen("权利人公民身份号码", "Holder's citizen number")
    ] = None
    holder_credit_code: Annotated[
        str | None,
        about("权利人统一社会信用代码", "Holder's credit code", format="credit-code"),
    ] = None
    holder_document: HolderDocument | None = None
    co_ownership: Annotated[str, about("共有方式", "Co-ownership", codes=CO_OWNERSHIP)]
    share_numerator: ShareNumerator | None = None
    share_denominator: ShareDenominator | None = None
    division_code: Annotated[str, division("坐落区划", "Division")]
    location: Annotated[str, about("坐落", "Location", min_length=1, max_length=200)]
    land_area: Annotated[
        Decimal | None,
        about("宗地面积（平方米）", "Area of the parcel (m²)", digits=15, places=2, positive=True),
    ] = None
    floor_area: Annotated[
        Decimal | None,
        about("建筑面积（平方米）", "Floor area (m²)", digits=12, places=2, positive=True),
    ] = None
    use: Use | None = None
    registered_at: Annotated[datetime.datetime, about("登簿时间", "Registered at", tz=True)]
    term_from: Annotated[datetime.date | None, about("使用期限起", "Term from")] = None
    term_until: Annotated[
        datetime.date | None,
        about(
            "使用期限止",
            "Term until",
            note=Text("没有期限的不填", "empty for a right without a term"),
        ),
    ] = None
    mortgaged: Annotated[bool, about("是否抵押", "Mortgaged")]
    seized: Annotated[bool, about("是否查封", "Seized by a court")]
    status: Annotated[
        Literal["current", "past"],
        about(
            "权属状态",
            "Status",
            labels={"current": Text("现势", "Current"), "past": Text("历史", "Past")},
        ),
    ]


V1 = define(
    RealEstateV1,
    subject="real_estate",
    major=1,
    title=Text("不动产登记信息", "Real estate"),
    description=Text(
        "不动产单元的权利人、份额、期限和抵押查封状态",
        "Units of real estate: holders, shares, terms, mortgages and seizures",
    ),
    catalogue="103002/000001",
    owner=Text("自然资源部门", "Natural resources"),
    level="city",
    key="holding_no",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis(
        "不动产登记暂行条例第二十三条至第二十五条",
        "Interim Regulations on Real Estate Registration, articles 23 to 25",
    ),
    condition=CONDITION,
    purposes=(
        OVER_THE_COUNTER,
        Text("入学、公租房等资格审核", "admission to schools, public housing"),
        Text("税收征管", "taxation"),
    ),
    freshness=2.0,
    retention=KEPT_AFTER,
    personal={
        "holding_no": "last4",
        "certificate_no": "null",
        "holder_name": "null",
        "holder_id_number": "last4",
        "holder_document": "null",
        "location": "null",
    },
    searchable=("unit_code", "certificate_no", "holder_id_number", "holder_credit_code"),
    rules=(
        Rule(
            "holder-identified-once",
            "(holder_id_number == null ? 0 : 1) + (holder_credit_code == null ? 0 : 1)"
            " + (holder_document == null ? 0 : 1) == 1",
            Text(
                "权利人的公民身份号码、统一社会信用代码、其他证件应填写其中一项",
                "Exactly one must be given of the holder's citizen number, credit code, other document",
            ),
            "$.holder_id_number",
        ),
        Rule(
            "shares-when-by-shares",
            "(co_ownership == '2') == (share_numerator != null)"
            " && (share_numerator == null) == (share_denominator == null)",
            Text(
                "按份共有的应填写份额的分子和分母，其他的不填",
                "Ownership by shares, and no other, must have numerator and denominator",
            ),
            "$.share_numerator",
        ),
        Rule(
            "share-below-whole",
            "share_numerator == null || share_denominator == null"
            " || share_numerator < share_denominator",
            Text("按份共有的份额应小于1", "A share must be less than the whole"),
            "$.share_numerator",
        ),
        Rule(
            "floor-area-of-a-building",
            "floor_area == null || part(unit_code, 19, 20) == 'F'",
            Text(
                "只有房屋等建筑物（单元代码第20位为F）才有建筑面积",
                "Only a building (20th character of the unit code F) has a floor area",
            ),
            "$.floor_area",
        ),
        not_before(
            "term-runs-forward",
            "term_until",
            "term_from",
            "使用期限止不应早于使用期限起",
            "A term must not end before it begins",
        ),
    ),
)
