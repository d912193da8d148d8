"""What ``levelsync doctor`` finds on the agent's own machine: room on the disk, certificates' days."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from agents.base.config import NodeFile
from agents.base.findings import Finding, ok, warning, wrong
from agents.cli.doctor_kafka import days_left

#: Bytes below which a disk is as good as full, and below which it soon will be; shares of all it holds.
LEAST, LITTLE, LITTLE_SHARE = 256 * 1024**2, 5 * 1024**3, 0.1


def examine_room(state: Path) -> Finding:
    """Is there room for what the agent keeps in ``state``? A full disk stops windows and capture."""
    there = state
    while not there.exists() and there != there.parent:
        there = there.parent
    usage = shutil.disk_usage(there)
    kept = sum(file.stat().st_size for file in state.rglob("*") if file.is_file())
    about, found = (
        f"room for {state}",
        f"{_size(usage.free)} of {_size(usage.total)} free, {_size(kept)} kept",
    )
    if usage.free < LEAST:
        return wrong(about, found, f"Make room: `du -xh --max-depth=2 {there} | sort -h | tail`")
    if usage.free < min(LITTLE, LITTLE_SHARE * usage.total) or usage.free < kept / 2:
        return warning(
            about,
            found,
            "A rebuild of the window needs as much again for a while. See what else is on the disk:"
            f" `du -xh --max-depth=2 {there} | sort -h | tail`",
        )
    return ok(about, found)


def examine_certificates(config: NodeFile) -> Iterator[Finding]:
    """How many days are left to what the agent's listeners show."""
    for field, table in (("window", config.window), ("intake", config.intake)):
        if table and table.certificate != Path():
            yield days_left(f"{field}.certificate", table.certificate)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
