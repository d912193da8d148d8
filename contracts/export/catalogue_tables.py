"""The tables of a contract on the catalogue page: fields, rules, codes."""

from collections.abc import Iterator
from html import escape

from contracts.export.catalogue_words import MASKS, two
from contracts.formats import FORMATS
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


def field_table(contract: Contract) -> str:
    """Every field, those of records in records indented below theirs."""
    rows = "\n".join(
        _field_row(contract, path, field, depth) for path, field, depth in _walk(contract.fields)
    )
    heads = _heads(
        Text("字段", "Field"), Text("名称", "Title"), Text("类型与约束", "Type and limits"),
        Text("必填", "Required"), Text("个人信息", "Personal"),
    )  # fmt: skip
    return _table("fields", heads, rows)


def rules_table(contract: Contract) -> str:
    """Rules across fields; empty where there are none."""
    if not contract.rules:
        return ""
    rows = "\n".join(
        f"<tr><td><code>{escape(rule.name)}</code></td><td>{two(rule.message)}</td>"
        f"<td>{breaking(rule.path)}</td><td><code>{escape(rule.when)}</code></td></tr>"
        for rule in contract.rules
    )
    heads = _heads(
        Text("规则", "Rule"), Text("说明", "What it asks"), Text("先看", "Look at"),
        Text("表达式（CEL）", "Expression"),
    )  # fmt: skip
    title = two(Text("跨字段规则", "Rules across fields"))
    return f"<h3>{title}</h3>\n{_table('rules', heads, rows)}"


def codes_tables(contract: Contract) -> str:
    """Each code table once, with the fields that use it; empty where there are none."""
    tables: dict[tuple[str, tuple[str, ...]], list[tuple[str, Field, Enum]]] = {}
    for path, field, _ in _walk(contract.fields):
        shape = _core(field.shape)
        if isinstance(shape, Enum):
            key = (shape.standard, shape.values)
            tables.setdefault(key, []).append((path, field, shape))
    if not tables:
        return ""
    title = two(Text("代码表", "Code tables"))
    return f'<h3>{title}</h3>\n<div class="codes">{"".join(map(_codes, tables.values()))}</div>'


