"""人口基本信息: residents, as the register keeps them."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.codes import SEX
from contracts.define import about, define
from contracts.text import Text

CitizenNumber = Annotated[str, about("公民身份号码", "Citizen number", format="citizen-number")]
Name = Annotated[str, about("姓名", "Name", min_length=1, max_length=50)]
Sex = Annotated[str, about("性别", "Sex", codes=SEX)]
#: GB/T 3304: 01 Han … 56, 97 other, 98 a foreigner by descent.
Nationality = Annotated[
    str, about("民族", "Nationality", pattern=r"^(0[1-9]|[1-4]\d|5[0-6]|97|98)$")
]
Division = Annotated[str, about("所属区划", "Division", pattern=r"^\d{6}(\d{3}(\d{3})?)?$")]
Phone = Annotated[str, about("联系电话", "Phone", pattern=r"^1\d{10}$")]
BirthDate = Annotated[datetime.date, about("出生日期", "Date of birth")]
Moment = Annotated[datetime.datetime, about("登记时间", "Registered at", tz=True)]
Status = Annotated[Literal["active", "moved_out", "deceased", "cancelled"], about("状态", "Status")]


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
    household_no: Annotated[str, about("户号", "Household number", pattern=r"^\d{9}$")]
    relation: Annotated[
        Literal["head", "spouse", "child", "parent", "other"],
        about("与户主关系", "Relation to head"),
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


V1 = define(
    ResidentV1,
    subject="resident",
    major=1,
    title=Text("人口基本信息（旧版）", "Residents (former version)"),
    owner=Text("公安部门", "Public security"),
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    catalogue="resident",
    basis=Text("政务数据共享条例", "Regulations on Government Data Sharing"),
    condition=Text("依法履职需要", "needed for a duty by law"),
    freshness=2.0,
    personal={
        "id_number": "last4",
        "name": "null",
        "birth_date": "year",
        "nationality": "null",
        "address": "null",
    },
)

V2 = define(
    ResidentV2,
    subject="resident",
    major=2,
    title=Text("人口基本信息", "Residents"),
    owner=V1.owner,
    level="province",
    key="id_number",
    scope="division_code",
    classification="important",
    sharing="conditional",
    catalogue="resident",
    basis=Text("政务数据共享条例", "Regulations on Government Data Sharing"),
    condition=Text("依法履职需要", "needed for a duty by law"),
    freshness=2.0,
    personal={
        "id_number": "last4",
        "name": "null",
        "birth_date": "year",
        "nationality": "null",
        "address_detail": "null",
        "phone": "last4",
    },
)
