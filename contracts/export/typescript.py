"""TypeScript types for window developers: records, code tables with their labels, and the changes that
a window's feed sends.

Records are as readers get them, so what may be left out is optional, and a newer revision may send more
than the types say. Exact numbers, dates and moments are text, as in JSON.
"""

from collections.abc import Iterable

from contracts.export.naming import Named, Names, line, named_parts, quoted
from contracts.model import Contract
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)
from contracts.text import Text

_HEAD = """\
// Made by `levelsync contract export --form typescript`; made anew when contracts change.

/** 代码含义，中英文 | What a code means, in Chinese and English. */
export interface Label {
  readonly zh: string;
  readonly en: string;
}
"""

_FEED = """
/** 合同名到记录类型 | From a contract's name to its record. */
export interface Records {
%(records)s
}

export type ContractName = keyof Records;

interface Told<Name extends ContractName> {
  /** 合同 | The contract. */
  readonly contract: Name;
  /** 记录的键 | The record's key. */
  readonly key: string;
  /** 事件编号，重发时不变 | The event's id, the same each time it is told. */
  readonly id: string;
  /** 同键变更的次序，按文本比较 | The order of a key's changes, compared as text. */
  readonly sequence: string;
  /** 源端提交时间，RFC 3339 | Commit time at the source, RFC 3339. */
  readonly time: string;
  /** 来源 | Where it happened. */
  readonly source: string;
}

/** 新增或变更 | A record that is there or changed. */
export interface Put<Name extends ContractName> extends Told<Name> {
  readonly op: "put";
  /** 所属区划 | The division it belongs to. */
  readonly scope: string;
  readonly record: Records[Name];
  /** 开始订阅时的现状为真 | True for the state told when a subscription begins. */
  readonly state?: true;
  /** 合同与修订，如 resident.v2/2.1 | Contract and revision. */
  readonly dataschema?: string;
}

/** 删除，或离开所订阅的区划 | A record deleted, or gone from the scope subscribed to. */
export interface Deleted<Name extends ContractName> extends Told<Name> {
  readonly op: "delete";
  readonly scope: "";
  readonly record: null;
}

/** 事件 change 的数据 | The data of a `change` event; `contract` and `op` tell which. */
export type Change<Name extends ContractName = ContractName> = {
  [Each in Name]: Put<Each> | Deleted<Each>;
}[Name];

/** 查询所得 | A record as a lookup answers it. */
export type Entry<Name extends ContractName = ContractName> = {
  [Each in Name]: Omit<Put<Each>, "op" | "state" | "dataschema"> & { readonly dataschema: string };
}[Name];

/** 推送的事件名及其数据 | Events of the feed by name, with their data. */
export interface Feed {
  readonly change: Change;
  /** 现状已全部发送 | The state is told; from here on every change. */
  readonly live: Record<string, never>;
  /** 落后太多，须重新订阅 | Too far behind: subscribe anew. */
  readonly cut: { readonly reason: string };
}
"""


def typescript(contracts: Iterable[Contract]) -> str:
    """One module with the types of ``contracts``."""
    names, parts, records = Names(), [_HEAD], []
    for contract in contracts:
        found = named_parts(contract)
        names.of(found[-1].words)
        parts += [_declared(each, names) for each in found]
        records.append(f"  readonly {quoted(contract.name)}: {names.of(found[-1].words)};")
    return "\n".join(parts) + _FEED % {"records": "\n".join(records)}


def _declared(part: Named, names: Names) -> str:
    name = names.of(part.words)
    if isinstance(part.shape, Enum):
        return _codes(part, part.shape, name)
    fields = "\n".join(_field(field, part.words, names) for field in part.shape.fields)
    return f"{_doc(0, part.title, part.note)}export interface {name} {{\n{fields}\n}}\n"


def _codes(part: Named, shape: Enum, name: str) -> str:
    standard = Text(shape.standard, shape.standard) if shape.standard else None
    doc = _doc(0, part.title, part.note, standard)
    union = " | ".join(quoted(value) for value in shape.values)
    declared = f"{doc}export type {name} = {union};\n"
    if not shape.labels:
        return declared
    labels = "\n".join(
        f"  {quoted(value)}: {{ zh: {quoted(label.zh)}, en: {quoted(label.en)} }},"
        for value, label in shape.labels.items()
    )
    whole = len(shape.labels) == len(shape.values)
    kind = f"Record<{name}, Label>"
    kind = f"Readonly<{kind if whole else f'Partial<{kind}>'}>"
    return f"{declared}\n{doc}export const {name}Labels: {kind} = {{\n{labels}\n}};\n"


def _field(field: Field, words: tuple[str, ...], names: Names) -> str:
    kind = _type(field.shape, (*words, field.name), names)
    doc = _doc(2, field.title, field.description, _note(field.shape))
    return f"{doc}  readonly {field.name}{'' if field.required else '?'}: {kind};"


def _note(shape: Shape) -> Text | None:
    match shape:
        case Integer(ge=ge, le=le) if ge < -(2**53) or le > 2**53:
            return Text("大于 2^53 时 JSON.parse 会失精度", "beyond 2^53 JSON.parse rounds it")
        case Decimal(digits=digits, places=places):
            return Text(
                f"精确小数文本，至多 {digits} 位、小数 {places} 位",
                f"an exact decimal as text, {digits} digits, {places} behind the point",
            )
        case Date():
            return Text("日期 YYYY-MM-DD", "a day, YYYY-MM-DD")
        case DateTime():
            return Text("时刻，RFC 3339，含时区", "a moment by RFC 3339 with its offset")
    return None


def _type(shape: Shape, words: tuple[str, ...], names: Names) -> str:
    match shape:
        case String() | Decimal() | Date() | DateTime():
            kind = "string"
        case Integer() | Number():
            kind = "number"
        case Boolean():
            kind = "boolean"
        case Enum() | Object():
            kind = names.of(words)
        case Array():
            kind = f"ReadonlyArray<{_type(shape.items, words, names)}>"
        case Map():
            kind = f"Readonly<Record<string, {_type(shape.values, words, names)}>>"
    return f"{kind} | null" if shape.nullable else kind


def _doc(indent: int, *texts: Text | None) -> str:
    said = line(*texts).replace("*/", "* /")
    return f"{' ' * indent}/** {said} */\n"
