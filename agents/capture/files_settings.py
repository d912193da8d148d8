"""What an office says of a folder in which files arrive: ``[[source]] kind = "files"``."""

import asyncio
import fnmatch
import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from agents.base.findings import Finding
from agents.base.table import Wrong
from agents.capture.source import Place, Source, SourceSettings

Format = Literal["auto", "csv", "ndjson", "xlsx"]
Encoding = Literal["auto", "utf-8", "gb18030", "utf-16"]

#: What stands in a delta's column for an operation: deleted, and everything else that is known.
DELETES = ("D", "delete", "deleted", "删除", "注销")
UPSERTS = ("", "I", "U", "A", "insert", "update", "upsert", "新增", "修改", "变更")


class FilesFolder(SourceSettings, frozen=True, kw_only=True, tag="files"):
    """A folder in which whole snapshots or deltas of one contract arrive as files."""

    folder: Path
    #: Which files of it, as shells match names; subfolders are never looked into.
    pattern: str = "*.csv"
    #: ``name`` or ``modified``: in which order files that wait are taken.
    order: Literal["name", "modified"] = "name"
    #: A snapshot is the whole of a contract's records, and what is not in it is deleted; a delta holds
    #: changes, which are taken as they are.
    mode: Literal["snapshot", "delta"] = "snapshot"
    #: The share of all records that a snapshot may delete without an operator's word.
    most_deleted: float = 0.05
    #: The share of its rows that may be refused without one.
    most_refused: float = 0.5
    #: Seconds for which a file must not have changed before it is read.
    settle: float = 5.0
    #: A file is read once there is another of its name and this behind it, ``.ok``, instead.
    marker: str = ""

    #: What the files are: by their names' ends unless said otherwise.
    format: Format = "auto"
    encoding: Encoding = "auto"
    separator: Literal["auto", ",", "\t", ";", "|"] = "auto"
    quote: str = '"'
    #: False, with the columns' names in ``names``, where the first line is a record already.
    header: bool = True
    names: tuple[str, ...] = ()
    #: Lines above the one with the columns' names, such as a title.
    skip: int = 0
    #: The sheet of a workbook; the first visible one unless said otherwise.
    sheet: str = ""

    #: How days are written where it is not year, month, day: formats as of ``strptime``, or ``excel``
    #: for a workbook's numbers; for all fields, or by field.
    dates: str | tuple[str, ...] | dict[str, str | tuple[str, ...]] = ()
    #: The offset of moments that say none.
    zone: str = "+08:00"
    #: Texts that stand for a field which is not filled in.
    nothing: tuple[str, ...] = ("",)
    #: Contract field = what the file writes = what the contract calls it.
    values: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    #: The column of a delta which says what is done to a record; every row is new state without one.
    operation: str = ""
    #: What stands in it for a deletion.
    deletes: tuple[str, ...] = DELETES

    #: Where files go, beside each other or elsewhere.
    done: Path = Path("done")
    refused: Path = Path("refused")
    held: Path = Path("held")

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return f"{self.folder}/{self.pattern}"

    def beside(self, folder: Path) -> "FilesFolder":
        """See :meth:`agents.base.config.SourceTable.beside`."""
        return msgspec.structs.replace(self, folder=folder / self.folder)

    @property
    def reading(self) -> Path:
        """Where the one file is that is being read: nobody else should touch it there."""
        return self.folder / ".reading"

    def place_of(self, kind: Literal["done", "refused", "held"]) -> Path:
        """The folder for files of that kind."""
        places = {"done": self.done, "refused": self.refused, "held": self.held}
        return self.folder / places[kind]

    def dates_of(self, field: str) -> tuple[str, ...]:
        """How days are written in ``field``; empty for year, month, day."""
        found: Any = self.dates.get(field, ()) if isinstance(self.dates, dict) else self.dates
        return (found,) if isinstance(found, str) else tuple(found)

    def validate(self) -> None:
        """See :class:`agents.base.config.SourceTable`."""
        if self.folder == Path():
            raise Wrong("a folder", "none", "folder")
        if not self.pattern or "/" in self.pattern or self.pattern.startswith("."):
            raise Wrong("a pattern of file names such as `*.csv`", f"`{self.pattern}`", "pattern")
        for name in ("most_deleted", "most_refused"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise Wrong("a share from 0.0 to 1.0", f"{getattr(self, name)}", name)
        if not 0.0 <= self.settle <= 86_400.0:
            raise Wrong("seconds from 0 to 86400", f"{self.settle}", "settle")
        if self.marker and (not self.marker.startswith(".") or "/" in self.marker):
            raise Wrong("an ending such as `.ok`", f"`{self.marker}`", "marker")
        if self.marker and fnmatch.fnmatchcase(f"x{self.marker}", self.pattern):
            raise Wrong("an ending that the pattern does not take", f"`{self.marker}`", "marker")
        if len(self.quote) != 1:
            raise Wrong("one character", f"`{self.quote}`", "quote")
        if self.header is bool(self.names):
            found = "names and a header" if self.header else "neither names nor a header"
            raise Wrong("names of columns where there is no header", found, "names")
        if self.skip < 0:
            raise Wrong("a number of lines", f"{self.skip}", "skip")
        if not re.fullmatch(r"[+-]\d\d:\d\d|Z", self.zone):
            raise Wrong("an offset such as `+08:00`", f"`{self.zone}`", "zone")
        if self.operation and self.mode != "delta":
            raise Wrong("no operation in a snapshot", f"`{self.operation}`", "operation")
        for name in ("done", "refused", "held"):
            if getattr(self, name) in (Path(), Path(".reading")):
                raise Wrong("a folder of its own", f"`{getattr(self, name)}`", name)

    def source(self, place: Place) -> Source:
        """See :class:`agents.capture.source.SourceSettings`."""
        from agents.capture.files import FilesSource

        return FilesSource(self, place)

    async def examine(self, place: Place) -> list[Finding]:
        """See :class:`agents.capture.source.SourceSettings`."""
        from agents.capture.files_doctor import examine

        return await asyncio.to_thread(examine, self)
