"""Contracts of a township's own, for the tests of leaves."""

from typing import Annotated

import msgspec

from contracts.define import about, define
from contracts.subjects.fields import basis
from contracts.text import Text


class VisitV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One visit to the township's service hall."""

    number: Annotated[str, about("编号", "Number", min_length=1, max_length=40)]
    division: Annotated[str, about("区划代码", "Division code", format="division-code")]
    matter: Annotated[str, about("事项", "Matter", min_length=1, max_length=100)]


VISIT = define(
    VisitV1,
    subject="visit",
    major=1,
    title=Text("办事登记", "Visits"),
    description=Text("街道便民服务中心的办事登记", "Visits to the service hall of a township"),
    catalogue="103001/000099",
    owner=Text("街道办事处", "Township office"),
    level="township",
    key="number",
    scope="division",
    classification="general",
    sharing="unconditional",
    basis=basis("政府信息公开条例", "Regulations on Open Government Information"),
    updates="irregular",
    freshness=5.0,
)

NOTICE = msgspec.structs.replace(VISIT, subject="notice", catalogue="103001/000098")
