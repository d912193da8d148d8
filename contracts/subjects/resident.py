"""人口基本信息: residents, as the register keeps them."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.identifiers import citizen_fault
from contracts.model import Contract, Rule, Text

CitizenNumber = Annotated[
    str, msgspec.Meta(min_length=18, max_length=18, title="公民身份号码 | Citizen number")
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=50, title="姓名 | Name")]
#: GB/T 2261.1: 0 unknown, 1 male, 2 female, 9 not stated.
Sex = Annotated[Literal["0", "1", "2", "9"], msgspec.Meta(title="性别 | Sex")]
#: GB/T 3304: 01 Han … 56, 97 other, 98 a foreigner by descent.
Nationality = Annotated[
    str,
    msgspec.Meta(pattern=r"^(0[1-9]|[1-4]\d|5[0-6]|97|98)$", title="民族 | Nationality"),
]
Division = Annotated[
    str, msgspec.Meta(pattern=r"^\d{6}(\d{3}(\d{3})?)?$", title="所属区划 | Division")
]
Phone = Annotated[str, msgspec.Meta(pattern=r"^1\d{10}$", title="联系电话 | Phone")]
BirthDate = Annotated[datetime.date, msgspec.Meta(title="出生日期 | Date of birth")]
Moment = Annotated[datetime.datetime, msgspec.Meta(tz=True, title="登记时间 | Registered at")]
Status = Annotated[
    Literal["active", "moved_out", "deceased", "cancelled"], msgspec.Meta(title="状态 | Status")
]


class ResidentV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A resident with the address in one line."""

    id_number: CitizenNumber
    name: Name
    sex: Sex
    birth_date: BirthDate
    nationality: Nationality
    division_code: Division
    address: Annotated[str, msgspec.Meta(max_length=200, title="住址 | Address")]
    registered_at: Moment


class ResidentV2(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A resident with household, status and the address below the division."""

    id_number: CitizenNumber
    name: Name
    sex: Sex
    birth_date: BirthDate
    nationality: Nationality
    division_code: Division
    address_detail: Annotated[
        str, msgspec.Meta(max_length=200, title="街路巷门牌 | Street and number")
    ]
    household_no: Annotated[str, msgspec.Meta(pattern=r"^\d{9}$", title="户号 | Household number")]
    relation: Annotated[
        Literal["head", "spouse", "child", "parent", "other"],
        msgspec.Meta(title="与户主关系 | Relation to head"),
    ]
    status: Status
    registered_at: Moment
    phone: Phone | None = None


def up(old: ResidentV1, *, household_no: str, address_detail: str | None = None) -> ResidentV2:
    """A v1 record as v2. The household is not in v1: whoever converts must know it."""
    return ResidentV2(
        id_number=old.id_number,
        name=old.name,
        sex=old.sex,
        birth_date=old.birth_date,
        nationality=old.nationality,
        division_code=old.division_code,
        address_detail=old.address if address_detail is None else address_detail,
        household_no=household_no,
        relation="other",
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


V1 = Contract(
    subject="resident",
    major=1,
    record=ResidentV1,
    title=Text("人口基本信息（旧版）", "Residents (former version)"),
    owner=Text("公安部门", "Public security"),
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    freshness=2.0,
    personal=("id_number", "name", "birth_date", "nationality", "address"),
    rules=(Rule("id_number", citizen_fault, "a citizen number by GB 11643"),),
)

V2 = Contract(
    subject="resident",
    major=2,
    record=ResidentV2,
    title=Text("人口基本信息", "Residents"),
    owner=V1.owner,
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    freshness=2.0,
    personal=("id_number", "name", "birth_date", "nationality", "address_detail", "phone"),
    rules=V1.rules,
)
