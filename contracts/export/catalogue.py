"""The catalogue page: every contract as an administrator reads it, in one HTML file.

Both languages stand side by side, Chinese first; nothing is loaded from elsewhere, and printed on A4 each
contract begins a page and tables repeat their heads. What contracts say is escaped, all of it.
"""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from contracts.export.catalogue_tables import breaking, codes_tables, field_table, rules_table
from contracts.export.catalogue_words import (
    CLASSIFICATIONS,
    LEVELS,
    ON_REFUSAL,
    SHARING,
    UPDATES,
    duration,
    two,
)
from contracts.model import Contract
from contracts.text import Text

TITLE = Text("政务数据共享目录", "Catalogue of shared government data")


def catalogue(contracts: Iterable[Contract], *, title: Text = TITLE, as_of: str = "") -> str:
    """The page of ``contracts``, newest major of each subject first. ``as_of`` is printed as its date.

    The same contracts make the same bytes.
    """
    chosen = sorted(contracts, key=lambda each: (each.subject, -each.major, -each.minor))
    style = resources.files("contracts.export").joinpath("catalogue.css").read_text("utf-8")
    versions = {
        each.subject: [other for other in chosen if other.subject == each.subject]
        for each in chosen
    }
    body = "\n".join(_contract(each, versions[each.subject]) for each in chosen)
    dated = f'<p class="date">{escape(as_of)}</p>' if as_of else ""
    return f"""<!doctype html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title.zh)} {escape(title.en)}</title>
<style>
{style}</style>
</head>
<body>
<header class="cover">
<div class="mark" aria-hidden="true"><i></i><i></i><i></i></div>
<div>
<h1>{escape(title.zh)}</h1>
<p class="en" lang="en">{escape(title.en)}</p>
</div>
{dated}
</header>
{_index(chosen)}
<main>
{body}
</main>
</body>
</html>
"""


def _index(contracts: Sequence[Contract]) -> str:
    rows = "\n".join(
        f'<tr><td><a href="#{_anchor(each)}">{two(each.title)}</a></td>'
        f"<td>{breaking(each.name)}</td>"
        f'<td class="number">{escape(each.catalogue)}</td>'
        f"<td>{two(each.owner)}</td>"
        f"<td>{two(LEVELS[each.level])}</td>"
        f"<td>{_sharing(each)}</td>"
        f'<td class="number">{two(duration(each.freshness))}</td></tr>'
        for each in contracts
    )
    heads = _heads(
        Text("名称", "Title"), Text("合同", "Contract"), Text("目录代码", "Catalogue no."),
        Text("数源部门", "Owner"), Text("层级", "Level"), Text("共享属性", "Sharing"),
        Text("时效", "Freshness"),
    )  # fmt: skip
    return f"""<nav class="index" aria-label="目录 Contents">
<h2>{two(Text("目录", "Contents"))}</h2>
<div class="wide"><table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
</nav>"""


def _contract(contract: Contract, versions: Sequence[Contract]) -> str:
    note = ""
    if contract.description is not None:
        note = f'<p class="note">{two(contract.description)}</p>'
    revision = two(Text(f"修订 {contract.revision}", f"revision {contract.revision}"))
    return f"""<article id="{_anchor(contract)}">
<header>
<p class="name"><code>{escape(contract.name)}</code>\
<span class="revision">{revision}</span></p>
<h2>{two(contract.title)}</h2>
{note}
</header>
{_entry(contract)}
<h3>{two(Text("字段", "Fields"))}</h3>
{field_table(contract)}
{rules_table(contract)}
{codes_tables(contract)}
{_versions(contract, versions)}
</article>"""


def _entry(contract: Contract) -> str:
    """The catalogue entry: what the regulation asks to be said of shared data, and the promises."""
    condition = two(contract.condition) if contract.condition else _none()
    purposes = (
        "".join(f"<p>{two(text)}</p>" for text in contract.purposes)
        if contract.purposes
        else two(Text("依法使用即可", "any lawful use"))
    )
    retention = Text("不限", "no limit")
    if contract.retention is not None:
        retention = Text(f"{contract.retention} 天", f"{contract.retention} days")
    kept = Text("按主键保存最新状态", "the newest of each key")
    if contract.journal is not None:
        kept = Text(f"流水，保存 {contract.journal} 天", f"a journal, of {contract.journal} days")
    number = f'<span class="number">{escape(contract.catalogue)}</span>'
    said = (
        (Text("目录代码", "Catalogue number"), number),
        (Text("数源部门", "Owner"), two(contract.owner)),
        (Text("权责层级", "Level that owns it"), two(LEVELS[contract.level])),
        (Text("数据分级", "Classification"), two(CLASSIFICATIONS[contract.classification])),
        (Text("共享属性", "Sharing"), _sharing(contract)),
        (Text("共享条件", "Condition"), condition),
        (Text("共享依据", "Legal basis"), two(contract.basis)),
        (Text("使用范围", "Purposes"), purposes),
        (Text("更新频率", "Updates"), two(UPDATES[contract.updates])),
        (Text("时效承诺", "Freshness promise"), two(duration(contract.freshness))),
        (Text("留存期限", "Retention"), two(retention)),
        (Text("主题保存", "Kept in the topic"), two(kept)),
        (Text("记录主键", "Key"), f"<code>{escape(contract.key)}</code>"),
        (Text("所属区划字段", "Division field"), f"<code>{escape(contract.scope)}</code>"),
        (Text("变更被拒之后", "After a refused change"), two(ON_REFUSAL[contract.on_refusal])),
        (Text("可查询字段", "Searchable"), _names(contract.searchable)),
    )  # fmt: skip
    rows = "\n".join(f"<div><dt>{two(name)}</dt><dd>{what}</dd></div>" for name, what in said)
    return f'<dl class="entry">\n{rows}\n</dl>'


def _versions(contract: Contract, versions: Sequence[Contract]) -> str:
    if len(versions) < 2:
        return ""
    links = " ".join(
        f'<a href="#{_anchor(each)}"><code>{escape(each.dataschema)}</code></a>'
        for each in versions
        if each != contract
    )
    return f'<p class="versions">{two(Text("其他版本", "Other versions"))} {links}</p>'


def _sharing(contract: Contract) -> str:
    return f'<span class="sharing {contract.sharing}">{two(SHARING[contract.sharing])}</span>'


def _names(names: Sequence[str]) -> str:
    return " ".join(f"<code>{escape(name)}</code>" for name in names) or _none()


def _none() -> str:
    return '<span class="none">—</span>'


def _heads(*texts: Text) -> str:
    return "".join(f'<th scope="col">{two(text)}</th>' for text in texts)


def _anchor(contract: Contract) -> str:
    return escape(contract.dataschema.replace("/", "-"), quote=True)