def _table(kind: str, heads: str, rows: str) -> str:
    return f"""<div class="wide"><table class="{kind}">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def _codes(uses: list[tuple[str, Field, Enum]]) -> str:
    _, first, shape = uses[0]
    names = " ".join(f"<code>{escape(path)}</code>" for path, *_ in uses)
    standard = f'<span class="standard">{escape(shape.standard)}</span>' if shape.standard else ""
    rows = "".join(
        f"<div><dt><code>{escape(value)}</code></dt>"
        f"<dd>{two(shape.labels[value]) if value in shape.labels else ''}</dd></div>"
        for value in shape.values
    )
    large = " large" if len(shape.values) > 12 else ""
    return (
        f'<section class="table{large}"><h4>{two(first.title)} {standard}</h4>'
        f"<p>{names}</p><dl>{rows}</dl></section>"
    )


def _walk(
    fields: tuple[Field, ...], before: str = "", depth: int = 0
) -> Iterator[tuple[str, Field, int]]:
    for field in fields:
        path = f"{before}{field.name}"
        yield path, field, depth
        shape = _core(field.shape)
        if isinstance(shape, Object):
            yield from _walk(shape.fields, f"{path}.", depth + 1)


def _core(shape: Shape) -> Shape:
    while isinstance(shape, Array | Map):
        shape = shape.items if isinstance(shape, Array) else shape.values
    return shape


def _field_row(contract: Contract, path: str, field: Field, depth: int) -> str:
    note = f'<p class="note">{two(field.description)}</p>' if field.description else ""
    mask = contract.personal.get(path) if depth == 0 else None
    personal = f'<span class="mask">{two(MASKS[mask])}</span>' if mask else ""
    roles = "".join(
        f' <span class="role">{escape(role)}</span>'
        for role, name in (("主键", contract.key), ("区划", contract.scope))
        if name == path
    )
    return (
        f'<tr class="depth{min(depth, 4)}"><td>{breaking(field.name)}{roles}</td>'
        f"<td>{two(field.title)}{note}</td><td>{two(described(field.shape))}{_pattern(field.shape)}</td>"
        f"<td>{_required(field)}</td><td>{personal}</td></tr>"
    )


def _pattern(shape: Shape) -> str:
    core = _core(shape)
    if not isinstance(core, String) or core.pattern is None:
        return ""
    return f'<code class="pattern">{escape(core.pattern)}</code>'


def breaking(name: str) -> str:
    """A name that breaks only between its words."""
    return f"<code>{escape(name).replace('_', '_<wbr>')}</code>"


def _required(field: Field) -> str:
    if field.required:
        said = (
            Text("必填，可空", "yes, may be null") if field.shape.nullable else Text("必填", "yes")
        )
        return two(said)
    if field.default is None:
        return two(Text("可不填", "no"))
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return two(Text(f"可不填，默认 {value}", f"no, then {value}"))


def described(shape: Shape) -> Text:
    """A shape in words."""
    match shape:
        case String():
            return _text(shape)
        case Integer(ge=ge, le=le):
            zh, en = "整数", "whole number"
            least = None if ge == -(2**63) else ge
            most = None if le == 2**63 - 1 else le
            return _ranged(zh, en, least, most)
        case Number():
            low = shape.ge if shape.gt is None else shape.gt
            high = shape.le if shape.lt is None else shape.lt
            return _ranged("数值", "number", low, high)
        case Decimal(digits=digits, places=places, positive=positive):
            sign = ("，非负", ", not negative") if positive else ("", "")
            return Text(
                f"小数，至多 {digits} 位（小数 {places} 位）{sign[0]}",
                f"decimal, {digits} digits, {places} behind the point{sign[1]}",
            )
        case Boolean():
            return Text("是或否", "yes or no")
        case Date():
            return Text("日期", "date")
        case DateTime():
            return Text("时刻（含时区）", "moment with offset")
        case Enum():
            count = len(shape.values)
            source = f"（{shape.standard}）" if shape.standard else ""
            of = f" ({shape.standard})" if shape.standard else ""
            return Text(f"代码，共 {count} 项{source}", f"one of {count} codes{of}")
        case Array():
            inner, size = described(shape.items), _lengths(shape.min_length, shape.max_length)
            return Text(f"列表：{inner.zh}{size.zh}", f"list of {inner.en}{size.en}")
        case Map():
            inner = described(shape.values)
            return Text(f"名值对：{inner.zh}", f"names to {inner.en}")
        case Object():
            return Text("记录，见下", "record, as below")


def _text(shape: String) -> Text:
    known = FORMATS.get(shape.format or "")
    limits = _lengths(shape.min_length, shape.max_length)
    if known is not None:
        of = Text("", "")
        if known.standard:
            of = Text(f"（{known.standard}）", f" ({known.standard})")
        return Text(f"{known.title.zh}{of.zh}{limits.zh}", f"{known.title.en}{of.en}{limits.en}")
    return Text(f"文本{limits.zh}", f"text{limits.en}")


def _lengths(least: int, most: int | None) -> Text:
    if most is None:
        return Text(f"，至少 {least}", f", at least {least}") if least else Text("", "")
    if least == most:
        return Text(f"，{most} 位", f", {most} long")
    return Text(f"，{least}–{most}", f", {least} to {most}")


def _ranged(zh: str, en: str, low: float | None, high: float | None) -> Text:
    low, high = _shortest(low), _shortest(high)
    if low is None and high is None:
        return Text(zh, en)
    if low is None:
        return Text(f"{zh}，至多 {high}", f"{en}, at most {high}")
    if high is None:
        return Text(f"{zh}，至少 {low}", f"{en}, at least {low}")
    return Text(f"{zh}，{low}–{high}", f"{en}, {low} to {high}")


def _shortest(limit: float | None) -> float | None:
    """``1.0`` as ``1``, and no digit lost."""
    whole = isinstance(limit, float) and limit.is_integer() and abs(limit) < 2**53
    return int(limit) if limit is not None and whole else limit


def _heads(*texts: Text) -> str:
    return "".join(f'<th scope="col">{two(text)}</th>' for text in texts)
