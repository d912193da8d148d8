"""What was said to be wrong, and how long its owner took, from the node's own book of corrections.

The two files are read as they lie there, beside a running agent, and nothing in them is changed.
"""

import datetime
import json
import sqlite3
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.base.config import CHINA, is_over
from agents.report.lines import title_of
from agents.report.model import Corrections
from agents.report.period import Period
from contracts.model import Contract
from contracts.subjects.correction import ANSWER, CORRECTION

#: What the window's store calls the content it shows.
_SHOWN = 0
_OPEN = ("sent", "received")


def corrections(
    state: Path, period: Period, contracts: Mapping[str, Contract]
) -> list[Corrections]:
    """Those filed in ``period`` that are known in the state folder ``state``, by contract. Raises
    FileNotFoundError where the node keeps no book, sqlite3.Error."""
    if not (state / "corrections.sqlite").exists():
        raise FileNotFoundError(state / "corrections.sqlite")
    filed: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, Any]] = {}
    for each in _kept(state / "corrections.sqlite", CORRECTION.name):
        filed[each["id"]] = each
    for each in _kept(state / "corrections.sqlite", ANSWER.name):
        answers[each["id"]] = each
    for each in _own(state / "outgoing.sqlite", "filed"):
        filed[each["id"]] = each
    for each in _own(state / "outgoing.sqlite", "said"):
        answers[each["id"]] = each
    by: dict[str, list[str]] = {}
    for name, each in filed.items():
        if period.since <= _moment(each["filed_at"]) < period.until:
            by.setdefault(each["contract"], []).append(name)
    return [
        _counted(contract, [(filed[name], answers.get(name)) for name in names], contracts, period)
        for contract, names in sorted(by.items())
    ]


def _counted(
    contract: str,
    pairs: list[tuple[dict[str, Any], dict[str, Any] | None]],
    contracts: Mapping[str, Contract],
    period: Period,
) -> Corrections:
    states = [(answer or {}).get("state") or "sent" for _, answer in pairs]
    hours, with_due, in_time, overdue = [], 0, 0, 0
    for correction, answer in pairs:
        if answer is None:
            continue
        due = answer.get("due")
        last = datetime.date.fromisoformat(due) if due else None
        if answer["state"] in _OPEN:
            overdue += last is not None and is_over(last, period.until)
            continue
        decided = _moment(answer["answered_at"])
        hours.append((decided - _moment(correction["filed_at"])) / 3600)
        if last:
            with_due += 1
            in_time += datetime.datetime.fromtimestamp(decided, CHINA).date() <= last
    return Corrections(
        contract=contract,
        title=title_of(contract, contracts),
        filed=len(pairs),
        open=sum(each in _OPEN for each in states),
        overdue=overdue,
        accepted=states.count("accepted"),
        rejected=states.count("rejected"),
        in_time=in_time,
        with_due=with_due,
        median_hours=round(statistics.median(hours), 1) if hours else None,
        longest_hours=round(max(hours), 1) if hours else None,
    )


def _moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _kept(path: Path, contract: str) -> Iterator[dict[str, Any]]:
    base = _opened(path)
    try:
        for (number,) in base.execute(
            "SELECT id FROM content WHERE contract = ? AND state = ?", (contract, _SHOWN)
        ).fetchall():
            for (value,) in base.execute(f"SELECT value FROM record_{int(number)}"):
                if value is not None:
                    yield json.loads(value)
    finally:
        base.close()


def _own(path: Path, table: str) -> Iterator[dict[str, Any]]:
    """What the node itself said and is not read back yet."""
    if not path.exists():
        return
    base = _opened(path)
    try:
        there = base.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        for (value,) in base.execute(f"SELECT value FROM {table}") if there else ():
            yield json.loads(value)
    finally:
        base.close()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
