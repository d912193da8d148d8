"""A file → its rows, in bounded memory; one of which no rows can be made is refused, and it says where.

Nothing in a file is ever carried out: a formula is the value that was saved with it, an archive's names
are not used.
"""

import csv
import gzip
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

from agents.capture.files_encoding import FileWrong, encoding_of, lines_of
from agents.capture.files_settings import FilesFolder
from contracts.rejected import Rejected

_NAMED = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
#: Bytes that a packed file may hold when unpacked, and how many times its own, past the first.
UNPACKED, TIMES, FREE = 16 * 1024**3, 200, 64 * 1024**2


class Row(NamedTuple):
    """One record of a file: the line it begins in, its cells by column, the bytes it was, and what speaks
    against it as a whole."""

    line: int
    cells: dict[str, Any]
    raw: bytes
    wrong: Rejected | None = None


class Table:
    """The rows of one file. ``facts`` say how it was read, for the report; ``columns`` are their names,
    None where each record names its own.

    ``wanted`` are the columns looked for, by which a separator is found. Raises FileWrong, OSError, here
    and while the rows are read. To be closed.
    """

    columns: tuple[str, ...] | None = None

    def __init__(self, path: Path, settings: FilesFolder, wanted: frozenset[str]) -> None:
        self.facts: dict[str, str] = {}
        self._settings = settings
        self._wanted = wanted
        self._size = max(1, path.stat().st_size)
        self._file = path.open("rb")
        try:
            form = settings.format if settings.format != "auto" else _form(path, self._file)
            self.facts["format"] = form
            self._rows = self._begin(form)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, form: str) -> Iterator[Row]:
        if form == "xlsx":
            from agents.capture.files_xlsx import Workbook

            book = Workbook(self._file, self._settings)
            self.facts["sheet"] = book.sheet
            return self._with_header(book.rows(), ragged=True)
        data = _unpacked(self._file)
        encoding = encoding_of(data, self._settings.encoding)
        self.facts["encoding"] = encoding
        data.seek(0)
        text = io.TextIOWrapper(data, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        return self._ndjson(text) if form == "ndjson" else self._csv(text)

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    @property
    def share(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return min(1.0, self._file.tell() / self._size)

    # ---- lines of cells ----------------------------------------------------------------------

    def _csv(self, text: io.TextIOWrapper) -> Iterator[Row]:
        lines = lines_of(text)
        above = [next(lines, "") for _ in range(self._settings.skip)]
        first = next(lines, "").removeprefix("\ufeff")
        given = self._settings.separator
        separator = self._separator(first) if given == "auto" else given
        self.facts["separator"] = _NAMED[separator]
        return self._with_header(self._cells(first, lines, separator, len(above)))

    def _separator(self, line: str) -> str:
        """The one by which most of the wanted columns are in the first line, or most cells."""

        def found(separator: str) -> tuple[int, int]:
            try:
                cells = next(
                    csv.reader([line], delimiter=separator, quotechar=self._settings.quote)
                )
            except (csv.Error, StopIteration):
                return 0, 0
            return len(self._wanted.intersection(cell.strip() for cell in cells)), len(cells)

        return max(_NAMED, key=found)

    def _cells(
        self, first: str, lines: Iterator[str], separator: str, above: int
    ) -> Iterator[tuple[int, list[Any], bytes]]:
        taken: list[str] = []

        def noted() -> Iterator[str]:
            if first:
                taken.append(first)
                yield first
            for line in lines:
                taken.append(line)
                yield line

        reader = csv.reader(
            noted(), delimiter=separator, quotechar=self._settings.quote, strict=True
        )
        line = above + 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise FileWrong(
                    f"Expected CSV, found otherwise: {error}; a quote may not be closed", line
                ) from None
            if cells is None:
                return
            raw = "".join(taken)
            taken.clear()
            if any(map(str.strip, cells)):  # workbooks saved as CSV end in rows of separators
                yield line, cells, raw.encode()
            line = above + reader.line_num + 1

    def _with_header(
        self, rows: Iterator[tuple[int, list[Any], bytes]], *, ragged: bool = False
    ) -> Iterator[Row]:
        """``ragged`` where rows end with their last cell that is not empty."""
        if self._settings.header:
            line, cells, _ = next(rows, (0, [], b""))
            if not line:
                raise FileWrong("Expected a line of column names, found an empty file")
            self.columns = _header(cells, line)
        else:
            self.columns = self._settings.names
        return _named(rows, self.columns, ragged=ragged)

    # ---- a record a line ---------------------------------------------------------------------

    def _ndjson(self, text: io.TextIOWrapper) -> Iterator[Row]:
        for number, line in enumerate(lines_of(text), 1):
            if not line.strip():
                continue
            raw = line.encode()
            try:
                found = json.loads(
                    line, object_pairs_hook=_once, parse_float=Decimal, parse_constant=_no_number
                )
                if not isinstance(found, dict):
                    raise Rejected("$", "type", "Expected a record")
            except Rejected as wrong:
                yield Row(number, {}, raw, wrong)
            except (ValueError, RecursionError):
                yield Row(number, {}, raw, Rejected("$", "json", "Expected a record in JSON"))
            else:
                yield Row(number, found, raw)


def _form(path: Path, file: IO[bytes]) -> str:
    """What a file is by its name, and by its first bytes where it is a workbook by another name."""
    names = [path.name.lower()]
    if names[0].endswith(".gz"):
        names.append(names[0].removesuffix(".gz"))
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            inside = archive.namelist()
        if "xl/workbook.xml" in inside:
            file.seek(0)
            return "xlsx"
        names += [name.lower() for name in inside[:1]]
    file.seek(0)
    if names[-1].endswith((".ndjson", ".jsonl", ".json")):
        return "ndjson"
    if names[-1].endswith((".xlsx", ".xlsm", ".xls")):
        raise FileWrong("Expected a workbook in the form of Excel 2007 or newer, found another")
    return "csv"


def _header(cells: list[Any], line: int) -> tuple[str, ...]:
    names = [str(cell if cell is not None else "").strip().removeprefix("\ufeff") for cell in cells]
    while names and not names[-1]:
        names.pop()
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise FileWrong(f"Expected each column name once, found `{twice[0]:.60}` twice", line)
    return tuple(names)


def _named(
    rows: Iterator[tuple[int, list[Any], bytes]], columns: tuple[str, ...], *, ragged: bool
) -> Iterator[Row]:
    width = len(columns)
    for line, cells, raw in rows:
        count = len(cells)
        if count == width or (ragged if count < width else not any(cells[width:])):
            yield Row(line, dict(zip(columns, cells, strict=False)), raw)
            continue
        message = f"Expected {width} values, as many as there are columns, got {count}"
        yield Row(line, {}, raw, Rejected("$", "columns", message))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Rejected("$", "repeated-name", "Expected each name once, got one twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(text)


# ---- packed files ----------------------------------------------------------------------------


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """The one file in an archive, or the file itself. Raises FileWrong."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        return _Unpacking(gzip.GzipFile(fileobj=file), file)
    if start != b"PK\x03\x04":
        return file
    try:
        archive = zipfile.ZipFile(file)
        (inside,) = [each for each in archive.infolist() if not each.is_dir()]
        return _Unpacking(archive.open(inside), file)
    except (ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise FileWrong(
            f"Expected an archive of one file without a password, found another: {error}"
        ) from None


class _Unpacking(io.BufferedReader):
    """Reads an archive's file, and refuses one that holds far more than it should."""

    def __init__(self, inside: Any, packed: IO[bytes]) -> None:
        super().__init__(_Counted(inside, packed))


class _Counted(io.RawIOBase):
    def __init__(self, inside: Any, packed: IO[bytes]) -> None:
        self._inside, self._packed = inside, packed
        self._count = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        if (offset, whence) == (0, 0):
            self._count = 0
            self._inside.seek(0)
            return 0
        if whence == 1 and offset == 0:
            return self._count
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        return self._count

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inside.read(len(buffer))
        except (EOFError, OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise FileWrong(f"Expected a whole archive, found a broken one: {error}") from None
        self._count += len(data)
        packed = max(1, self._packed.tell())
        if self._count > UNPACKED or self._count > FREE + TIMES * packed:
            raise FileWrong("Expected an archive of a sensible size, found one that never ends")
        buffer[: len(data)] = data
        return len(data)
