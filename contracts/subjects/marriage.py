"""婚姻登记: marriages, and how they ended."""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.codes import MARITAL_STATUS
from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import (
    CONDITION,
    KEPT_AFTER,
    OVER_THE_COUNTER,
    basis,
    birth_in_number,
    citizen,
    division,
    document,
    organisation,
    person,
)
from contracts.text import Text


class MarriageV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A marriage, from its registration on; a divorce changes the record and does not delete it."""

    certificate_no: Annotated[
        str,
        about(
            "结婚证字号",
            "Marriage certificate number",
            note=Text(
                "J加6位区划代码、年份、6位序号，如J370102-2026-000001；补领的以BJ开头；旧式的如鲁历结字010300001",
                "J, six digits of the division, the year, six digits: `J370102-2026-000001`; BJ when it"
                " was issued again; in the former form `鲁历结字010300001`",
            ),
            format="marriage-certificate",
        ),
    ]
    man_name: Annotated[str, person("男方姓名", "Husband's name")]
    man_id_number: Annotated[
        str | None, citizen("男方公民身份号码", "Husband's citizen number")
    ] = None
    man_document: Annotated[str, document("男方其他证件", "Husband's other document")] | None = None
    man_birth_date: Annotated[datetime.date, about("男方出生日期", "Husband's date of birth")]
    man_status_before: Annotated[
        str | None, about("男方婚前婚姻状况", "Husband's status before", codes=MARITAL_STATUS)
    ] = None
    woman_name: Annotated[str, person("女方姓名", "Wife's name")]
    woman_id_number: Annotated[str | None, citizen("女方公民身份号码", "Wife's citizen number")] = (
        None
    )
    woman_document: Annotated[str, document("女方其他证件", "Wife's other document")] | None = None
    woman_birth_date: Annotated[datetime.date, about("女方出生日期", "Wife's date of birth")]
    woman_status_before: Annotated[
        str | None, about("女方婚前婚姻状况", "Wife's status before", codes=MARITAL_STATUS)
    ] = None
    registered_on: Annotated[datetime.date, about("结婚登记日期", "Registered on")]
    registry: Annotated[str, organisation("婚姻登记机关", "Registry")]
    division_code: Annotated[str, division("登记机关所在区划", "Division of the registry")]
    status: Annotated[
        Literal["married", "divorced", "annulled", "widowed"],
        about(
            "状态",
            "Status",
            labels={
                "married": Text("婚姻存续", "Married"),
                "divorced": Text("已离婚", "Divorced"),
                "annulled": Text("已撤销或宣告无效", "Annulled or void"),
                "widowed": Text("一方死亡", "One has died"),
            },
        ),
    ]
    ended_on: Annotated[
        datetime.date | None,
        about(
            "婚姻终止日期",
            "Ended on",
            note=Text(
                "离婚登记、裁判生效或死亡的日期",
                "of the divorce, of the judgment's effect, of the death",
            ),
        ),
    ] = None
    divorce_by: Annotated[
        Literal["registration", "judgment", "mediation"] | None,
        about(
            "离婚方式",
            "Divorced by",
            labels={
                "registration": Text("登记离婚", "Registration"),
                "judgment": Text("法院判决", "Judgment"),
                "mediation": Text("法院调解", "Mediation by a court"),
            },
        ),
    ] = None
    divorce_certificate_no: Annotated[
        str | None,
        about(
            "离婚证字号",
            "Divorce certificate number",
            note=Text(
                "登记离婚的填写；以L开头，补领的以BL开头",
                "for a divorce by registration; begins with L, or BL when it was issued again",
            ),
            format="divorce-certificate",
        ),
    ] = None


_IDENTIFIED = Text(
    "公民身份号码和其他证件应填写其中一项",
    "Either the citizen number or the other document must be given, not both",
)
_AGE = Text(
    "登记时男方应满20周岁、女方应满18周岁（一般为22和20周岁，部分自治地方有变通规定）",
    "At the registration he must be 20 and she 18; in general it is 22 and 20 (Civil Code, article 1047),"
    " which some autonomous areas and earlier law lower",
)

V1 = define(
    MarriageV1,
    subject="marriage",
    major=1,
    title=Text("婚姻登记信息", "Marriages"),
    description=Text(
        "结婚登记及其后的离婚、撤销、丧偶",
        "Registered marriages, and divorces, annulments, deaths after",
    ),
    catalogue="101003/000001",
    owner=Text("民政部门", "Civil affairs"),
    level="province",
    key="certificate_no",
    scope="division_code",
    classification="important",
    sharing="conditional",
    basis=basis("婚姻登记条例", "Regulations on Marriage Registration"),
    condition=CONDITION,
    purposes=(
        OVER_THE_COUNTER,
        Text(
            "不动产登记、户口登记中的婚姻状况核验",
            "marital status for registers of land and households",
        ),
    ),
    freshness=5.0,
    retention=KEPT_AFTER,
    personal={
        "certificate_no": "last4",
        "man_name": "null",
        "man_id_number": "last4",
        "man_document": "null",
        "man_birth_date": "year",
        "man_status_before": "null",
        "woman_name": "null",
        "woman_id_number": "last4",
        "woman_document": "null",
        "woman_birth_date": "year",
        "woman_status_before": "null",
        "divorce_by": "null",
        "divorce_certificate_no": "last4",
    },
    searchable=("man_id_number", "woman_id_number"),
    rules=(
        Rule(
            "husband-identified",
            "(man_id_number == null) != (man_document == null)",
            _IDENTIFIED,
            "$.man_id_number",
        ),
        Rule(
            "wife-identified",
            "(woman_id_number == null) != (woman_document == null)",
            _IDENTIFIED,
            "$.woman_id_number",
        ),
        birth_in_number("man_birth_date", "man_id_number", name="husband-birth-date-in-number"),
        birth_in_number("woman_birth_date", "woman_id_number", name="wife-birth-date-in-number"),
        Rule(
            "husband-of-age",
            "age_on(man_birth_date, registered_on) >= 20",
            _AGE,
            "$.man_birth_date",
        ),
        Rule(
            "wife-of-age",
            "age_on(woman_birth_date, registered_on) >= 18",
            _AGE,
            "$.woman_birth_date",
        ),
        Rule(
            "year-in-certificate",
            "!certificate_no.startsWith('J') || certificate_no.contains('-' + part(registered_on, 0, 5))",
            Text(
                "以J开头的结婚证字号，年份应与登记日期一致",
                "The year in a certificate's number that begins with J must be the registration's",
            ),
            "$.certificate_no",
        ),
        Rule(
            "ended-when-not-married",
            "(status == 'married') == (ended_on == null)",
            Text(
                "婚姻存续的不填终止日期，其他状态应填写",
                "The end is for a marriage that has ended, and for each such one",
            ),
            "$.ended_on",
        ),
        Rule(
            "ended-after-registered",
            "ended_on == null || ended_on >= registered_on",
            Text(
                "婚姻终止日期不应早于结婚登记日期",
                "A marriage must not end before it is registered",
            ),
            "$.ended_on",
        ),
        Rule(
            "divorced-somehow",
            "(status == 'divorced') == (divorce_by != null)",
            Text(
                "已离婚的应填写离婚方式，其他的不填", "How is for a divorce, and for each divorce"
            ),
            "$.divorce_by",
        ),
        Rule(
            "divorce-certificate-when-registered",
            "divorce_certificate_no == null || divorce_by == 'registration'",
            Text("只有登记离婚才有离婚证字号", "Only a divorce by registration has a certificate"),
            "$.divorce_certificate_no",
        ),
    ),
)
