"""May one revision follow another? Every change by rule, path and who is hurt, judged both ways.

Within a major everybody must be able to read everybody: compacted topics and stores hold records of
early revisions for years, which new readers read; and windows that have not learnt a new revision yet
read what it writes. So a revision is judged with all earlier ones, in both directions.

For every two contracts, what :func:`reads` and :func:`compatible` allow is accepted in fact: no value
that one's writer can write is refused by the other's reader. They err on the other side, where
containment cannot be told.
"""

from collections.abc import Sequence

import msgspec

from contracts.evolution.findings import SEVERITIES, Finding
from contracts.evolution.promises import promises_compared
from contracts.evolution.records import records_compared
from contracts.evolution.rules import Affected
from contracts.model import Contract

_ORDER = {severity: number for number, severity in enumerate(SEVERITIES)}


def compare(old: Contract, new: Contract, *, promises: bool = True) -> list[Finding]:
    """All that changed from ``old`` to ``new``, what breaks first; without ``promises`` only what
    changed in the records."""
    findings = list(records_compared(old, new))
    if promises:
        findings += promises_compared(old, new)
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return [msgspec.structs.replace(each, against=old.dataschema) for each in findings]


def harmless(findings: Sequence[Finding]) -> bool:
    """Are there only notes among ``findings``: nothing broken and no promise weakened?"""
    return all(finding.severity == "note" for finding in findings)


def compatible(old: Contract, new: Contract) -> bool:
    """May ``new`` follow ``old`` within a major: does each read the other, and is no promise weaker?"""
    return harmless(compare(old, new))


def reads(reader: Contract, writer: Contract) -> bool:
    """Does ``reader`` accept every record that ``writer`` can write? A field that only the reader has
    is then its default."""
    return not any("new readers" in each.breaks for each in records_compared(writer, reader))


def judge(history: Sequence[Contract], new: Contract) -> list[Finding]:
    """All that changed from the last of ``history``, and what it breaks of any revision before.

    ``history`` are the earlier revisions of the major, oldest first. A break that several of them
    share is told once, of the latest.
    """
    findings: list[Finding] = []
    told: dict[tuple[str, str], set[Affected]] = {}
    for old in reversed(history):
        for finding in compare(old, new):
            change = (finding.rule, finding.path)
            known = told.get(change)
            if known is None and finding.severity == "note" and old is not history[-1]:
                continue
            if known is None or not known.issuperset(finding.breaks):
                told.setdefault(change, set()).update(finding.breaks)
                findings.append(finding)
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return findings
