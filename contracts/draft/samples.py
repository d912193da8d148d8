"""Bytes of CSV, JSON and NDJSON → a sample. Everything unreadable is one error that says where."""

import codecs
import csv
import io
import json
from collections import Counter
from typing import Any, NoReturn

from contracts.draft.sample import ROWS, Sample, WrongSample, table

#: Bytes of a file that are looked at.
LARGEST = 16 * 1024 * 1024
_DELIMITERS = ",\t;|"
_NAMED = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


def csv_sample(data: bytes, origin: str, *, whole: bool = True) -> Sample:
    """The beginning of a CSV file; ``whole`` is False when ``data`` is not all of it.

    The text may be UTF-8, UTF-16 with a byte order mark, or GB18030 (which covers GBK and GB 2312),
    the delimiter a comma, tab, semicolon or bar; the first line names the columns. Raises WrongSample.
    """
    text, encoding = _decoded(data, origin, whole=whole)
    delimiter = _delimiter(text)
    rows, complete = _rows(text, delimiter, origin)
    if not rows:
        raise WrongSample(f"Expected a line of column names in {origin}, found an empty file")
    (_, header), body = rows[0], rows[1:]
    names = _header(header, origin)
    for line, row in body:
        if len(row) < len(names) or any(cell.strip() for cell in row[len(names) :]):
            raise WrongSample(
                f"Expected {len(names)} values in line {line} of {origin}, as many as there are column"
                f" names, found {len(row)}; a value with a {_NAMED[delimiter]} in it needs quotes"
            )
    cells = [[cell.strip() or None for cell in row[: len(names)]] for _, row in body]
    notes = (f"read as {encoding}, columns divided by {_NAMED[delimiter]}",)
    return table(origin, names, cells, whole=whole and complete, notes=notes)


def json_sample(data: bytes, origin: str, *, whole: bool = True) -> Sample:
    """A list of records, one record, or records a line (NDJSON). Raises WrongSample."""
    text, _ = _decoded(data, origin, whole=whole)
    stripped = text.lstrip()
    if not stripped:
        raise WrongSample(
            f"Expected a record or a list of records in {origin}, found an empty file"
        )
    lines = stripped.splitlines()
    if stripped[0] == "{" and len(lines) > 1 and _is_record(lines[0]):
        return _from_lines(lines, origin, whole=whole)
    if not whole:
        raise WrongSample(
            f"Expected JSON of at most {LARGEST} bytes in {origin}, found more; give one record a line"
            " (.ndjson), of which the beginning is enough"
        )
    found = parsed(text, origin)
    notes: tuple[str, ...] = ()
    if isinstance(found, dict):
        inside = [name for name, value in found.items() if _records(value)]
        if len(inside) == 1:
            notes = (f"records taken from `{inside[0]}`",)
            found = found[inside[0]]
        else:
            found = [found]
    if not _records(found):
        raise WrongSample(
            f"Expected a record or a list of records in {origin}, found {_kind(found)}"
        )
    return _from_records(found[:ROWS], origin, whole=len(found) <= ROWS, notes=notes)


def parsed(text: str, where: str) -> Any:
    """JSON by the letter: each name once, no NaN, whole characters. Raises WrongSample."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise WrongSample(
            f"Expected fewer levels in {where}, found more than can be read"
        ) from None
    except UnicodeEncodeError:
        raise WrongSample(f"Expected Unicode in {where}, found half a surrogate pair") from None
    except ValueError as error:
        raise WrongSample(f"Expected JSON in {where}, {_said(error)}") from None
    return found


def _from_lines(lines: list[str], origin: str, *, whole: bool) -> Sample:
    records = []
    for number, line in enumerate(lines[:ROWS], 1):
        if not line.strip():
            continue
        found = parsed(line, f"line {number} of {origin}")
        if not isinstance(found, dict):
            raise WrongSample(
                f"Expected a record in line {number} of {origin}, found {_kind(found)}"
            )
        records.append(found)
    return _from_records(records, origin, whole=whole and len(lines) <= ROWS)


def _from_records(
    records: list[dict[str, Any]], origin: str, *, whole: bool, notes: tuple[str, ...] = ()
) -> Sample:
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [[record.get(name) for name in names] for record in records]
    return table(origin, names, rows, whole=whole, notes=notes)


def _records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        name = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
        raise ValueError(f"found the name {name!r:.60} twice in one record")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"found {text}, which is no number of JSON")


def _said(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"found something else in line {error.lineno}, column {error.colno}: {error.msg}"
    text = str(error)
    return text if text.startswith("found") else f"found a number too large ({text:.80})"


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an empty list" if not value else "a list of something else"
    if isinstance(value, dict):
        return "a record"
    return "text" if isinstance(value, str) else type(value).__name__


# ---- text ------------------------------------------------------------------------------------


def _decoded(data: bytes, origin: str, *, whole: bool) -> tuple[str, str]:
    """The text and the name of its encoding."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        end = len(data) if whole else len(data) & ~1
        return _by("utf-16", data[:end], origin), "UTF-16"
    if not whole:
        # A line break is one byte in UTF-8 and GB18030, and no part of another character.
        data = data[: data.rfind(b"\n") + 1] or data
    if b"\0" in data:
        raise WrongSample(
            f"Expected text in {origin}, found a zero byte at {data.index(0)}; save a workbook as CSV"
        )
    try:
        return data.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return _by("gb18030", data, origin), "GB18030"


def _by(encoding: str, data: bytes, origin: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise WrongSample(
            f"Expected text in UTF-8 or GB18030 in {origin}, found neither at byte {error.start}"
        ) from None


def _delimiter(text: str) -> str:
    """The one that divides the first lines most evenly."""
    head = "\n".join(text[:200_000].splitlines()[:20])

    def evenness(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(row) for row in csv.reader(io.StringIO(head), delimiter=delimiter) if row]
        except csv.Error:
            return 0, 0
        if not widths or widths[0] < 2:
            return 0, 0
        return sum(width == widths[0] for width in widths), widths[0]

    best = max(_DELIMITERS, key=evenness)
    return best if evenness(best) > (0, 0) else ","


def _rows(text: str, delimiter: str, origin: str) -> tuple[list[tuple[int, list[str]]], bool]:
    """Rows with the number of their line, without empty ones; False when there are more."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                if len(rows) > ROWS:
                    return rows, False
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise WrongSample(
            f"Expected CSV in line {reader.line_num} of {origin}, found otherwise: {error}"
        ) from None
    return rows, True


def _header(cells: list[str], origin: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    while len(names) > 1 and not names[-1]:
        names.pop()
    for at, name in enumerate(names, 1):
        if not name:
            raise WrongSample(f"Expected a name for column {at} in the first line of {origin}")
        if not any(character.isalpha() for character in name):
            # Not repeated here: it may be somebody's number.
            raise WrongSample(
                f"Expected column names in the first line of {origin}, found none in column {at}; add"
                " a line of names above the records"
            )
        if len(name) > 200:
            raise WrongSample(
                f"Expected a name of at most 200 characters for column {at} of {origin},"
                f" found {len(name)}"
            )
    if len(set(names)) != len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise WrongSample(f"Expected each column name once in {origin}, found `{name:.60}` twice")
    return names
