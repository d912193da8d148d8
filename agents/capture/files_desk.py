"""What becomes of files that were read, and what operators say of those that are held."""

import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from agents.base.requests import Request
from agents.capture.files_folder import Folder, Kind
from agents.capture.files_report import Report
from agents.capture.files_settings import FilesFolder
from agents.capture.source import Place
from contracts.envelope import format_time

log = structlog.get_logger()
T = TypeVar("T")


class Off(Protocol):
    """Does what may block elsewhere."""

    def __call__(self, do: Callable[..., T], *arguments: Any) -> Coroutine[Any, Any, T]: ...


class Desk:
    """Where one source's files are put away, reported, and asked for. All of it raises FolderAway."""

    def __init__(self, settings: FilesFolder, place: Place, folder: Folder, off: Off) -> None:
        self._settings = settings
        self._place = place
        self._folder = folder
        self._off = off

    def report(self, path: Path) -> Report:
        """A new report on a file."""
        return Report(
            file=path.name,
            mode=self._settings.mode,
            contract=self._place.contract.dataschema,
            node=self._place.node,
            begun=format_time(int(time.time() * 1e6)),
        )

    async def put(self, kind: Kind, path: Path | None, report: Report) -> None:
        """Move a file to where it belongs, its report beside it, and tell whoever asked for it."""
        report.result, report.ended = kind, format_time(int(time.time() * 1e6))
        target = await self._off(self._folder.put, kind, path, report)
        hop, contract = self._place.hop, self._place.contract.name
        bound = log.bind(
            contract=contract, file=report.file, count=report.rows, inserts=report.inserts,
            updates=report.updates, upserts=report.upserts, deletes=report.deletes,
            refused=report.refused,
        )  # fmt: skip
        if kind == "done":
            bound.info("file done")
        elif kind == "held":
            bound.warning("file held", reason=report.why)
        else:
            bound.warning("file refused", reason=report.why)
        if kind == "done":
            self.say(
                "withheld",
                f"{report.withheld} deletions of {report.file} were not told, since the keys of some of"
                f" its rows cannot be read: see {target.name}.report.txt"
                if report.withheld
                else "",
            )
        hop.gauges |= {"file_rows": 0, "file_share": 0, "file_share_told": 0}
        if kind != "held":
            for request in self.asked(report.file):
                self._place.requests.answer(
                    request, "done", file=report.file, result=kind, why=report.why,
                    inserts=report.inserts, updates=report.updates, deletes=report.deletes,
                )  # fmt: skip

    async def refuse_held(self, why: str) -> None:
        """Refuse what is held."""
        for path in await self._off(self._folder.held):
            await self._refuse(path, why)

    async def _refuse(self, path: Path, why: str) -> None:
        report = self.report(path)
        report.why = why
        report.bytes, report.digest = await self._off(self._folder.measured, path)
        await self.put("refused", path, report)
        await self._off(self._folder.forget_report, "held", path.name)

    # ---- operators ---------------------------------------------------------------------------

    def say(self, what: str, text: str) -> None:
        """Have a person told something, or when it is empty, no more."""
        warnings = self._place.hop.warnings
        if text:
            warnings[what] = text
        else:
            warnings.pop(what, None)

    def requests(self) -> list[Request]:
        """What operators say of files, oldest first."""
        return self._place.requests.pending(self._place.contract.name, "release")

    def asked(self, name: str) -> list[Request]:
        """What they say of one."""
        return [each for each in self.requests() if each.arguments.get("file") == name]

    def is_released(self, name: str) -> bool:
        """Did an operator let it go?"""
        return any(not refuses(each) for each in self.asked(name))

    async def serve(self, request: Request, done: str) -> Path | None:
        """Refuse a held file, or answer where it is when it is let go. ``done`` is the last file done."""
        name = str(request.arguments.get("file", ""))
        answer = self._place.requests.answer
        held = {path.name: path for path in await self._off(self._folder.held)}
        if name in held and refuses(request):
            await self._refuse(held[name], "An operator refused it.")
        elif name in held:
            answer(request, "running", file=name)
            return await self._off(self._folder.claim_held, name)
        elif name == done and not refuses(request):
            answer(request, "done", file=name, result="done")  # a crash came before the answer
        else:
            there = ", ".join(held) or "none"
            answer(request, "failed", why=f"Expected a file that is held ({there}), got {name}")
        return None


def refuses(request: Request) -> bool:
    """Is a file to be refused, or to be let go?"""
    return bool(request.arguments.get("refuse"))
