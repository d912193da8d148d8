"""Cells as files write them → plain values as contracts read them.

Where a cell cannot be what the contract wants it stays as it is, for the contract's check to refuse by
path and rule.
"""

import datetime
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from agents.capture.files_encoding import FileWrong
from agents.capture.files_read import Row, Table
from agents.capture.files_settings import UPSERTS, FilesFolder
from contracts import shape
from contracts.model import Contract
from contracts.rejected import Rejected

#: Whole numbers from here on have lost digits in a workbook.
_EXACT = 10**15
_EXCEL_ERRORS = frozenset(
    ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!")
)
_DAY = re.compile(
    r"(\d{4})(?:-(\d\d?)-(\d\d?)|/(\d\d?)/(\d\d?)|\.(\d\d?)\.(\d\d?)|年(\d\d?)月(\d\d?)日|(\d\d)(\d\d))"
    r"(?:[ T]0?0:00(?::00(?:\.0+)?)?)?"
)
_MOMENT = re.compile(
    r"(\d{4})[-/](\d\d?)[-/](\d\d?)[ T](\d\d?):(\d\d)(?::(\d\d(?:\.\d+)?))?(Z|[+-]\d\d:?\d\d)?"
)
#: Day 0 of a workbook's numbers, as it counts from March 1900 on.
_EXCEL_DAY = datetime.date(1899, 12, 30)

Cell = Callable[[Any], Any]


def column_names(contract: Contract, settings: FilesFolder) -> dict[str, tuple[str, ...]]:
    """What each field's column may be called: as ``columns`` says, or else by the field's name or its
    Chinese title; nothing for a field that the file does not have."""
    names: dict[str, tuple[str, ...]] = {}
    for field in contract.fields:
        if field.name in settings.columns:
            given = settings.columns[field.name]
            names[field.name] = (given,) if given else ()
        else:
            names[field.name] = (field.name, field.title.zh)
    return names


class Cells:
    """Makes fields of the rows of ``table``. Raises FileWrong when columns are missing."""

    def __init__(self, contract: Contract, settings: FilesFolder, table: Table) -> None:
        self._settings = settings
        self._key = contract.key
        self._own = {field.name: field for field in contract.fields}
        self._read = {field.name: _reader(field, settings) for field in contract.fields}
        self._nothing = frozenset(settings.nothing)
        self._deletes = frozenset(settings.deletes)
        names = column_names(contract, settings)
        self._renamed: dict[str, str] | None = None
        if table.columns is None:
            self._renamed = {each[0]: field for field, each in names.items() if each}
            return
        self._columns = self._found(names, table.columns)
        used = {column for column, _, _ in self._columns}
        #: Columns that are taken for nothing.
        self.left = tuple(
            name for name in table.columns if name and name not in used | {settings.operation}
        )

    left: tuple[str, ...] = ()

    def _found(
        self, names: Mapping[str, tuple[str, ...]], columns: tuple[str, ...]
    ) -> list[tuple[str, str, Cell]]:
        there, missing, found = frozenset(columns), [], []
        for field, possible in names.items():
            column = next((name for name in possible if name in there), None)
            if column is not None:
                found.append((column, field, self._read[field]))
            elif possible:
                missing.append(" or ".join(f"`{name}`" for name in dict.fromkeys(possible)))
        if self._settings.operation and self._settings.operation not in there:
            missing.append(f"`{self._settings.operation}`")
        if missing:
            raise FileWrong(
                f"Expected the columns {', '.join(missing)}, found only"
                f" {', '.join(f'`{name:.60}`' for name in columns[:50])}; say their names under"
                ' `columns`, or `field = ""` for one that the files do not have'
            )
        return found

    def fields(self, row: Row) -> dict[str, Any]:
        """What the contract is to check. Raises Rejected."""
        nothing = self._nothing
        fields: dict[str, Any] = {}
        if self._renamed is not None:
            renamed = self._renamed
            for name, value in row.cells.items():
                field = renamed.get(name, name)
                if name != self._settings.operation:
                    read = self._read.get(field)
                    plain = read is None or not isinstance(value, str | Decimal)
                    fields[field] = value if plain or read is None else read(value)
            return fields
        cells = row.cells
        try:
            for column, field, read in self._columns:
                cell = cells.get(column)
                if isinstance(cell, str):
                    cell = cell.strip()
                    if cell in nothing:
                        cell = None
                if cell is not None:
                    fields[field] = read(cell)
                elif (own := self._own[field]).required or own.shape.nullable:
                    fields[field] = None
        except Rejected as refused:
            raise refused.within(f"$.{field}") from None
        return fields

    def key(self, row: Row) -> str:
        """The key of a row that may be wrong; empty when it cannot be known."""
        try:
            if self._renamed is None:
                column, _, read = next(each for each in self._columns if each[1] == self._key)
                cell = row.cells.get(column)
                value = read(cell.strip()) if isinstance(cell, str) else cell and read(cell)
            else:
                names = [name for name, field in self._renamed.items() if field == self._key]
                value = row.cells.get(names[0]) if names else None
        except Rejected:
            return ""
        return value if isinstance(value, str) else str(value) if type(value) is int else ""

    def deletes(self, row: Row) -> bool:
        """Does a delta's row delete its record? Raises Rejected for an operation nobody knows."""
        if not self._settings.operation:
            return False
        word = str(row.cells.get(self._settings.operation) or "").strip()
        if word in self._deletes:
            return True
        if word not in UPSERTS:
            raise Rejected("$", "operation", "Expected an operation that is known, got another")
        return False


