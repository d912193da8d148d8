"""A file → the plan of what is to be told of it: read, checked and, if it is a snapshot, compared."""

import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agents.base.errors import Unavailable
from agents.capture.files_cells import Cells, column_names
from agents.capture.files_plan import Header, Plan
from agents.capture.files_read import Row, Table
from agents.capture.files_report import Report
from agents.capture.files_settings import FilesFolder
from agents.capture.source import Place
from contracts.check import Checker
from contracts.model import Contract
from contracts.rejected import Rejected

#: Records of the topic, and rows of a file, between looks at whether to go on.
_AT_ONCE = 5_000


class Staged(NamedTuple):
    """A plan that stands; ``held`` says why an operator has to look at it first, if so."""

    plan: Plan
    report: Report
    held: str


class PlanAway(Unavailable):
    """A file cannot be read, or what is to be told of it cannot be written down."""

    hint = "Is there room for a copy of the file in the agent's state folder?"


class Ended(Exception):
    """The agent stops."""


async def stage(
    path: Path,
    header: Header,
    settings: FilesFolder,
    place: Place,
    *,
    off: Callable[..., Awaitable[Any]],
    ending: threading.Event,
) -> Staged:
    """Make the plan of ``path``. ``off`` does what blocks elsewhere; ``ending`` is set to make an end of
    it. Raises FileWrong, Unavailable."""
    header.dataschema = place.contract.dataschema
    plan: Plan | None = None
    try:
        plan = await off(Plan.begin, place.state, header)
        if header.report.mode == "snapshot":
            records: list[tuple[str, bytes]] = []
            async for standing in place.published.live():
                records.append((standing.key, standing.value))
                if len(records) >= _AT_ONCE:
                    await off(plan.stands, records)
                    records = []
            await off(plan.stands, records)
        await off(_rows, path, plan, settings, place, ending)
    except (OSError, sqlite3.Error) as error:
        raise PlanAway(file=path.name, state=place.state, said=error) from error
    finally:
        if plan and not plan.finished:
            plan.close()
    return Staged(plan, header.report, _held(header.report, settings))


def _rows(
    path: Path, plan: Plan, settings: FilesFolder, place: Place, ending: threading.Event
) -> None:
    contract, report, hop = place.contract, plan.header.report, place.hop
    wanted = frozenset(name for each in column_names(contract, settings).values() for name in each)
    with Table(path, settings, wanted) as table:
        report.read_as = table.facts
        cells = Cells(contract, settings, table)
        report.columns_not_taken = cells.left
        rows = _Rows(plan, cells, contract)
        for number, row in enumerate(table):
            if number % _AT_ONCE == 0:
                if ending.is_set():
                    raise Ended
                hop.gauges |= {"file_rows": number, "file_share": table.share}
            rows.enter(row)
    plan.close_rows()
    plan.finish()


class _Rows:
    """Enters rows into a plan."""

    def __init__(self, plan: Plan, cells: Cells, contract: Contract) -> None:
        self._plan = plan
        self._cells = cells
        self._checker = Checker(contract)
        self._key = contract.key
        (field,) = (each for each in contract.fields if each.name == contract.key)
        # The key alone: also of a row that is wrong otherwise it is known whose it is.
        self._keys = Checker(
            msgspec.structs.replace(
                contract, fields=(field,), scope=contract.key, rules=(), personal={}, searchable=()
            )
        )
        self._compared = plan.header.report.mode == "snapshot"

    def enter(self, row: Row) -> None:
        """Enter one row: told, refused, or as it stands already."""
        plan, cells = self._plan, self._cells
        fields: dict[str, Any] | None = None
        try:
            if row.wrong:
                raise row.wrong
            if cells.deletes(row):
                plan.change(row.line, self._keys.check({self._key: cells.key(row)}).key, None)
                return
            fields = cells.fields(row)
            checked = self._checker.check(fields)
        except Rejected as refused:
            key = "" if row.wrong else cells.key(row)
            plan.refuse(row.line, key, refused, fields, row.raw, sure=self._is_key(key))
            return
        if self._compared:
            plan.row(row.line, checked)
        else:
            plan.change(row.line, checked.key, checked)

    def _is_key(self, key: str) -> bool:
        try:
            self._keys.check({self._key: key})
        except Rejected:
            return False
        return True


def _held(report: Report, settings: FilesFolder) -> str:
    """Why an operator has to look at it first; empty when it need not be."""
    if report.deletes > settings.most_deleted * report.records and report.mode == "snapshot":
        share = report.deletes / report.records
        return (
            f"It would delete {report.deletes} of {report.records} records ({share:.1%}), more than"
            f" {settings.most_deleted:.1%} (most_deleted): is it whole?"
        )
    if report.refused > settings.most_refused * report.rows:
        share = report.refused / report.rows
        return (
            f"{report.refused} of {report.rows} rows ({share:.1%}) would be refused, more than"
            f" {settings.most_refused:.1%} (most_refused): are the columns the right ones?"
        )
    return ""
