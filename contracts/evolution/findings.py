"""What a change of a contract does to those who rely on it.

Severities mean:

- ``break``: something that works today stops or is read wrongly;
- ``promise``: everything still works, but readers, or the people the data are about, are promised less;
- ``note``: nobody has to do anything.
"""

from typing import Any

import msgspec

from contracts.evolution.rules import RULES, Affected, Severity
from contracts.text import Text

AFFECTED: dict[Affected, Text] = {
    "old readers": Text("旧版读者", "old readers"),
    "new readers": Text("新版读者", "new readers"),
    "granted children": Text("已获授权的下级", "granted children"),
    "stored state": Text("已存数据", "stored state"),
}
SEVERITIES: dict[Severity, Text] = {
    "break": Text("破坏", "break"),
    "promise": Text("承诺", "promise"),
    "note": Text("提示", "note"),
}


class Finding(msgspec.Struct, frozen=True):
    """One change: ``path`` is where (``$.phone`` in a record, ``freshness`` in the promises), ``old``
    and ``new`` are JSON values, None for what is not there; ``against`` is the earlier revision."""

    rule: str
    path: str
    old: Any
    new: Any
    severity: Severity
    breaks: tuple[Affected, ...]
    message: Text
    way_out: Text
    against: str = ""


def found(
    rule: str, path: str, old: Any, new: Any, breaks: tuple[Affected, ...] | None = None
) -> Finding:
    """The finding of a rule of :data:`RULES`; ``breaks`` where it depends on the case."""
    told = RULES[rule]
    return Finding(
        rule=rule,
        path=path,
        old=old,
        new=new,
        severity=told.severity,
        breaks=told.breaks if breaks is None else breaks,
        message=told.message,
        way_out=told.way_out,
    )


def said(*pairs: tuple[Text | None, Text | None]) -> tuple[str | None, str | None]:
    """Of old and new words the first that differ, in the language in which they do."""
    for old, new in pairs:
        if old != new:
            lang = "en" if old and new and old.zh == new.zh else "zh"
            return getattr(old, lang, None), getattr(new, lang, None)
    return None, None