def _reader(field: shape.Field, settings: FilesFolder) -> Cell:
    """From a cell that is not empty to the field's value."""
    values = settings.values.get(field.name, {})
    formats = settings.dates_of(field.name)
    match field.shape:
        case shape.Date():
            read: Cell = lambda cell: _day(cell, formats)  # noqa: E731
        case shape.DateTime():
            read = lambda cell: _moment(cell, settings.zone)  # noqa: E731
        case shape.Integer():
            read = _whole
        case shape.Decimal():
            read = lambda cell: Decimal(repr(cell)) if isinstance(cell, float) else cell  # noqa: E731
        case shape.Array() | shape.Map() | shape.Object():
            read = _structured
        case shape.String() | shape.Enum():
            read = _text
        case _:
            read = lambda cell: cell  # noqa: E731
    if values:
        return lambda cell: read(values.get(cell, cell) if isinstance(cell, str) else cell)
    return read


def _text(cell: Any) -> Any:
    if isinstance(cell, str):
        if cell in _EXCEL_ERRORS:
            raise Rejected("", "excel-error", "Expected a value, got an error of the workbook")
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        if abs(cell) >= _EXACT:
            raise Rejected(
                "",
                "digits-lost",
                "Expected text, got a number with more digits than a workbook keeps; format the"
                " column as text",
            )
        return str(int(cell)) if cell == int(cell) else repr(cell)
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    return cell.isoformat() if hasattr(cell, "isoformat") else cell


def _whole(cell: Any) -> Any:
    return int(cell) if isinstance(cell, float | Decimal) and cell == int(cell) else cell


def _structured(cell: Any) -> Any:
    if isinstance(cell, str) and cell[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _day(cell: Any, formats: tuple[str, ...]) -> Any:
    """A day as the contract writes it, or the cell as it is."""
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat()
    if isinstance(cell, datetime.date):
        return cell.isoformat()
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if "excel" in formats and cell == int(cell) and 61 <= cell < 2_958_466:
            return (_EXCEL_DAY + datetime.timedelta(days=int(cell))).isoformat()
        cell = str(int(cell)) if cell == int(cell) else repr(cell)
    if not isinstance(cell, str):
        return cell
    for given in formats:
        if given == "excel":
            if re.fullmatch(r"[1-9]\d{1,6}", cell) and 61 <= int(cell) < 2_958_466:
                return (_EXCEL_DAY + datetime.timedelta(days=int(cell))).isoformat()
            continue
        try:
            return datetime.datetime.strptime(cell, given).date().isoformat()
        except ValueError:
            continue
    if not formats and (found := _DAY.fullmatch(cell)):
        year, month, day = (part for part in found.groups() if part is not None)
        return f"{year}-{month:0>2}-{day:0>2}"
    return cell


def _moment(cell: Any, zone: str) -> Any:
    if isinstance(cell, datetime.datetime):
        return cell.isoformat() + ("" if cell.tzinfo else zone)
    if isinstance(cell, str) and (found := _MOMENT.fullmatch(cell)):
        year, month, day, hour, minute, second, offset = found.groups()
        if offset and offset != "Z" and ":" not in offset:
            offset = f"{offset[:3]}:{offset[3:]}"
        return f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute}:{second or '00'}{offset or zone}"
    return cell
