"""What changed in a contract, laid out for people in their language."""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Literal

from contracts.evolution.findings import AFFECTED, SEVERITIES, Finding
from contracts.evolution.rules import Severity
from contracts.model import Contract
from contracts.publication.rules import Problem
from contracts.text import Text

Language = Literal["zh", "en"]

#: Columns that a line has at most, however wide the terminal is.
WIDEST = 100
_COLOURS: dict[Severity, str] = {"break": "31", "promise": "33", "note": "2"}
_NOTHING = Text("无变化", "nothing changed")
_COMPATIBLE = Text("兼容", "compatible")
_INCOMPATIBLE = Text("不兼容", "not compatible")
_HURTS = Text("影响", "hurts")
_WAY_OUT = Text("出路", "way out")
_RECORDED = Text("已记入", "recorded")
_IN_LINE = Text("与已发布记录一致", "in line with what was published")


def language() -> Language:
    """The language of the terminal by its environment."""
    named = next(
        (found for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (found := os.environ.get(name))), ""
    )
    return "zh" if named.lower().startswith("zh") else "en"


def findings_told(old: Contract, new: Contract, findings: Sequence[Finding], lang: Language) -> str:
    """All findings between two contracts, those of one rule together."""
    words = _in(lang)
    verdict = _NOTHING
    if findings:
        broken = any(each.severity != "note" for each in findings)
        verdict = _INCOMPATIBLE if broken else _COMPATIBLE
    title = f"{old.dataschema} → {new.dataschema}: {words(verdict)}{_counted(findings, lang)}"
    return "\n".join([title, *_blocks(findings, lang)])


def _counted(findings: Sequence[Finding], lang: Language) -> str:
    """`` (5 breaks, 1 note)``, ``（5 处破坏，1 处提示）``, or nothing."""
    numbers = [
        (sum(each.severity == severity for each in findings), getattr(name, lang))
        for severity, name in SEVERITIES.items()
    ]
    if lang == "zh":
        told = "，".join(f"{number} 处{name}" for number, name in numbers if number)
        return told and f"（{told}）"
    told = ", ".join(f"{number} {name}{'s' * (number > 1)}" for number, name in numbers if number)
    return told and f" ({told})"


def problems_told(
    contracts: Sequence[Contract],
    written: Sequence[str],
    problems: Sequence[Problem],
    lang: Language,
) -> str:
    """What is out of line between contracts and record, with the changes behind it."""
    words = _in(lang)
    lines = [f"{words(_RECORDED)} {dataschema}" for dataschema in written]
    wrong = {each.dataschema for each in problems}
    lines += [
        f"{contract.dataschema}: {words(_IN_LINE)}"
        for contract in contracts
        if contract.dataschema not in wrong
    ]
    for problem in problems:
        head = _coloured(f"{problem.dataschema}: {problem.rule}", "break")
        lines += ["", head, *wrapped(words(problem.message), _label())]
        lines += wrapped(words(problem.way_out), _label(words(_WAY_OUT)))
        told = [each for each in problem.findings if each.severity != "note"] or problem.findings
        lines += _blocks(told, lang)
    return "\n".join(lines)


# ---- findings -------------------------------------------------------------------------------


def _blocks(findings: Iterable[Finding], lang: Language) -> list[str]:
    lines = []
    for _, group in groupby(findings, lambda each: (each.rule, each.breaks, each.against)):
        lines += ["", *_block(list(group), lang)]
    return lines


def _block(findings: Sequence[Finding], lang: Language) -> list[str]:
    """Findings of one rule that hurt the same: the words once, the places in a table."""
    words, first = _in(lang), findings[0]
    label = words(SEVERITIES[first.severity])
    lines = [_coloured(_label(label) + first.rule, first.severity)]
    column = max(width(each.path) for each in findings)
    for each in findings:
        path = each.path + " " * (column - width(each.path)) if column <= WIDEST // 3 else each.path
        lines += wrapped(f"{_value(each.old)} → {_value(each.new)}", f"{_label()}{path}  ")
    lines += wrapped(words(first.message), _label())
    if first.breaks:
        hurt = ("、" if lang == "zh" else ", ").join(words(AFFECTED[who]) for who in first.breaks)
        lines += wrapped(hurt, _label(words(_HURTS)))
    if first.severity != "note" or first.breaks:
        lines += wrapped(words(first.way_out), _label(words(_WAY_OUT)))
    return lines


def _label(text: str = "") -> str:
    """A word in the first column."""
    return text + " " * (9 - width(text))


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in(lang: Language) -> Any:
    return lambda text: getattr(text, lang)


def _coloured(text: str, severity: Severity) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\033[{_COLOURS[severity]}m{text}\033[0m"


# ---- lines ----------------------------------------------------------------------------------


def width(text: str) -> int:
    """The columns a text takes on a terminal: two for a Chinese character."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, first: str) -> list[str]:
    """``text`` behind ``first``, its further lines below its beginning."""
    room = max(20, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns) - width(first))
    rows = [""]
    for piece in _pieces(text):
        if width(rows[-1] + piece.rstrip()) > room and rows[-1]:
            rows[-1] = rows[-1].rstrip()
            rows.append("")
        rows[-1] += piece.lstrip() if not rows[-1] else piece
    below = " " * width(first)
    return [f"{first if number == 0 else below}{row.rstrip()}" for number, row in enumerate(rows)]


def _pieces(text: str) -> list[str]:
    """Where a line may end: behind a blank, and between Chinese characters but not before a mark."""
    pieces = [""]
    for character in text:
        before = pieces[-1][-1:]
        between = before and (_columns(before) == 2 or _columns(character) == 2)
        if before == " " or (between and not unicodedata.category(character).startswith("P")):
            pieces.append("")
        pieces[-1] += character
    return pieces
