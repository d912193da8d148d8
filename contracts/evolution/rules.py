"""The rules by which changes of contracts are judged, by name, in both languages.

Names are stable: a pipeline may look for them.
"""

from typing import Literal, NamedTuple

from contracts.text import Text

Severity = Literal["break", "promise", "note"]
Affected = Literal["old readers", "new readers", "granted children", "stored state"]


class Told(NamedTuple):
    """What there is to say about every finding of one rule."""

    severity: Severity
    breaks: tuple[Affected, ...]
    message: Text
    way_out: Text


_OLD: tuple[Affected, ...] = ("old readers",)
_NEW: tuple[Affected, ...] = ("new readers", "stored state")
_BOTH: tuple[Affected, ...] = ("old readers", *_NEW)
_CHILDREN: tuple[Affected, ...] = ("granted children",)
_ALL: tuple[Affected, ...] = (*_BOTH, *_CHILDREN)

_MAJOR = Text(
    "作为新的主版本发布，写好升降转换，两个主版本并行至截止日期",
    "publish it as a new major with steps up and down, and both majors until a sunset date",
)
_BESIDE = Text(
    "保留原字段，另加一个有默认值的新字段；原字段到下一主版本再去掉",
    "keep the field and add a new one with a default beside it; drop the old one in the next major",
)
_DEFAULT = Text(
    "给字段加默认值（例如 `| None = None`），或发布新的主版本",
    "give the field a default (such as `| None = None`), or publish a new major",
)
_KEEP = Text(
    "保留原来的取值范围，新的要求在数据源处执行；或发布新的主版本",
    "keep accepting what was accepted and ask for more at the source; or publish a new major",
)
_CODES = Text(
    "保留该代码并在说明中标注停用；或发布新的主版本",
    "keep the code and say in its label that it is no longer given; or publish a new major",
)
_AGREE = Text(
    "保持原承诺；确需改变时发布新的主版本，使各方按新条件重新订立授权",
    "keep the promise; or publish a new major, so that grants are agreed anew on its terms",
)
_NOTHING = Text("无需处理", "nothing to do")


def _told(
    severity: Severity, breaks: tuple[Affected, ...], zh: str, en: str, way_out: Text = _NOTHING
) -> Told:
    return Told(severity, breaks, Text(zh, en), way_out)


