"""校核纠错: a clerk says that a record is wrong, and the owner answers.

Every node files corrections of its own, so their level is ``every``: a correction travels up by ``push``
until a node owns the contract it is about, and the answer comes down by grants, to the division of the
node that filed it.
"""

import datetime
from typing import Annotated, Literal

import msgspec

from contracts.define import about, define
from contracts.model import Rule
from contracts.subjects.fields import CONDITION, KEPT_AFTER, TRIMMED, basis
from contracts.text import Text

#: Characters of a clerk's evidence and of an owner's note, and of a value's JSON.
MOST_EVIDENCE, MOST_NOTE, MOST_VALUE = 2_000, 2_000, 8_000

CorrectionId = Annotated[
    str,
    about(
        "纠错编号",
        "Correction's number",
        note=Text("由受理窗口生成，按时间先后排序", "made by the window; sorts by time"),
        pattern=r"^[0-9a-z-]{1,80}$",
    ),
]
FilingDivision = Annotated[
    str,
    about(
        "提出节点的区划",
        "Division of the node that filed it",
        note=Text("国家级节点为0", "`0` for the nation's"),
        pattern=r"^\d{1,12}$",
    ),
]
ContractName = Annotated[
    str,
    about(
        "合同",
        "Contract",
        note=Text("如resident.v2", "such as `resident.v2`"),
        max_length=80,
        pattern=r"^[a-z][a-z0-9_]*\.v[1-9]\d*$",
    ),
]
NodeName = Annotated[
    str,
    about(
        "节点",
        "Node",
        note=Text("如370102、3701-housing", "such as `370102` or `3701-housing`"),
        max_length=60,
        pattern=r"^\d{1,12}(-[a-z0-9-]+)?$",
    ),
]
_JSON_NOTE = Text("该值的JSON文本", "the JSON text of the value")


class CorrectionV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field of one record as a clerk saw it, and what it should be."""

    id: CorrectionId
    contract: ContractName
    key: Annotated[str, about("记录主键", "Key of the record", min_length=1, max_length=500)]
    record_division: Annotated[
        str, about("记录所属区划", "Division of the record", max_length=12, pattern=r"^\d{0,12}$")
    ]
    field: Annotated[str, about("字段", "Field", min_length=1, max_length=63)]
    seen: Annotated[
        str, about("所见值", "Seen", note=_JSON_NOTE, min_length=1, max_length=MOST_VALUE)
    ]
    proposed: Annotated[
        str, about("建议值", "Proposed", note=_JSON_NOTE, min_length=1, max_length=MOST_VALUE)
    ]
    evidence: Annotated[
        str,
        about(
            "依据",
            "Evidence",
            note=Text("办事人出示的材料等", "what the person showed at the counter, for example"),
            max_length=MOST_EVIDENCE,
        ),
    ] = ""
    seen_id: Annotated[
        str,
        about(
            "所见变更的编号",
            "Id of the change that was seen",
            note=Text("记录显示时的CloudEvents id", "the CloudEvents id of the record as shown"),
            max_length=300,
        ),
    ]
    filed_by: Annotated[
        str, about("提出人", "Filed by", min_length=1, max_length=200, pattern=TRIMMED)
    ]
    filed_at: Annotated[datetime.datetime, about("提出时间", "Filed at")]
    node: NodeName
    division: FilingDivision


CORRECTION = define(
    CorrectionV1,
    subject="correction",
    major=1,
    title=Text("校核纠错", "Corrections"),
    description=Text(
        "窗口发现数据有误时提出的更正建议，逐级上报数源部门",
        "What clerks find wrong in a record and what it should be, on its way up to the owner",
    ),
    catalogue="299001/000001",
    owner=Text("提出纠错的节点", "The node that files it"),
    level="every",
    key="id",
    scope="division",
    classification="important",
    sharing="conditional",
    basis=basis("其中的数据校核与纠错要求", "what they ask of checking and correcting data"),
    condition=CONDITION,
    purposes=(Text("校核纠错", "correcting the owner's data"),),
    freshness=30.0,
    retention=KEPT_AFTER,
    personal={
        "key": "last4",
        "seen": "null",
        "proposed": "null",
        "evidence": "null",
        "filed_by": "null",
    },
    partitions=1,
)


class CorrectionAnswerV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the owner says to a correction, first when it is received, then when it is decided."""

    id: CorrectionId
    contract: ContractName
    state: Annotated[
        Literal["received", "accepted", "rejected"],
        about(
            "状态",
            "State",
            labels={
                "received": Text("已受理", "Received"),
                "accepted": Text("已采纳", "Accepted"),
                "rejected": Text("未采纳", "Rejected"),
            },
        ),
    ]
    due: Annotated[
        datetime.date | None,
        about(
            "答复期限",
            "Due",
            note=Text("当日北京时间结束前", "by the end of that day, China Standard Time"),
        ),
    ] = None
    note: Annotated[str, about("答复说明", "Note", max_length=MOST_NOTE)] = ""
    answered_by: Annotated[str, about("答复人", "Answered by", max_length=200)] = ""
    answered_at: Annotated[datetime.datetime | None, about("答复时间", "Answered at")] = None
    node: NodeName
    division: FilingDivision


ANSWER = define(
    CorrectionAnswerV1,
    subject="correction_answer",
    major=1,
    title=Text("纠错答复", "Answers to corrections"),
    description=Text(
        "数源部门对校核纠错的受理与答复，逐级下达提出纠错的节点",
        "The owner's word on a correction, on its way down to the node that filed it",
    ),
    catalogue="299001/000002",
    owner=Text("数源部门", "The owner of the data"),
    level="every",
    key="id",
    scope="division",
    classification="important",
    sharing="conditional",
    basis=basis("其中的数据校核与纠错要求", "what they ask of checking and correcting data"),
    condition=CONDITION,
    purposes=(Text("校核纠错", "correcting the owner's data"),),
    freshness=30.0,
    retention=KEPT_AFTER,
    personal={"note": "null", "answered_by": "null"},
    rules=(
        Rule(
            "received-with-due",
            "state != 'received' || due != null",
            Text("受理时应给出答复期限", "What is received must say when it is due"),
            "$.due",
        ),
        Rule(
            "decided-at",
            "state == 'received' || answered_at != null",
            Text("采纳或未采纳应给出答复时间", "A decision must say when it was made"),
            "$.answered_at",
        ),
        Rule(
            "rejected-with-reason",
            "state != 'rejected' || note != ''",
            Text("未采纳应说明理由", "A rejection must say why"),
            "$.note",
        ),
    ),
    partitions=1,
)
