"""The scorecard as one page: both languages in it, nothing loaded from elsewhere, no script, good on A4.

All text is escaped. The same report makes the same bytes.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from itertools import groupby
from typing import Literal

from agents.report import charts
from agents.report import words as w
from agents.report.model import Corrections, Given, Line, Report, Use
from contracts.text import Text

#: What the page shows first; it holds all of it, and can be switched.
Shown = Literal["zh", "en", "both"]
#: Promises kept in less than this share of the time are marked.
_GOOD = 0.999
_SWITCH: tuple[tuple[Shown, str], ...] = (("zh", "中文"), ("en", "English"), ("both", "双语 Both"))


def page(report: Report, shown: Shown = "both") -> str:
    """The page of ``report``."""
    switch = "".join(
        f'<input type="radio" name="language" id="language-{name}"'
        f'{" checked" if name == shown else ""}><label for="language-{name}">{text}</label>'
        for name, text in _SWITCH
    )
    several = len({line.node for line in report.lines}) > 1
    known = "".join(f"<li>{two(each)}</li>" for each in report.not_known)
    unknown = sum(line.unknown for line in report.lines)
    if not known and not unknown:
        known = f"<li>{two(w.ALL_KNOWN)}</li>"
    known += _unknown_lines(report.lines, several)
    details = "".join(_article(line) for line in report.lines if line.days)
    return f"""<!doctype html>
<html lang="{"en" if shown == "en" else "zh-CN"}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(w.TITLE.zh)} {escape(w.TITLE.en)} {escape(report.node)}</title>
<style>
{_style()}</style>
</head>
<body>
<fieldset class="switch"><legend>语言 Language</legend>{switch}</fieldset>
<div class="page">
<svg class="patterns" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6"
 patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" class="hatch-ground"/>