RULES: dict[str, Told] = {
    # A record's fields.
    "field-added": _told(
        "note", (), "新增可缺省的字段：旧版读者不看它，旧数据取默认值",
        "a field that may be left out was added: old readers pass over it, old records have the default",
    ),
    "field-added-without-default": _told(
        "break", _NEW, "新增必填字段：此前的数据没有它，新版读者会拒绝",
        "a required field was added: records from before do not have it and new readers refuse them",
        _DEFAULT,
    ),
    "field-removed": _told(
        "break", _CHILDREN, "字段被去掉：点名该字段的授权失效；若原为必填，旧版读者拒绝新数据",
        "a field was removed: grants that name it fall, and where it was required old readers refuse"
        " new records", _BESIDE,
    ),
    "field-renamed": _told(
        "break", _CHILDREN, "字段改名：等于去掉一个字段再新增一个",
        "a field was renamed, which is to remove one and to add another", _BESIDE,
    ),
    "field-became-optional": _told(
        "note", (), "字段改为可缺省：写出的数据仍总有该字段，缺省时为默认值",
        "a field may be left out now: records are still written with it, as its default",
    ),
    "field-became-required": _told(
        "note", (), "字段改为必填：写出的数据本就总有该字段；只影响缺省它的数据源",
        "a field is required now: records were always written with it; only sources that leave it out"
        " are refused", Text("先让数据源填报该字段", "let the sources fill it in first"),
    ),
    "default-changed": _told(
        "break", ("stored state",), "默认值改变：没有该字段的旧数据从此含义不同",
        "a default changed: old records without the field mean something else from now on", _BESIDE,
    ),
    # A field's shape.
    "type-widened": _told(
        "break", _OLD, "类型放宽：旧版读者拒绝新的取值",
        "a type was widened: old readers refuse what is new in it", _BESIDE,
    ),
    "type-narrowed": _told(
        "break", (*_NEW, *_CHILDREN), "类型收窄：新版读者拒绝此前的数据，授权条件可能失效",
        "a type was narrowed: new readers refuse records from before, and grants' conditions on it"
        " may fail", _BESIDE,
    ),
    "type-changed": _told(
        "break", _ALL, "类型改变：新旧读者都读不了对方的数据，授权条件可能失效",
        "a type changed: neither side reads the other's records, and grants' conditions on it may"
        " fail", _BESIDE,
    ),
    "null-allowed": _told(
        "break", _OLD, "允许为空：旧版读者拒绝空值",
        "null is allowed now: old readers refuse it",
        Text("新增一个可空字段，原字段保持非空；或发布新的主版本",
             "add a nullable field beside it and keep this one filled in; or publish a new major"),
    ),
    "null-refused": _told(
        "break", _NEW, "不再允许为空：新版读者拒绝此前的空值",
        "null is refused now: new readers refuse records in which it is null", _KEEP,
    ),
    "enum-value-added": _told(
        "break", _OLD, "代码表新增代码：旧版读者拒绝它",
        "a code was added: old readers refuse it",
        Text("新代码放在一个新增的可缺省字段里，原字段给最接近的旧代码；或发布新的主版本",
             "put new codes into a new field with a default and the nearest old code here; or publish"
             " a new major"),
    ),
    "enum-value-removed": _told(
        "break", _NEW, "代码表去掉代码：新版读者拒绝仍含它的旧数据",
        "a code was removed: new readers refuse old records that hold it", _CODES,
    ),
    "enum-label-changed": _told(
        "note", _OLD, "代码的含义文字改变：若含义真的变了，旧数据会被误读",
        "what a code is said to mean changed: if it truly means something else, old records are read"
        " wrongly",
        Text("只是改字则无妨；含义变了就用新代码",
             "fine for a correction; take a new code for a new meaning"),
    ),
    "enum-standard-changed": _told(
        "note", (), "代码所依标准的名称改变", "the code table is said to be of another standard",
    ),
    "length-tightened": _told(
        "break", _NEW, "长度限制收紧：新版读者拒绝超出的旧数据",
        "a length was tightened: new readers refuse old records beyond it", _KEEP,
    ),
    "length-loosened": _told(
        "break", _OLD, "长度限制放宽：旧版读者拒绝超出的新数据",
        "a length was loosened: old readers refuse new records beyond the old limit", _BESIDE,
    ),
    "range-tightened": _told(
        "break", _NEW, "取值范围收紧：新版读者拒绝范围外的旧数据",
        "a range was tightened: new readers refuse old records outside it", _KEEP,
    ),
    "range-loosened": _told(
        "break", _OLD, "取值范围放宽：旧版读者拒绝范围外的新数据",
        "a range was loosened: old readers refuse new records outside the old one", _BESIDE,
    ),
    "pattern-added": _told(
        "break", _NEW, "新增格式正则：新版读者拒绝不符的旧数据",
        "a pattern was added: new readers refuse old records that do not match", _KEEP,
    ),
    "pattern-removed": _told(
        "break", _OLD, "去掉格式正则：旧版读者拒绝不符的新数据",
        "a pattern was removed: old readers refuse new records that do not match", _BESIDE,
    ),
    "pattern-changed": _told(
        "break", _BOTH, "格式正则改变：无法证明新旧互相包含，视为双向破坏",
        "a pattern changed: that either contains the other cannot be told, so both ways count as"
        " broken", _BESIDE,
    ),
    "format-added": _told(
        "break", _NEW, "新增格式校验：新版读者拒绝不符的旧数据",
        "a format was added: new readers refuse old records that do not keep it", _KEEP,
    ),
    "format-removed": _told(
        "break", _OLD, "去掉格式校验：旧版读者拒绝不符的新数据",
        "a format was removed: old readers refuse new records that do not keep it", _BESIDE,
    ),
    "format-changed": _told(
        "break", _BOTH, "格式改变：新旧读者各按各的格式校验",
        "a format changed: each side refuses what does not keep its own", _BESIDE,
    ),
    # Rules across fields.
    "rule-added": _told(
        "break", _NEW, "新增规则：新版读者拒绝不符的旧数据",
        "a rule was added: new readers refuse old records that break it", _KEEP,
    ),
    "rule-removed": _told(
        "break", _OLD, "去掉规则：旧版读者拒绝不符的新数据",
        "a rule was removed: old readers refuse new records that break it", _MAJOR,
    ),
    "rule-changed": _told(
        "break", _BOTH, "规则改变：无法证明新旧互相包含，视为双向破坏",
        "a rule changed: that either contains the other cannot be told, so both ways count as broken",
        _MAJOR,
    ),
    "rule-reads-otherwise": _told(
        "break", _BOTH, "规则文字未变，但所看字段的内部结构变了：同一数据可能判得不同",
        "a rule stayed, but the inside of a field it looks at changed: the same record may be judged"
        " differently",
        Text("让规则只点名具体的内层字段（如 `address.street`），或发布新的主版本",
             "let the rule name the inner fields alone (`address.street`), or publish a new major"),
    ),
    "rule-renamed": _told(
        "note", (), "规则改名：死信中的名称随之改变", "a rule was renamed: dead letters name it so",
    ),
    # What the contract is.
    "subject-changed": _told("break", _ALL, "不是同一主题", "this is another subject", _MAJOR),
    "key-changed": _told(
        "break", _ALL, "主键改变：已存数据按旧主键存放，同一记录会出现两次",
        "the key changed: what is stored stands under the old one, and records appear twice", _MAJOR,
    ),
    "scope-changed": _told(
        "break", _ALL, "所属区划字段改变：授权按区划给出的行随之改变",
        "the scope changed: grants give other rows, and stored records lie elsewhere", _MAJOR,
    ),
    "level-changed": _told(
        "break", _ALL, "数源层级改变：发布者换了，上下级方向改变",
        "the level that owns it changed: others publish it, and links run another way", _MAJOR,
    ),
    "partitions-fewer": _told(
        "break", _ALL, "分区数减少：Kafka 不能减少主题的分区",
        "there are fewer partitions: Kafka cannot take partitions from a topic", _MAJOR,
    ),
    "partitions-more": _told(
        "note", (), "分区数增加", "there are more partitions",
        Text("先在各接收方增加分区，再在发布方增加",
             "let the receivers' topics grow first, then the publisher's"),
    ),
    "journal-changed": _told(
        "break", _ALL, "流水与按主键保存互换，或流水保存期限改变：已有主题不会随之改变",
        "a journal became state by key, or the other way, or is kept for other days: topics that are"
        " there do not change with it", _MAJOR,
    ),
    "search-removed": _told(
        "break", _OLD, "不再可按该字段检索：窗口的这类查询会被拒绝",
        "records can no longer be looked up by this field: windows that do are refused",
        Text("保留检索字段到下一主版本", "keep it until the next major"),
    ),
    "search-added": _told(
        "note", (), "新增检索字段", "records can be looked up by this field too",
    ),
    # What is promised.
    "mask-loosened": _told(
        "promise", _CHILDREN, "个人信息脱敏放宽：原先不可见的内容变为可见",
        "a mask was loosened: it shows something of personal data that it hid before", _AGREE,
    ),
    "mask-tightened": _told(
        "promise", _CHILDREN, "个人信息脱敏收紧：下级原先能看到的内容看不到了",
        "a mask was tightened: children no longer see something they saw", _AGREE,
    ),
    "classification-lowered": _told(
        "promise", _CHILDREN, "数据级别降低：下级的保护义务随之减轻",
        "the classification was lowered: children have to protect the data less", _AGREE,
    ),
    "classification-raised": _told(
        "note", _CHILDREN, "数据级别提高：下级须加强保护",
        "the classification was raised: children have to protect the data more",
        Text("告知已获授权的下级", "tell the children who have it"),
    ),
    "sharing-narrowed": _told(
        "break", _CHILDREN, "共享属性收窄：已有授权可能不再成立",
        "sharing was narrowed: grants may no longer stand", _AGREE,
    ),
    "sharing-widened": _told(
        "note", (), "共享属性放宽", "sharing was widened",
        Text("确认依据与个人信息保护要求", "make sure of its basis, and of personal data"),
    ),
    "purposes-narrowed": _told(
        "break", _CHILDREN, "用途减少：以该用途订立的授权不再成立",
        "a purpose was removed: grants made for it no longer stand", _AGREE,
    ),
    "purposes-widened": _told("note", (), "用途增加", "the data may be used for more"),
    "freshness-weakened": _told(
        "promise", _OLD, "时效承诺变弱：窗口等待变更的时间更长",
        "the freshness promise was weakened: windows may wait longer for a change", _AGREE,
    ),
    "freshness-strengthened": _told("note", (), "时效承诺变强", "changes are promised sooner"),
    "updates-slower": _told(
        "promise", _OLD, "更新频率降低", "the data are brought up to date less often", _AGREE,
    ),
    "updates-faster": _told(
        "note", (), "更新频率提高", "the data are brought up to date more often",
    ),
    "on-refusal-changed": _told(
        "note", (), "同一主键有变更被拒后，其后续变更的处理方式改变",
        "what later changes of a key do behind a refused one is another",
        Text("先处理完死信再发布", "replay or drop the dead letters before it is published"),
    ),
    "retention-shortened": _told(
        "promise", (*_CHILDREN, "stored state"), "保存期限缩短：下级须更早删除",
        "retention was shortened: children have to delete sooner", _AGREE,
    ),
    "retention-lengthened": _told(
        "note", (), "保存期限延长", "children may keep what was deleted for longer",
        Text("含个人信息时应告知个人", "where data are personal, people are to be told"),
    ),
    "condition-changed": _told(
        "note", _CHILDREN, "共享条件的文字改变：已有授权按旧条件订立",
        "what a conditional sharing asks for reads otherwise: grants were made on the old words",
        Text("若条件真的变了，与下级重新确认", "if it truly asks for more, agree it with the children"),
    ),
    "owner-changed": _told(
        "note", _CHILDREN, "数源部门名称改变", "the department that keeps the records is another",
        Text("告知已获授权的下级", "tell the children who have it"),
    ),
    "catalogue-changed": _told("note", (), "目录代码改变", "its catalogue number changed"),
    "words-changed": _told("note", (), "说明文字改变", "words for people changed"),
}  # fmt: skip
