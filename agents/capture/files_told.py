"""One thing of a plan → the change that is told of it, the same each time it is."""

import time
from typing import Any

import msgspec

from agents.capture.files_plan import Told, digest_of
from agents.capture.files_report import Report
from agents.capture.source import Change, Outcome, Unreadable
from contracts.check import Checked
from contracts.rejected import Rejected


class Position(msgspec.Struct, frozen=True):
    """Of file ``number`` everything up to ``at`` of its plan was told; ``ended`` once that is all.
    ``modified`` is when it was written, microseconds since 1970 UTC."""

    number: int = 0
    file: str = ""
    digest: str = ""
    modified: int = 0
    at: int = 0
    ended: bool = True

    @property
    def order(self) -> tuple[int, int, bool]:
        """Positions of one source in the order in which they are reached."""
        return self.number, self.at, self.ended


def number_after(last: Position) -> int:
    """The number of the next file: growing over restarts, and over a topic that was made anew."""
    return max(last.number + 1, int(time.time()))


def change_of(told: Told, position: Position, *, lasting: bool) -> Change | Unreadable:
    """The change that ``told`` is of the file at ``position``.

    With ``lasting`` a row that is refused has the same id in every file: what is wrong every night is one
    letter, not one a night.
    """
    name = f"{position.number}.{position.digest[:12]}.{told.n}"
    sequence = f"f{position.number:010}{told.n:010}"
    origin = f"{position.file}:{told.line}" if told.line else position.file
    if lasting and told.kind in ("refused", "unreadable"):
        what = told.value or told.raw or told.message.encode()
        name = f"row.{digest_of(told.key.encode() + b' ' + what).hex()}"
    if told.kind == "unreadable":
        why = Rejected(told.path, told.rule, told.message)
        return Unreadable(name, sequence, position.modified, told.key, why, origin, told.raw)
    fields: dict[str, Any] | Checked | None = None
    if told.kind == "refused":
        fields = msgspec.json.decode(told.value or b"{}")
    elif told.value is not None:
        fields = Checked(told.key, told.scope, told.value)
    return Change(name, sequence, position.modified, told.key, fields, origin=origin, raw=told.raw)


def became(told: list[Told], report: Report, index: int, outcome: Outcome) -> None:
    """Enter into ``report`` what became of ``told[index]``: also what was in order may be a letter after
    all, behind an earlier one of its key."""
    each, refused = told[index], outcome.refused
    if refused is None or each.kind in ("refused", "unreadable"):
        return
    name = f"{each.kind}s"
    setattr(report, name, getattr(report, name) - 1)
    report.refuse(each.line, refused.path, refused.rule, refused.message)
