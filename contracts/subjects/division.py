"""行政区划: the administrative divisions and their names."""

from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.text import Text

Code = Annotated[str, about("区划代码", "Division code", format="division-code")]


class DivisionV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One division; ``parent`` is None for a province."""

    code: Code
    name: Annotated[str, about("名称", "Name", min_length=1, max_length=60)]
    level: Annotated[
        Literal["province", "city", "county", "township", "village"],
        about("级别", "Level"),
    ]
    parent: Annotated[Code | None, about("上级区划", "Parent division")] = None


V1 = define(
    DivisionV1,
    subject="division",
    major=1,
    title=Text("行政区划", "Administrative divisions"),
    owner=Text("民政部门", "Civil affairs"),
    level="province",
    key="code",
    scope="code",
    classification="general",
    sharing="unconditional",
    catalogue="division",
    basis=Text("政务数据共享条例", "Regulations on Government Data Sharing"),
    freshness=5.0,
)
