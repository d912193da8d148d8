"""What is said of a file, beside it: for a program and for a person. Lines are named, never values."""

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec

#: Refused rows that are named one by one.
NAMED = 1_000


class Line(msgspec.Struct, frozen=True):
    """A row that was refused: where it begins, and which field and rule it broke."""

    line: int
    path: str
    rule: str
    message: str


class Report(msgspec.Struct, kw_only=True):
    """What became of a file; times are RFC 3339 text.

    Of its ``rows``, ``unchanged`` stood in the topic as they are, ``identical`` stood in the file before
    word for word, and ``refused`` are dead letters. ``withheld`` deletions were not told, since rows
    whose key nobody can read may be of those records.
    """

    file: str
    result: Literal["done", "refused", "held"] = "done"
    why: str = ""
    mode: str = ""
    contract: str = ""
    node: str = ""
    digest: str = ""
    bytes: int = 0
    read_as: dict[str, str] = {}
    begun: str = ""
    ended: str = ""
    rows: int = 0
    inserts: int = 0
    updates: int = 0
    upserts: int = 0
    deletes: int = 0
    unchanged: int = 0
    identical: int = 0
    refused: int = 0
    withheld: int = 0
    #: Records that the topic held before.
    records: int = 0
    columns_not_taken: tuple[str, ...] = ()
    lines: list[Line] = []

    def refuse(self, line: int, path: str, rule: str, message: str) -> None:
        """Count a refused row, and name it if it is among the first."""
        self.refused += 1
        if len(self.lines) < NAMED:
            self.lines.append(Line(line, path, rule, message))


def write_report(path: Path, report: Report) -> None:
    """Write it beside ``path``, whole or not at all. Raises OSError."""
    for ending, text in (
        (".report.txt", as_text(report)),
        (".report.json", msgspec.json.format(msgspec.json.encode(report)).decode() + "\n"),
    ):
        made = path.with_name(f".{path.name}{ending}.tmp")
        with made.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path.with_name(f"{path.name}{ending}"))


def read_report(path: Path) -> Report | None:
    """A report written before; None when there is none that can be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Report)
    return None


def as_text(report: Report) -> str:
    """A report for a person."""
    lines = [f"{report.file}: {report.result}"]
    if report.why:
        lines.append(report.why)
    read_as = ", ".join(f"{name} {value}" for name, value in report.read_as.items())
    facts = {
        "contract": f"{report.contract}, by node {report.node}",
        "read as": f"{report.mode} of {report.bytes} bytes, {read_as}",
        "sha-256": report.digest,
        "begun": report.begun,
        "ended": report.ended,
        "rows": report.rows,
        "inserts": report.inserts,
        "updates": report.updates,
        "upserts": report.upserts,
        "deletes": report.deletes,
        "unchanged": report.unchanged,
        "identical": report.identical,
        "refused": report.refused,
        "withheld": report.withheld,
    }
    shown = ("rows", "refused", "deletes")
    lines += [f"  {name:9}  {value}" for name, value in facts.items() if value or name in shown]
    if report.columns_not_taken:
        lines.append(f"  columns not taken: {', '.join(report.columns_not_taken)}")
    lines += [
        f"  line {each.line}: {each.path} {each.rule}: {each.message}" for each in report.lines
    ]
    if report.refused > len(report.lines):
        lines.append(f"  … and {report.refused - len(report.lines)} more")
    return "\n".join(lines) + "\n"
