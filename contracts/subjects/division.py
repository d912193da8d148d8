"""行政区划: the administrative divisions and their names."""

from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import basis
from contracts.text import Text

Code = Annotated[
    str,
    about(
        "区划代码",
        "Division code",
        note=Text(
            "省级2位，地级4位，县级6位，乡级9位，村级12位；省、地两级不补零",
            "2 digits for a province, 4 for a city, 6 for a county, 9 for a township, 12 for a village;"
            " no zeros are added",
        ),
        format="division-code",
    ),
]


class DivisionV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One division; ``parent`` is None for a province."""

    code: Code
    name: Annotated[str, about("名称", "Name", min_length=1, max_length=60)]
    level: Annotated[
        Literal["province", "city", "county", "township", "village"],
        about(
            "级别",
            "Level",
            labels={
                "province": Text("省级", "Province"),
                "city": Text("地级", "City"),
                "county": Text("县级", "County"),
                "township": Text("乡级", "Township"),
                "village": Text("村级", "Village"),
            },
        ),
    ]
    parent: Annotated[
        Code | None,
        about(
            "上级区划",
            "Parent division",
            note=Text("省级没有上级", "a province has none"),
            format="division-code",
        ),
    ] = None


V1 = define(
    DivisionV1,
    subject="division",
    major=1,
    title=Text("行政区划", "Administrative divisions"),
    description=Text(
        "省、地、县、乡、村五级行政区划的代码和名称",
        "Codes and names of the divisions on all five levels below the nation",
    ),
    catalogue="103001/000001",
    owner=Text("民政部门", "Civil affairs"),
    level="province",
    key="code",
    scope="code",
    classification="general",
    sharing="unconditional",
    basis=basis(
        "行政区划管理条例", "Regulations on the Administration of Administrative Divisions"
    ),
    updates="irregular",
    freshness=5.0,
    searchable=("parent",),
    rules=(
        Rule(
            "level-by-length",
            "size(code) == (level == 'province' ? 2 : level == 'city' ? 4 : level == 'county' ? 6"
            " : level == 'township' ? 9 : 12)",
            Text("级别应与区划代码的位数一致", "The level must agree with the length of the code"),
            "$.level",
        ),
        Rule(
            "within-parent",
            "parent == null || (code != parent && code.startsWith(parent))",
            Text(
                "区划代码应以上级区划的代码开头",
                "The code must begin with that of the parent division",
            ),
            "$.parent",
        ),
    ),
)
