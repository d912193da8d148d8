"""查询日志: who looked at what, in a journal of which nothing can be taken without its being seen.

Each node writes a chain of its own: every record holds the hash of the one before it, and the hash of
itself (:func:`hash_of`). Keys of persons stand in it, so it is personal data itself.
"""

import datetime
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from contracts.define import about, define
from contracts.subjects.correction import ContractName, NodeName
from contracts.subjects.fields import CONDITION, basis
from contracts.text import Text

#: Looks in one record, and characters of one look's key or query.
MOST_LOOKS, MOST_WHAT = 500, 1_000
#: Days the journal is kept: three years.
KEPT_DAYS = 1_096

_HASH = r"^[0-9a-f]{64}$"


class LookV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One look."""

    at: Annotated[datetime.datetime, about("时间", "At")]
    what: Annotated[
        str,
        about(
            "查询内容",
            "What",
            note=Text("主键，或列表、订阅的条件", "a key, or the query of a page or a feed"),
            max_length=MOST_WHAT,
        ),
    ]


class AccessV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Looks of one reader at one contract, in the order they were made."""

    id: Annotated[
        str,
        about(
            "编号",
            "Number",
            note=Text("链的名称与序号", "the chain's name and the number in it"),
            pattern=r"^[0-9a-z-]{1,80}$",
        ),
    ]
    node: NodeName
    division: Annotated[str, about("节点区划", "Division of the node", pattern=r"^\d{1,12}$")]
    who: Annotated[str, about("查询者", "Who", min_length=1, max_length=200)]
    kind: Annotated[
        Literal["system", "clerk", "machine", "mqtt", "sql"],
        about(
            "查询者类别",
            "Kind",
            labels={
                "system": Text("窗口系统", "Window system"),
                "clerk": Text("工作人员", "Clerk"),
                "machine": Text("本机", "This machine"),
                "mqtt": Text("MQTT设备", "Over MQTT"),
                "sql": Text("数据库表", "Into a table"),
            },
        ),
    ]
    purpose: Annotated[str, about("用途", "Purpose", min_length=1, max_length=500)]
    contract: ContractName
    action: Annotated[
        Literal["look-up", "page", "follow"],
        about(
            "方式",
            "How",
            labels={
                "look-up": Text("按主键查询", "Look-up by key"),
                "page": Text("列表查询", "Page of records"),
                "follow": Text("订阅", "Following of changes"),
            },
        ),
    ]
    what: Annotated[list[LookV1], about("查询明细", "Looks", min_length=1, max_length=MOST_LOOKS)]
    since: Annotated[datetime.datetime, about("首次时间", "First at")]
    until: Annotated[datetime.datetime, about("末次时间", "Last at")]
    chain: Annotated[
        str,
        about(
            "链",
            "Chain",
            note=Text("状态目录丢失后另起一链", "another one begins where the state was lost"),
            pattern=r"^[0-9a-z]{1,40}$",
        ),
    ]
    number: Annotated[int, about("链内序号", "Number in the chain", ge=1)]
    previous: Annotated[
        str,
        about(
            "前一条的哈希",
            "Hash of the one before",
            note=Text("链首为空", "empty at the chain's beginning"),
            pattern=r"^([0-9a-f]{64})?$",
        ),
    ]
    hash: Annotated[
        str,
        about(
            "哈希",
            "Hash",
            note=Text(
                "去掉本字段、键名排序后的JSON的SHA-256",
                "SHA-256 of the record's JSON without this field, its names sorted",
            ),
            pattern=_HASH,
        ),
    ]


ACCESS = define(
    AccessV1,
    subject="access",
    major=1,
    title=Text("查询日志", "Accesses"),
    description=Text(
        "谁在何时何地为何查询了哪些数据，逐节点成链，不可悄然删改",
        "Who looked at what, when, where and what for; a chain of hashes a node, so that nothing can be"
        " changed or removed without its being seen",
    ),
    catalogue="299001/000003",
    owner=Text("被查询的节点", "The node where it was looked at"),
    level="every",
    key="id",
    scope="division",
    classification="important",
    sharing="conditional",
    basis=basis("中华人民共和国个人信息保护法", "Personal Information Protection Law"),
    condition=CONDITION,
    purposes=(Text("查询审计", "auditing who looked at what"),),
    freshness=60.0,
    personal={"who": "null", "what": "null"},
    journal=KEPT_DAYS,
    partitions=1,
)


def hash_of(record: Mapping[str, Any]) -> str:
    """What ``hash`` of an access, as plain data of JSON, has to be."""
    bare = {name: value for name, value in record.items() if name != "hash"}
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
