"""行政区划: the administrative divisions and their names."""

from typing import Annotated, Literal

import msgspec

from contracts.identifiers import level_of
from contracts.model import Contract, Rule, Text

Code = Annotated[
    str,
    msgspec.Meta(pattern=r"^(\d{2}|\d{4}|\d{6}|\d{9}|\d{12})$", title="区划代码 | Division code"),
]


class DivisionV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One division; ``parent`` is None for a province."""

    code: Code
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=60, title="名称 | Name")]
    level: Annotated[
        Literal["province", "city", "county", "township", "village"],
        msgspec.Meta(title="级别 | Level"),
    ]
    parent: Annotated[Code | None, msgspec.Meta(title="上级区划 | Parent division")] = None


def _code(code: str) -> str | None:
    try:
        level_of(code)
    except ValueError:
        return "division-code"
    return None


CODE_RULE = "a division code of 2, 4, 6, 9 or 12 digits"

V1 = Contract(
    subject="division",
    major=1,
    record=DivisionV1,
    title=Text("行政区划", "Administrative divisions"),
    owner=Text("民政部门", "Civil affairs"),
    level="province",
    key="code",
    scope="code",
    classification="general",
    sharing="unconditional",
    freshness=5.0,
    rules=(Rule("code", _code, CODE_RULE),),
)
