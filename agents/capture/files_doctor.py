"""What ``levelsync doctor`` finds in a folder of files. Changes nothing."""

import os
from pathlib import Path

from agents.base.findings import Finding, ok, warning, wrong
from agents.capture.files_folder import Folder, FolderAway
from agents.capture.files_settings import FilesFolder

_USER = "Give the agent's user the right to read, write and rename in it: {}"


def examine(settings: FilesFolder) -> list[Finding]:
    """The folder, those within it, and what waits there."""
    folder = settings.folder
    about = f"folder {folder}"
    if not folder.is_dir():
        return [wrong(about, "not there, or no folder", "Make it, or mount the share it is on.")]
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return [wrong(about, "this user may not read and write in it", _USER.format(folder))]
    within = [
        _within(settings.folder / getattr(settings, kind), kind, folder)
        for kind in ("done", "refused", "held")
    ]
    return [ok(about, "may be read and written"), *within, *_waiting(settings)]


def _within(place: Path, kind: str, folder: Path) -> Finding:
    about = f"{kind} {place}"
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return wrong(about, f"this user may not write in {there}", _USER.format(there))
    if there.stat().st_dev != folder.stat().st_dev:
        return warning(
            about,
            "on another file system: files are copied there, not moved",
            "Nothing need be done; on the same one a large file is moved at once.",
        )
    return ok(about, "may be written" if there == place else f"not there yet, made in {there}")


def _waiting(settings: FilesFolder) -> list[Finding]:
    seen = Folder(settings)
    try:
        waiting, held = seen.waiting(), seen.held()
    except FolderAway as away:
        return [wrong("files", str(away), "")]
    found = [ok("files", f"{len(waiting)} wait as {settings.pattern}")]
    unreadable = [each.name for each in waiting if not seen.readable(each.name)]
    if unreadable:
        found.append(
            wrong(
                "files",
                f"this user may not read {', '.join(unreadable[:5])}",
                "Have them written with a mode that the agent's user can read.",
            )
        )
    if seen.passed_over:
        found.append(warning("files", seen.passed_over, "Put the files themselves there."))
    found += [
        warning(
            "files",
            f"{path.name} is held",
            f"Read {path.name}.report.txt beside it, then `levelsync files release` or `refuse`.",
        )
        for path in held
    ]
    return found
