"""The scorecard for a terminal: tables of text, Chinese characters two columns wide."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from agents.report import words as w
from agents.report.model import Report
from contracts.text import Text

Language = Literal["zh", "en"]


def told(report: Report, language: Language) -> str:
    """All of it but the single days."""
    say = _in(language)
    head = [
        f"{say(w.TITLE)}  {report.node} {report.name}",
        f"{say(w.PERIOD)} {report.from_} – {report.to}    {say(w.MADE)} {report.made}",
    ]
    several = len({line.node for line in report.lines}) > 1
    names = [w.CONTRACT, w.HOP, w.PROMISED, w.KEPT, w.P99, w.LARGEST, w.AVAILABLE, w.EVENTS,
             w.REFUSED, w.GAPS, w.KNOWN]  # fmt: skip
    rows = [
        [
            *([line.node] if several else []),
            line.contract,
            say(w.WAYS[line.way]),
            w.duration(line.promised or None),
            w.share(line.promise_kept),
            w.duration(line.age.p99),
            w.duration(line.age.largest),
            w.share(line.availability),
            w.number(line.events),
            w.little(line.refused_share),
            w.number(line.gaps),
            w.share(line.seen / line.seconds if line.seconds else None),
        ]
        for line in report.lines
    ]
    blocks = ["\n".join(head), _table([*([w.NODE] if several else []), *names], rows, say)]
    if report.corrections:
        blocks.append(
            say(w.CORRECTIONS)
            + "\n"
            + _table(
                [w.CONTRACT, w.FILED, w.OPEN, w.OVERDUE, w.ACCEPTED, w.REJECTED, w.IN_TIME, w.TOOK],
                [
                    [
                        each.contract, w.number(each.filed), w.number(each.open), w.number(each.overdue),
                        w.number(each.accepted), w.number(each.rejected),
                        f"{each.in_time}/{each.with_due}",
                        f"{w.hours(each.median_hours)} / {w.hours(each.longest_hours)}",
                    ]
                    for each in report.corrections
                ],
                say,
            )
        )  # fmt: skip
    if report.uses:
        blocks.append(
            say(w.USES)
            + "\n"
            + _table(
                [w.CONTRACT, w.WHO, w.PURPOSE, w.NODES, w.LOOK_UPS, w.PAGES, w.FOLLOWS],
                [
                    [
                        each.contract,
                        each.who or say(w.KINDS.get(each.kind, Text(each.kind, each.kind))),
                        each.purpose, w.number(each.nodes), w.number(each.look_ups),
                        w.number(each.pages), w.number(each.follows),
                    ]
                    for each in report.uses
                ],
                say,
            )
        )  # fmt: skip
    if report.not_known:
        blocks.append(
            "\n".join([say(w.NOT_KNOWN), *(f"  {say(each)}" for each in report.not_known)])
        )
    return "\n\n".join(blocks)


def _in(language: Language) -> "_Say":
    return _Say(language)


class _Say:
    def __init__(self, language: Language) -> None:
        self._language = language

    def __call__(self, text: Text) -> str:
        return text.zh if self._language == "zh" else text.en


def _table(names: Sequence[Text], rows: Iterable[Sequence[str]], say: _Say) -> str:
    """The first columns to the left, figures to the right."""
    # What others wrote, such as a purpose, must not move the terminal's cursor.
    shown = ([re.sub(r"[\x00-\x1f\x7f-\x9f]", "�", cell) for cell in row] for row in rows)
    cells = [[say(name) for name in names], *shown]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(names))]
    right = [at > 0 and all(_figure(row[at]) for row in cells[1:]) for at in range(len(names))]
    lines = []
    for row in cells:
        padded = [
            " " * (widths[at] - _width(text)) + text
            if right[at]
            else text + " " * (widths[at] - _width(text))
            for at, text in enumerate(row)
        ]
        lines.append(("  " + "  ".join(padded)).rstrip())
    return "\n".join(lines)


def _figure(text: str) -> bool:
    return text[:1].isdigit() or text.startswith("–")


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )
