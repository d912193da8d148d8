"""The folder files arrive in: what waits there, and where each file goes.

It is looked at once a second rather than watched: a share of another machine tells nobody of a change.
Only plain files of the folder itself are ever touched. A file is moved to ``.reading`` before it is
read, so that nobody writes a new one over it meanwhile, and from there to the folder for what became of
it, under a name nobody has yet.
"""

import contextlib
import errno
import fnmatch
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from agents.base.errors import Unavailable
from agents.capture.files_report import Report, read_report, write_report
from agents.capture.files_settings import FilesFolder

#: How names end that programs give a file while they write it.
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".swp", "~")
_PIECE = 1024 * 1024

Kind = Literal["done", "refused", "held"]


class FolderAway(Unavailable):
    """The folder of files cannot be used."""

    hint = "Mount it, or give the agent's user the right to read, write and rename in it."


class Waiting(NamedTuple):
    """A file that arrived; ``modified`` in nanoseconds since 1970."""

    name: str
    size: int
    modified: int


class Folder:
    """The folder of ``settings``. Everything here may block; raises FolderAway."""

    def __init__(self, settings: FilesFolder) -> None:
        self._settings = settings
        #: By name, as it was last seen, and since when it has been so, monotonic.
        self._seen: dict[str, tuple[Waiting, float]] = {}
        #: Digests of deltas done, by their reports' names.
        self._reports: dict[str, str] = {}
        #: What a person should know of files that are passed over.
        self.passed_over: str = ""

    def prepare(self) -> None:
        """Make the folders there are to be within it. It must be there itself."""
        with self._usable():
            if not self._settings.folder.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._settings.reading.mkdir(exist_ok=True)
            for kind in ("done", "refused", "held"):
                self._settings.place_of(kind).mkdir(parents=True, exist_ok=True)

    def waiting(self) -> list[Waiting]:
        """The files that have arrived, in the order in which they are taken."""
        found, over = [], []
        with self._usable():
            entries = list(os.scandir(self._settings.folder))
        names = {entry.name for entry in entries}
        for entry in entries:
            name = entry.name
            if not self.takes(name) or not self._marked(name, names):
                continue
            with contextlib.suppress(FileNotFoundError), self._usable():
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append(Waiting(name, status.st_size, status.st_mtime_ns))
                elif not stat.S_ISDIR(status.st_mode):
                    over.append(name)
        self.passed_over = ""
        if over:
            self.passed_over = f"Not a plain file, and passed over: {', '.join(sorted(over)[:5])}"
        by_name = self._settings.order == "name"
        return sorted(found, key=lambda each: (0 if by_name else each.modified, each.name))

    def takes(self, name: str) -> bool:
        """Is it a name of ours?"""
        if name.startswith((".", "~$")) or name.lower().endswith(UNFINISHED):
            return False
        return fnmatch.fnmatchcase(name, self._settings.pattern)

    def _marked(self, name: str, names: set[str]) -> bool:
        return not self._settings.marker or any(each in names for each in self._markers(name))

    def _markers(self, name: str) -> tuple[str, str]:
        """``a.csv.ok`` and ``a.ok``"""
        marker = self._settings.marker
        return name + marker, Path(name).stem + marker

    def settled(self, waiting: list[Waiting]) -> Waiting | None:
        """The first of those that wait, once nobody writes it any more."""
        now = time.monotonic()
        seen = self._seen
        self._seen = {
            each.name: seen[each.name]
            if each.name in seen and seen[each.name][0] == each
            else (each, now)
            for each in waiting
        }
        if not waiting:
            return None
        first = waiting[0]
        patience = 0.0 if self._settings.marker else self._settings.settle
        return first if now - self._seen[first.name][1] >= patience else None

    def readable(self, name: str) -> bool:
        """May we read it? Also what somebody has locked is not."""
        try:
            with (self._settings.folder / name).open("rb"):
                return True
        except OSError:
            return False

    # ---- the one file being read -------------------------------------------------------------

    def claim(self, name: str) -> Path:
        """Take a file that waits: from now on it is at the answered place."""
        return self._take(self._settings.folder / name)

    def claim_held(self, name: str) -> Path:
        """Take a file that was held."""
        path = self._take(self._settings.place_of("held") / name)
        self.forget_report("held", name)
        return path

    def _take(self, path: Path) -> Path:
        taken = self._settings.reading / path.name
        with self._usable():
            _move(path, taken)
        self.unmark(path.name)
        return taken

    def unmark(self, name: str) -> None:
        """Take away the marker of a file that is taken; not that of another of its name."""
        if self._settings.marker and not (self._settings.folder / name).exists():
            for marker in self._markers(name):
                with self._usable():
                    (self._settings.folder / marker).unlink(missing_ok=True)

    def put_back(self, path: Path) -> None:
        """Somebody still writes it: let it wait again, unless another came in its place."""
        with self._usable():
            _move(path, _free(self._settings.folder, path.name))

    def taken(self) -> list[Path]:
        """What an agent before this one was reading."""
        with self._usable():
            return sorted(path for path in self._settings.reading.iterdir() if _plain(path))

    def find(self, name: str, digest: str) -> Path | None:
        """The file that was being read, wherever it is by now: there, or back in the folder."""
        path = self._settings.reading / name
        if self.is_same(path, digest):
            return path
        if self.is_same(self._settings.folder / name, digest):
            return self.claim(name)
        return None

    def is_same(self, path: Path, digest: str) -> bool:
        """Is there a plain file with this digest?"""
        return _plain(path) and self.measured(path)[1] == digest

    def seen(self, path: Path) -> Waiting:
        """A file as it is now."""
        with self._usable():
            status = path.stat()
        return Waiting(path.name, status.st_size, status.st_mtime_ns)

    def measured(self, path: Path, ending: threading.Event | None = None) -> tuple[int, str]:
        """A file's bytes, and their SHA-256 in hexadecimal digits; less when ``ending`` is set."""
        hashed, size = hashlib.sha256(), 0
        with self._usable(), path.open("rb") as file:
            while (piece := file.read(_PIECE)) and not (ending and ending.is_set()):
                hashed.update(piece)
                size += len(piece)
        return size, hashed.hexdigest()

    # ---- what became of it -------------------------------------------------------------------

    def put(self, kind: Kind, path: Path | None, report: Report) -> Path:
        """Move a file to where it belongs, its report beside it; ``path`` is None when it is gone."""
        place = self._settings.place_of(kind)
        with self._usable():
            place.mkdir(parents=True, exist_ok=True)
            target = _free(place, report.file, report.digest)
            write_report(target, report)
            if path is not None:
                _move(path, target)
        return target

    def held(self) -> list[Path]:
        """The files that wait for an operator's word."""
        place = self._settings.place_of("held")
        with self._usable():
            if not place.is_dir():
                return []
            return sorted(
                path for path in place.iterdir() if _plain(path) and self.takes(path.name)
            )

    def forget_report(self, kind: Kind, name: str) -> None:
        """A file has left this folder; so does what was said of it."""
        for ending in (".report.json", ".report.txt"):
            with self._usable():
                (self._settings.place_of(kind) / f"{name}{ending}").unlink(missing_ok=True)

    def done_before(self, digest: str) -> str:
        """The name under which a file of these bytes was done, empty when none was."""
        with self._usable():
            for path in self._settings.place_of("done").glob("*.report.json"):
                if path.name not in self._reports:
                    report = read_report(path)
                    told = report is not None and report.result == "done"
                    self._reports[path.name] = report.digest if report and told else ""
        return next((name for name, found in self._reports.items() if found == digest), "")

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if self._settings.folder.is_dir() and error.filename is not None:
                raise
            raise FolderAway(
                "The folder of files is not there", folder=self._settings.folder
            ) from None
        except OSError as error:
            raise FolderAway(
                folder=self._settings.folder, said=f"{error.strerror}: {error.filename}"
            ) from None


def _plain(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _free(place: Path, name: str, digest: str = "") -> Path:
    """``a.csv``, ``a.2.csv``, …: the first that is not there, with a report of ``digest`` or none."""
    stem, dot, rest = name.partition(".")
    number = 1
    while True:
        path = place / (name if number == 1 else f"{stem}.{number}{dot}{rest}")
        said = place / f"{path.name}.report.json"
        if not os.path.lexists(path):
            report = read_report(said)
            if report is None or report.digest == digest:
                return path
        number += 1


def _move(path: Path, target: Path) -> None:
    """Rename, or where that cannot be, copy whole, then take the old one away."""
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        made = target.with_name(f".{target.name}.tmp")
        shutil.copy2(path, made, follow_symlinks=False)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.rename(target)
        path.unlink()
