"""The rows of a sheet of an Excel workbook, read as they come and never whole.

openpyxl reads some 10,000 rows/s in 42 MB; python-calamine 170,000 rows/s, but holds the whole sheet,
143 MB for 200,000 rows of eight columns. Texts that cells share are the one thing held whole (a process
with 21 MB of them took 176 MB), so those are limited. Formulas are never computed: what was saved as
their value counts.
"""

import datetime
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from openpyxl import load_workbook
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from agents.capture.files_encoding import FileWrong
from agents.capture.files_settings import FilesFolder

#: Bytes of a workbook unpacked: in all, and of a part that is read whole; and how many times packed.
LARGEST, SHARED, TIMES = 4 * 1024**3, 32 * 1024**2, 200
#: A part of so many bytes may be as small as it likes when packed.
_FREE = 16 * 1024**2
#: Cells that a row may have.
_WIDEST = 1_000


class Workbook:
    """One sheet of a workbook. Raises FileWrong."""

    def __init__(self, file: IO[bytes], settings: FilesFolder) -> None:
        self._settings = settings
        try:
            _examine(file)
            file.seek(0)
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        except FileWrong:
            raise
        except Exception as error:  # whatever openpyxl makes of what is no workbook
            raise _broken(error) from None
        sheets = [
            sheet
            for sheet in book.worksheets
            if isinstance(sheet, ReadOnlyWorksheet) and sheet.sheet_state == "visible"
        ]
        found = [each for each in sheets if settings.sheet in ("", each.title)]
        if not found:
            names = ", ".join(f"`{each.title}`" for each in sheets)
            raise FileWrong(f"Expected a sheet `{settings.sheet}`, found {names or 'none'}")
        self._sheet = found[0]
        #: Its name.
        self.sheet = str(self._sheet.title)

    def rows(self) -> Iterator[tuple[int, list[Any], bytes]]:
        """The number of each row that is not empty, its cells, and the same as JSON."""
        self._sheet.reset_dimensions()  # they are what the file says, not what it holds
        last = 0
        try:
            for number, cells in enumerate(self._sheet.iter_rows(values_only=True), 1):
                last = number
                if len(cells) > _WIDEST:
                    raise FileWrong(f"Expected at most {_WIDEST} cells, found more", number)
                if number <= self._settings.skip or all(cell is None for cell in cells):
                    continue
                row = list(cells)
                while row and row[-1] is None:
                    row.pop()
                yield number, row, msgspec.json.encode(row, enc_hook=_text)
        except FileWrong:
            raise
        except Exception as error:
            raise FileWrong(str(_broken(error)), last + 1) from None


def _examine(file: IO[bytes]) -> None:
    """Look at the parts a workbook is packed from before one is unpacked."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
    for part in parts:
        if part.file_size > max(_FREE, TIMES * part.compress_size):
            raise FileWrong("Expected a workbook of a sensible size, found one that never ends")
        if not part.filename.startswith("xl/worksheets/") and part.file_size > SHARED:
            raise FileWrong(
                f"Expected at most {SHARED >> 20} MB of texts that cells share, found"
                f" {part.file_size >> 20} MB; save the workbook as CSV"
            )
    if sum(part.file_size for part in parts) > LARGEST:
        raise FileWrong(f"Expected a workbook of at most {LARGEST >> 30} GB; save it as CSV")


def _broken(error: Exception) -> FileWrong:
    return FileWrong(f"Expected an Excel workbook, found a broken one: {type(error).__name__}")


def _text(value: Any) -> str:
    if isinstance(value, datetime.timedelta):
        return str(value)
    return f"{value}"