<line x1="0" y1="0" x2="0" y2="6" class="hatch-line"/></pattern></defs></svg>
<header class="cover">
<div class="mark" aria-hidden="true"><i></i><i></i><i></i></div>
<div><h1>{two(w.TITLE)}</h1>
<p class="node"><span class="number">{escape(report.node)}</span> {escape(report.name)}</p></div>
<dl><div><dt>{two(w.PERIOD)}</dt><dd>{escape(report.from_)} – {escape(report.to)}</dd></div>
<div><dt>{two(w.MADE)}</dt><dd>{escape(report.made[:16].replace("T", " "))}</dd></div></dl>
</header>
<main>
<section><h2>{two(w.SUMMARY)}</h2>
{_summary(report.lines, several)}
</section>
<section><h2>{two(w.NOT_KNOWN)}</h2><ul class="plain">{known}</ul></section>
{_corrections(report.corrections)}
{_uses(report.uses)}
{_given(report.given)}
{f'<section class="details"><h2>{two(w.DETAILS)}</h2>{details}</section>' if details else ""}
<section class="how"><h2>{two(w.HOW)}</h2>
<ul>{"".join(f"<li>{two(each)}</li>" for each in w.COUNTED)}</ul>
</section>
</main>
</div>
</body>
</html>
"""


def two(text: Text) -> str:
    """Both languages, of which the page shows what was chosen; once where they are the same."""
    if text.zh == text.en:
        return escape(text.zh)
    return f'<span lang="zh-CN">{escape(text.zh)}</span><span lang="en">{escape(text.en)}</span>'


def _style() -> str:
    tokens = resources.files("agents.window").joinpath("page/tokens.css").read_text("utf-8")
    own = resources.files("agents.report").joinpath("page.css").read_text("utf-8")
    dark = re.search(r':root\[data-theme="dark"\] \{(.*?)\n\}', tokens, re.S)
    by_system = (
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{{dark[1]}\n}} }}\n"
        if dark
        else ""
    )
    return tokens + by_system + own


# ---- the tables ----------------------------------------------------------------------------------


def _summary(lines: Sequence[Line], several: bool) -> str:
    if not lines:
        return f'<p class="none">{two(w.NONE)}</p>'
    names = [
        *([w.NODE] if several else []), w.CONTRACT, w.HOP, w.PROMISED, w.KEPT, w.USUAL, w.P99, w.LARGEST,
        w.AVAILABLE, w.EVENTS, w.REFUSED, w.GAPS, w.KNOWN,
    ]  # fmt: skip
    bodies = []
    for owner, of in groupby(lines, key=lambda line: line.owner):
        rows = "".join(_summary_row(line, several) for line in of)
        bodies.append(
            f'<tbody><tr class="owner"><th colspan="{len(names)}" scope="rowgroup">{two(w.OWNER)}'
            f" <b>{two(owner)}</b></th></tr>{rows}</tbody>"
        )
    return _table(names, bodies, figures=range(2 + several, len(names)), name="summary")


def _summary_row(line: Line, several: bool) -> str:
    known = line.seen / line.seconds if line.seconds else None
    cells = [
        *([_cell(escape(line.node))] if several else []),
        _cell(f'{two(line.title)} <code class="contract">{escape(line.contract)}</code>'),
        _cell(f'{two(w.WAYS[line.way])}<code class="to">{escape(line.to)}</code>'),
        _figure(w.duration(line.promised or None)),
        _figure(w.share(line.promise_kept), _mark(line.promise_kept)),
        _figure(w.duration(line.age.p50)),
        _figure(w.duration(line.age.p99), _late(line.age.p99, line.promised)),
        _figure(w.duration(line.age.largest), _late(line.age.largest, line.promised)),
        _figure(w.share(line.availability), _mark(line.availability)),
        _figure(w.number(line.events)),
        _figure(w.little(line.refused_share), "late" if (line.refused_share or 0) > 0.01 else ""),
        _figure(w.number(line.gaps), "bad" if line.gaps else ""),
        _figure(w.share(known), "" if known is None or known > 0.999 else "late"),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _mark(share: float | None) -> str:
    if share is None or share >= _GOOD:
        return ""
    return "late" if share >= 0.99 else "bad"


def _late(seconds: float | None, promised: float) -> str:
    return "late" if seconds is not None and promised and seconds > promised else ""


def _unknown_lines(lines: Sequence[Line], several: bool) -> str:
    """Of each line how much is not known, those alike together; of several nodes each once."""
    said: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.seconds and line.unknown > 0.001 * line.seconds:
            told = f"{w.duration(line.unknown)} / {w.duration(line.seconds)}"
            whole = f"<code>{escape(line.contract)}</code> {two(w.WAYS[line.way])}"
            said.setdefault(told, {})[escape(line.node) if several else whole] = None
    return "".join(
        f'<li class="spans">{two(w.NO_RECORD)} {escape(told)}: {", ".join(names)}</li>'
        for told, names in said.items()
    )


def _corrections(corrections: Sequence[Corrections]) -> str:
    if not corrections:
        return ""
    names = [w.CONTRACT, w.FILED, w.OPEN, w.OVERDUE, w.ACCEPTED, w.REJECTED, w.IN_TIME, w.TOOK]
    rows = "".join(
        "<tr>"
        + _cell(f"{two(each.title)} <code>{escape(each.contract)}</code>")
        + _figure(w.number(each.filed))
        + _figure(w.number(each.open))
        + _figure(w.number(each.overdue), "bad" if each.overdue else "")
        + _figure(w.number(each.accepted))
        + _figure(w.number(each.rejected))
        + _figure(
            f"{each.in_time} / {each.with_due}", "late" if each.in_time < each.with_due else ""
        )
        + _figure(f"{w.hours(each.median_hours)} / {w.hours(each.longest_hours)}")
        + "</tr>"
        for each in corrections
    )
    table = _table(names, [f"<tbody>{rows}</tbody>"], figures=range(1, 8))
    return f"<section><h2>{two(w.CORRECTIONS)}</h2>{table}</section>"


def _uses(uses: Sequence[Use]) -> str:
    if not uses:
        return ""
    names = [w.CONTRACT, w.WHO, w.PURPOSE, w.NODES, w.LOOK_UPS, w.PAGES, w.FOLLOWS]
    rows = "".join(
        "<tr>"
        + _cell(f"{two(use.title)} <code>{escape(use.contract)}</code>")
        + _cell(_who(use))
        + _cell(escape(use.purpose))
        + "".join(
            _figure(w.number(value)) for value in (use.nodes, use.look_ups, use.pages, use.follows)
        )
        + "</tr>"
        for use in uses
    )
    table = _table(names, [f"<tbody>{rows}</tbody>"], figures=range(3, 7))
    return f"<section><h2>{two(w.USES)}</h2>{table}</section>"


def _who(use: Use) -> str:
    kind = two(w.KINDS.get(use.kind, Text(use.kind, use.kind)))
    return f"{escape(use.who)} <small>{kind}</small>" if use.who else kind


def _given(given: Sequence[Given]) -> str:
    if not given:
        return ""
    names = [w.CONTRACT, w.TO, w.PURPOSE, w.UNTIL]
    rows = "".join(
        "<tr>"
        + _cell(f"{two(each.title)} <code>{escape(each.contract)}</code>")
        + _cell(escape(each.to))
        + _cell(escape(each.purpose))
        + _cell(escape(each.until) or two(w.NO_END))
        + "</tr>"
        for each in given
    )
    table = _table(names, [f"<tbody>{rows}</tbody>"])
    return f"<section><h2>{two(w.GIVEN)}</h2>{table}</section>"


# ---- one line -------------------------------------------------------------------------------------


def _article(line: Line) -> str:
    rows = "".join(
        f'<tr><th scope="row">{day.day}</th>'
        + _figure(w.share(day.kept / day.known if day.known else None),
                  _mark(day.kept / day.known if day.known else None))
        + _figure(w.duration(day.p99), _late(day.p99, line.promised))
        + _figure(w.duration(day.largest), _late(day.largest, line.promised))
        + _figure(w.share(day.running / day.seen if day.seen else None))
        + _figure(w.share(day.seen / day.seconds if day.seconds else None))
        + _figure(w.number(day.events))
        + _figure(w.number(day.refused))
        + _figure(w.number(day.gaps))
        + "</tr>"
        for day in line.days
    )  # fmt: skip
    names = [w.DAY, w.KEPT, w.P99, w.LARGEST, w.AVAILABLE, w.KNOWN, w.EVENTS, w.REFUSED, w.GAPS]
    table = _table(names, [f"<tbody>{rows}</tbody>"], figures=range(1, 9), name="days")
    facts = (
        (w.PROMISED, w.duration(line.promised or None), ""),
        (w.KEPT, w.share(line.promise_kept), _mark(line.promise_kept)),
        (w.P99, w.duration(line.age.p99), _late(line.age.p99, line.promised)),
        (w.AVAILABLE, w.share(line.availability), _mark(line.availability)),
        (w.LATENCY, w.milliseconds(line.latency_p50, line.latency_p99), ""),
        (w.BREACHES, w.number(line.breaches), "late" if line.breaches else ""),
    )
    stated = "".join(
        f'<div><dt>{two(name)}</dt><dd class="{mark}">{escape(value)}</dd></div>'
        for name, value, mark in facts
    )
    way = f'<span class="way">{two(w.WAYS[line.way])}</span>'
    path = f"<code>{escape(line.from_)}</code> → <code>{escape(line.to)}</code>"
    return f"""<article>
<header><h3>{two(line.title)} <code>{escape(line.contract)}</code> {way}</h3>
<p class="path">{path}</p></header>
<dl class="facts">{stated}</dl>
<figure><figcaption>{two(w.DAILY_P99)}</figcaption>{charts.ages(line.days, line.promised)}</figure>
<figure><figcaption>{two(w.DAILY_RUN)}</figcaption>{charts.runs(line.days)}</figure>
<figure><figcaption>{two(w.DAILY_EVENTS)}</figcaption>{charts.events(line.days)}</figure>
<details><summary>{two(w.TABLE)}</summary>{table}</details>
</article>"""


def _table(
    names: Sequence[Text], bodies: Iterable[str], figures: range = range(0), name: str = ""
) -> str:
    heads = "".join(
        f'<th scope="col"{" class=figure" if at in figures else ""}>{two(text)}</th>'
        for at, text in enumerate(names)
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{name}"><thead><tr>{heads}</tr></thead>'
        f"{''.join(bodies)}</table></div>"
    )


def _cell(html: str) -> str:
    return f"<td>{html}</td>"


def _figure(text: str, mark: str = "") -> str:
    return f'<td class="figure {mark}">{escape(text)}</td>'
