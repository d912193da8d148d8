"""医疗保险参保: who has which medical insurance, as the healthcare security platform tells it."""

import datetime
from typing import Annotated

import msgspec

from contracts.codes import table
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
    Sex,
    basis,
    division,
    month,
    not_before,
    sex_in_number,
)
from contracts.text import Text

#: ``insutype`` of the national healthcare security platform, as its interfaces use it.
MEDICAL_INSURANCE = table(
    "",
    "险种类型（国家医疗保障信息平台）",
    "Kind of medical insurance (healthcare security platform)",
    """
    310 职工基本医疗保险 | Basic, employees
    320 公务员医疗补助 | Subsidy for civil servants
    330 大额医疗费用补助 | Subsidy for large expenses
    340 离休人员医疗保障 | Retired revolutionaries
    350 一至六级残废军人医疗补助 | Disabled soldiers of grades one to six
    360 老红军医疗保障 | Veterans of the Red Army
    370 企业补充医疗保险 | Supplement by enterprises
    380 新型农村合作医疗 | New rural cooperative
    390 城乡居民基本医疗保险 | Basic, urban and rural residents
    391 城镇居民基本医疗保险 | Basic, urban residents
    392 城乡居民大病医疗保险 | Serious illness, urban and rural residents
    399 其他特殊人员医疗保障 | Other special groups
    410 长期照护保险 | Long-term care
    510 生育保险 | Maternity
    """,
)

#: ``psn_type`` of the same platform, its first two digits.
INSURED_PERSON = table(
    "",
    "人员类别（国家医疗保障信息平台）",
    "Insured person (healthcare security platform)",
    """
    11 在职 | Employed
    12 退休人员 | Retired
    13 离休 | Retired revolutionary
    14 居民（未成年） | Resident under age
    15 居民（成年） | Resident of age
    16 居民（老年） | Resident of old age
    """,
)

#: ``psn_insu_stas`` of the same platform.
INSURED_STATUS = table(
    "",
    "人员参保状态（国家医疗保障信息平台）",
    "State of the insurance (healthcare security platform)",
    """
    0 未参保 | Not insured
    1 正常参保 | Insured
    2 暂停参保 | Suspended
    4 终止参保 | Ended
    """,
)


class MedicalInsuranceV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person in one kind of insurance at one place; a person may have several."""

    relation_no: Annotated[
        str,
        about(
            "人员参保关系编号",
            "Relation number",
            note=Text("即psn_insu_rlts_id", "the platform's psn_insu_rlts_id"),
            pattern=RELATION_NUMBER,
        ),
    ]
    person_no: Annotated[
        str,
        about(
            "人员编号",
            "Person number",
            note=Text("即psn_no", "the platform's psn_no"),
            pattern=r"^[0-9A-Za-z]{4,30}$",
        ),
    ]
    id_number: CitizenNumber
    name: Name
    sex: Sex
    insurance: Annotated[
        str,
        about(
            "险种类型",
            "Insurance",
            note=Text("即insutype", "the platform's insutype"),
            codes=MEDICAL_INSURANCE,
        ),
    ]
    person_kind: Annotated[
        str,
        about(
            "人员类别",
            "Kind of person",
            note=Text("psn_type的前两位", "the first two digits of the platform's psn_type"),
            codes=INSURED_PERSON,
        ),
    ]
    division_code: Annotated[str, division("参保地医保区划", "Division of the insurance")]
    employer_code: EmployerCode | None = None
    employer_name: EmployerName | None = None
    civil_servant: Annotated[bool, about("公务员标志", "Civil servant")] = False
    joined_on: Annotated[datetime.date, about("本次参保日期", "Joined on")]
    status: Annotated[
        str,
        about(
            "人员参保状态",
            "Status",
            note=Text("即psn_insu_stas", "the platform's psn_insu_stas"),
            codes=INSURED_STATUS,
        ),
    ]
    stopped_on: Annotated[
        datetime.date | None, about("暂停或终止参保日期", "Suspended or ended on")
    ] = None
    paid_until: Annotated[str, month("缴费至", "Paid until")] | None = None


V1 = define(
    MedicalInsuranceV1,
    subject="medical_insurance",
    major=1,
    title=Text("医疗保险参保信息", "Medical insurance"),
    description=Text(
        "基本医疗保险及补充险种的参保关系和状态",
        "Basic medical insurance and its supplements: relation and state",
    ),
    catalogue="203002/000001",
    owner=Text("医疗保障部门", "Healthcare security"),
    level="city",
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
        "person_no": "last4",
        "id_number": "last4",
        "name": "null",
        "sex": "null",
        "person_kind": "null",
        "employer_code": "null",
        "employer_name": "null",
        "civil_servant": "null",
    },
    searchable=("id_number", "person_no"),
    rules=(
        sex_in_number(),
        Rule(
            "joined-after-birth",
            "joined_on >= birth_of(id_number)",
            Text("参保日期不应早于出生日期", "Nobody can be insured before being born"),
            "$.joined_on",
        ),
        Rule(
            "residents-as-residents",
            "!(insurance in ['390', '391', '392']) || person_kind >= '14'",
            Text(
                "城乡居民险种（390、391、392）的人员类别应为居民（14、15、16）",
                "In the residents' insurances (390, 391, 392) a person must be a resident (14, 15, 16)",
            ),
            "$.person_kind",
        ),
        Rule(
            "employees-as-employees",
            "!(insurance in ['310', '320', '340', '370']) || person_kind <= '13'",
            Text(
                "职工险种（310、320、340、370）的人员类别应为职工（11、12、13）",
                "In the employees' insurances (310, 320, 340, 370) a person must be employed or"
                " retired (11, 12, 13)",
            ),
            "$.person_kind",
        ),
        Rule(
            "employer-named",
            "employer_code == null || employer_name != null",
            Text("填写单位代码的，应填写单位名称", "An employer with a code must be named"),
            "$.employer_name",
        ),
        Rule(
            "stopped-when-not-insured",
            "status == '0' || (status == '1') == (stopped_on == null)",
            Text(
                "正常参保的不填暂停或终止日期，暂停和终止参保的应填写",
                "Who is insured has no date of suspension or end; who is suspended or ended has one",
            ),
            "$.stopped_on",
        ),
        not_before(
            "stopped-after-joined",
            "stopped_on",
            "joined_on",
            "暂停或终止日期不应早于参保日期",
            "The insurance must not stop before it begins",
        ),
    ),
)
