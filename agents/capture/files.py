"""Changes of one contract from files that somebody puts into a folder.

One file at a time: it is taken aside, read whole into a plan (:mod:`agents.capture.files_plan`), and
only then told. Before its first change a position with its number and digest stands in Kafka, so that
after any crash the same changes come with the same ids and sequences. It is moved to where done files go
once Kafka has all of it.

A position is ``{"number", "file", "digest", "modified", "at", "ended"}``: of the file with that number
everything up to ``at`` of its plan was told. Numbers are Unix seconds, or one more than the number
before, so that they grow also over a topic that was made anew.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from agents.capture.files_desk import Desk, refuses
from agents.capture.files_encoding import FileWrong
from agents.capture.files_folder import Folder
from agents.capture.files_plan import Header, Plan, Told
from agents.capture.files_report import Report
from agents.capture.files_settings import FilesFolder
from agents.capture.files_stage import PlanAway, Staged, stage
from agents.capture.files_told import Position, became, change_of, number_after
from agents.capture.source import Changes, Place

log = structlog.get_logger()
T = TypeVar("T")

#: Seconds between looks at the folder, and the longest that a read waits.
LOOK = 1.0
#: Changes told at once, and how many such batches wait for the intake.
BATCH, AHEAD = 1_000, 2


class _Changed(Exception):
    """Somebody wrote a file while it was read."""


class FilesSource:
    """A :class:`agents.capture.source.Source` over one folder. Not for use after an error."""

    def __init__(self, settings: FilesFolder, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._folder = Folder(settings)
        self._desk = Desk(settings, place, self._folder, self._off)
        self._ending = threading.Event()
        self._worker: asyncio.Task[None] | None = None
        self._batches: deque[Changes] = deque()
        self._news, self._room, self._safe = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._position = self._confirmed = Position()
        self._passed = True
        self._complete = 0
        #: Was there nothing to do when it last looked?
        self.idle = False

    async def __aenter__(self) -> "FilesSource":
        await self._off(self._folder.prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def open(self, position: Any | None, held: frozenset[str]) -> None:
        """See :class:`agents.capture.source.Source`."""
        known = msgspec.convert(position or {}, Position)
        self._position = self._confirmed = known
        self._passed = known.ended or not held
        self._worker = asyncio.create_task(self._work(), name=f"files-{self._place.contract.name}")
        self._worker.add_done_callback(lambda _: self._news.set())

    async def read(self) -> Changes:
        """See :class:`agents.capture.source.Source`."""
        assert self._worker
        if not self._batches and not self._worker.done():
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._news.wait()
        if self._batches:
            self._room.set()
            told = self._batches.popleft()
            self._position = msgspec.convert(told.position, Position)
            return told
        if self._worker.done():
            self._worker.result()
        return Changes([], msgspec.to_builtins(self._position), self._complete, self._passed)

    async def confirm(self, position: Any) -> None:
        """See :class:`agents.capture.source.Source`."""
        self._confirmed = msgspec.convert(position, Position)
        self._safe.set()

    # ---- the one who works -------------------------------------------------------------------

    async def _work(self) -> None:
        await self._go_on()
        for path in await self._off(self._folder.taken):
            # It was taken and not begun: nothing of it was told.
            await self._off(self._folder.unmark, path.name)
            await self._do(path)
        while True:
            await self._next()

    async def _next(self) -> None:
        """Wait for a file and do it; also what operators say of those that are held."""
        looked = int(time.time() * 1e6)
        waiting = await self._off(self._folder.waiting)
        held = await self._off(self._folder.held)
        say = self._desk.say
        say("files", self._folder.passed_over)
        say(
            "held",
            "; ".join(
                f"{path.name} is held: its report says why. `levelsync files release` or `refuse"
                f" NODE.toml {path.name}`"
                for path in held
            ),
        )
        self._place.hop.gauges |= {"files_waiting": len(waiting), "files_held": len(held)}
        for request in self._desk.requests():
            if path := await self._desk.serve(request, self._position.file):
                await self._do(path, released=True)
            return
        first = self._folder.settled(waiting)
        if first is None:
            if not waiting and not held:
                self._complete = looked
            self.idle = not waiting
            await asyncio.sleep(min(LOOK, max(0.05, self._settings.settle)))
        elif not await self._off(self._folder.readable, first.name):
            say("files", f"{first.name} cannot be read: locked, or not for the agent's user")
            await asyncio.sleep(LOOK)
        else:
            await self._do(await self._off(self._folder.claim, first.name))

    async def _do(self, path: Path, *, released: bool = False) -> None:
        """Take one file from its first byte to its report."""
        self.idle = False
        desk = self._desk
        report = desk.report(path)
        released = released or desk.is_released(path.name)
        seen = await self._off(self._folder.seen, path)
        try:
            _, report.digest = await self._off(self._folder.measured, path, self._ending)
            report.bytes = seen.size
            if report.mode == "delta" and await self._was_done(report.digest):
                report.why = "The same file was done before: nothing of it was told again."
                await desk.put("done", path, report)
                return
            number = number_after(self._position)
            staged = await self._stage(path, Header(number, report.digest, "", report))
            if await self._off(self._folder.seen, path) != seen:
                raise _Changed
        except FileWrong as wrong:
            report.why = str(wrong)
            await desk.put("refused", path, report)
            return
        except _Changed:
            log.warning(
                "a file was written while it was read: it waits again",
                contract=self._place.contract.name,
                file=path.name,
            )
            await self._off(self._folder.put_back, path)
            return
        if report.mode == "snapshot":
            await desk.refuse_held(f"A newer one, {path.name}, came in its place.")
        if staged.held and not released:
            staged.plan.close()
            report.why = staged.held
            await desk.put("held", path, report)
            return
        begun = Position(number, path.name, report.digest, seen.modified // 1000, ended=False)
        await self._tell_all(staged.plan, begun)

    async def _was_done(self, digest: str) -> bool:
        before = await self._off(self._folder.done_before, digest)
        return bool(before) or self._position.digest == digest

    async def _stage(self, path: Path, header: Header) -> Staged:
        return await stage(
            path, header, self._settings, self._place, off=self._off, ending=self._ending
        )

    async def _tell_all(self, plan: Plan, begun: Position) -> None:
        """Tell what is left of a plan, and move its file once Kafka has all of it."""
        report = plan.header.report
        try:
            await self._put(begun, [], report)
            await self._wait_confirmed(begun)
            last = await self._off(plan.last)
            at = begun.at
            while told := await self._off(plan.told_after, at, BATCH):
                at = told[-1].n
                await self._put(msgspec.structs.replace(begun, at=at), told, report)
                self._place.hop.gauges["file_share_told"] = at / last
            await self._ended(msgspec.structs.replace(begun, at=at))
        except sqlite3.Error as error:
            # It is made anew when the source is opened again.
            await self._off(Plan.forget, self._place.state)
            raise PlanAway(file=begun.file, state=self._place.state, said=error) from error
        finally:
            await self._off(plan.close)
        path = self._settings.reading / begun.file
        there = await self._off(path.exists)
        await self._desk.put("done", path if there else None, report)
        await self._off(Plan.forget, self._place.state)

    async def _ended(self, position: Position) -> None:
        """Nothing of this file will be told any more."""
        self._passed = True
        ended = msgspec.structs.replace(position, ended=True)
        await self._put(ended, [], None)
        await self._wait_confirmed(ended)

    async def _put(self, position: Position, told: list[Told], report: Report | None) -> None:
        while len(self._batches) >= AHEAD:
            self._room.clear()
            await self._room.wait()
        lasting = self._settings.mode == "snapshot" and (
            self._place.contract.on_refusal == "follow"
        )
        changes = [change_of(each, position, lasting=lasting) for each in told]
        self._batches.append(
            Changes(
                changes,
                msgspec.to_builtins(position),
                self._complete,
                self._passed,
                outcome=partial(became, told, report) if report else None,
            )
        )
        self._news.set()

    async def _wait_confirmed(self, position: Position) -> None:
        """Until Kafka has everything up to ``position``."""
        while self._confirmed.order < position.order:
            self._safe.clear()
            await self._safe.wait()

    # ---- after a restart ---------------------------------------------------------------------

    async def _go_on(self) -> None:
        """Bring to its end what an agent before this one had begun."""
        known, contract = self._position, self._place.contract
        if known.number == 0:
            return
        plan = await self._off(Plan.find, self._place.state)
        if plan and not plan.header.of(known.number, known.digest, contract.dataschema):
            plan.close()
            plan = None
        if known.ended:
            await self._put_away(known, plan)
        elif plan:
            await self._tell_all(plan, known)
        elif path := await self._found_again(known):
            if self._settings.mode == "snapshot":
                # What was told of it stands in the topic: compared again the rest is what differs.
                self._passed = True
                await self._do(path, released=True)
                return
            report = self._desk.report(path)
            report.bytes, report.digest = await self._off(self._folder.measured, path)
            header = Header(known.number, known.digest, "", report)
            await self._tell_all((await self._stage(path, header)).plan, known)

    async def _put_away(self, known: Position, plan: Plan | None) -> None:
        """All of a file was told, and perhaps it was not moved yet."""
        path = self._settings.reading / known.file
        if await self._off(self._folder.is_same, path, known.digest):
            report = plan.header.report if plan else self._desk.report(path)
            if plan is None:
                report.bytes, report.digest = await self._off(self._folder.measured, path)
                report.why = "All of it was told; what it came to in figures was lost in a crash."
            await self._desk.put("done", path, report)
        if plan:
            plan.close()
        await self._off(Plan.forget, self._place.state)

    async def _found_again(self, known: Position) -> Path | None:
        """The file that was half told, once it is there; None when an operator refused the rest."""
        alarms = self._place.hop.alarms
        while True:
            path = await self._off(self._folder.find, known.file, known.digest)
            if path is not None:
                alarms.pop("file", None)
                return path
            alarms["file"] = (
                f"{known.file} was half told and is gone (SHA-256 {known.digest[:12]}…). Put it back"
                f" into {self._settings.folder}, or go on without the rest of it: `levelsync files"
                f" refuse NODE.toml {known.file}`"
            )
            for request in self._desk.asked(known.file):
                if refuses(request):
                    alarms.pop("file", None)
                    await self._ended(known)
                    self._place.requests.answer(request, "done", file=known.file, result="refused")
                    return None
            await asyncio.sleep(LOOK)

    async def _off(self, do: Callable[..., T], *arguments: Any) -> T:
        """Do what may block in a thread, and never leave it behind: when cancelled, wait for it."""
        working = asyncio.ensure_future(asyncio.to_thread(do, *arguments))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            self._ending.set()
            await asyncio.gather(working, return_exceptions=True)
            raise
