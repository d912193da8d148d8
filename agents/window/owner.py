"""The owner's side of corrections: each is received with a deadline, and answered once."""

import asyncio
import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from agents.base.config import CHINA
from agents.base.freshness import Audit
from agents.base.metrics import ANSWER as ANSWER_TIMES
from agents.base.metrics import Histogram
from agents.base.requests import Request, Requests
from agents.base.run import until
from agents.base.status import Hop
from agents.base.window import Corrections
from agents.base.workdays import LAST_YEAR, Workdays, unknown
from agents.window.book import SENT, Book, Line
from contracts.subjects.correction import CORRECTION, MOST_NOTE, CorrectionAnswerV1

log = structlog.get_logger()

#: Seconds between looks at what came and what is asked.
LOOK = 0.25
#: Corrections that one answer to the command line lists.
MOST_LISTED = 1_000
NOBODY = (
    "没有知晓该合同的上级数源节点，纠错无法送达"
    " | No owner above knows this contract: corrections travel upwards only"
)


_NONE = Histogram(ANSWER_TIMES)


class Way(Protocol):
    """Another way than the command line on which corrections go out and answers come in."""

    async def run(self, owner: "Owner") -> None:
        """Work until cancelled; says in ``owner.hop`` what keeps it from working."""
        ...


class NotAnswered(ValueError):
    """An answer that cannot be; the text says why."""


class Owner:
    """A part of the agent (:class:`agents.base.run.Part`).

    ``owned`` are the contracts this node owns, ``topmost`` says whether corrections travel no further
    from here, ``ready`` whether all that was filed and answered so far has been read.
    """

    def __init__(
        self,
        hop: Hop,
        *,
        node: str,
        book: Book,
        table: Corrections,
        owned: frozenset[str],
        topmost: bool,
        ready: Callable[[], bool],
        requests: Requests,
        audit: Audit,
        ways: tuple[Way, ...] = (),
    ) -> None:
        self.hop, self.book, self.table = hop, book, table
        self._node, self._owned, self._topmost = node, owned, topmost
        self._ready, self._requests, self._audit, self._ways = ready, requests, audit, ways
        self._workdays = Workdays(table.off, table.worked)
        #: By contract: those that wait, and those of them that wait too long.
        self._open, self._late = Counter[str](), Counter[str]()
        #: By contract and decision; and by contract, how long it took.
        self._answered: Counter[tuple[str, str]] = Counter()
        self._took: dict[str, Histogram] = {}
        hop.metrics = self.metrics
        self._told = book.outgoing.beside(
            "CREATE TABLE IF NOT EXISTS overdue (id TEXT PRIMARY KEY) WITHOUT ROWID;"
        )

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        while not self._ready():
            # What was answered before must be known, or it would be received once more.
            if await until(stop, asyncio.sleep(LOOK, True)) is None:
                return
        async with asyncio.TaskGroup() as group:
            ways = [group.create_task(way.run(self), name=type(way).__name__) for way in self._ways]
            while not stop.is_set():
                self._look()
                self._serve_requests()
                self.hop.running()
                self.hop.lag = 0
                self.hop.moved()
                await until(stop, asyncio.sleep(LOOK))
            for way in ways:
                way.cancel()

    # ---- receiving ---------------------------------------------------------------------------

    def mine(self, contract: str) -> bool:
        """Is it for this node to answer corrections of ``contract``?"""
        return contract in self._owned

    def waiting(self) -> list[Line]:
        """Those this node is still to decide, the oldest first."""
        return [line for line in self.book.open() if self.mine(line.contract)]

    def _look(self) -> None:
        now, waiting, overdue = time.time(), 0, 0
        open_, late = Counter[str](), Counter[str]()
        for line in self.book.open():
            if self.mine(line.contract):
                if line.state == SENT:
                    self._receive(line)
                waiting += 1
                open_[line.contract] += 1
                known = self.book.find(line.id)
                if known and known.overdue(now):
                    overdue += 1
                    late[line.contract] += 1
                    self._say_overdue(line)
            elif self._topmost and line.state == SENT:
                self._say(line, "rejected", NOBODY, self._node)
        self._open, self._late = open_, late
        gauges = self.hop.gauges
        gauges["corrections_open"], gauges["corrections_overdue"] = float(waiting), float(overdue)
        self.hop.warnings.pop("overdue", None)
        if overdue:
            self.hop.warnings["overdue"] = (
                f"{overdue} corrections were not answered in time: `levelsync corrections list`"
            )

    def _receive(self, line: Line) -> None:
        today = datetime.datetime.now(CHINA).date()
        due = self._workdays.after(today, self.table.days)
        if unknown(due) and "calendar" not in self.hop.warnings:
            said = (
                f"The holidays after {LAST_YEAR} are not known here: Monday to Friday are taken as"
                " worked. Update the package chinesecalendar, or set [corrections] off and worked."
            )
            self.hop.warnings["calendar"] = said
            log.warning("holidays are not known", contract=line.contract, year=LAST_YEAR + 1)
        self._say(line, "received", "", "", due)
        log.info(
            "correction received", correction=line.id, contract=line.contract, due=due.isoformat()
        )

    def _say_overdue(self, line: Line) -> None:
        new = self._told.execute("INSERT OR IGNORE INTO overdue VALUES (?)", (line.id,)).rowcount
        if new:
            due = line.due.isoformat() if line.due else ""
            facts = {"correction": line.id, "due": due}
            self._audit.tell("levelsync.correction.overdue", line.contract, facts)
            log.warning("correction overdue", correction=line.id, contract=line.contract, due=due)

    def _say(
        self, line: Line, state: Any, note: str, by: str, due: datetime.date | None = None
    ) -> None:
        known = self.book.find(line.id)
        assert known
        decided = None if state == "received" else datetime.datetime.now(datetime.UTC)
        self.book.say(
            CorrectionAnswerV1(
                id=line.id,
                contract=line.contract,
                state=state,
                due=due or line.due,
                note=note,
                answered_by=by,
                answered_at=decided,
                node=self._node,
                division=known.correction.division,
            )
        )
        self.hop.events += 1

    # ---- answering ---------------------------------------------------------------------------

    def answer(self, name: str, state: str, note: str, by: str) -> None:
        """Decide a correction, once. Raises NotAnswered, OutgoingFull."""
        line = self.book.line(name)
        if line is None:
            raise NotAnswered(f"There is no correction `{name}` here")
        if not self.mine(line.contract):
            raise NotAnswered(f"`{line.contract}` is not this node's: its owner answers")
        if not line.open:
            raise NotAnswered(f"It was answered before: {line.state}")
        if state not in ("accepted", "rejected"):
            raise NotAnswered(f"Expected `accepted` or `rejected`, got `{state}`")
        if state == "rejected" and not note.strip():
            raise NotAnswered("Expected a note that says why it is rejected, got none")
        if len(note) > MOST_NOTE:
            raise NotAnswered(f"Expected a note of at most {MOST_NOTE} characters, got {len(note)}")
        self._say(line, state, note, by[:200])
        self._count(line, state)
        log.info("correction answered", correction=name, contract=line.contract, state=state)

    def _count(self, line: Line, state: str) -> None:
        self._answered[line.contract, state] += 1
        known = self.book.find(line.id)
        if known:
            took = time.time() - known.correction.filed_at.timestamp()
            self._took.setdefault(line.contract, Histogram(ANSWER_TIMES)).observe(max(0.0, took))

    def metrics(self) -> Iterator[Metric]:
        """For :attr:`agents.base.status.Hop.metrics`: corrections by the contract they are about."""
        labels = ["contract"]
        waiting = GaugeMetricFamily(
            "levelsync_corrections_open", "Corrections that wait for an answer.", labels=labels
        )
        late = GaugeMetricFamily(
            "levelsync_corrections_overdue", "Those that should have one by now.", labels=labels
        )
        answered = CounterMetricFamily(
            "levelsync_corrections_answered", "Corrections answered here.",
            labels=[*labels, "decision"],
        )  # fmt: skip
        took = HistogramMetricFamily(
            "levelsync_correction_answer_seconds", "From the filing to the answer.", labels=labels
        )
        for name in sorted(self._owned):
            waiting.add_metric([name], self._open[name])
            late.add_metric([name], self._late[name])
            for decision in ("accepted", "rejected"):
                answered.add_metric([name, decision], self._answered[name, decision])
            self._took.get(name, _NONE).tell(took, [name])
        yield from (waiting, late, answered, took)

    def _serve_requests(self) -> None:
        for request in self._requests.pending(CORRECTION.name, "corrections", "answer"):
            try:
                facts = self._serve(request)
            except NotAnswered as no:
                self._requests.answer(request, "failed", error=str(no))
            else:
                self._requests.answer(request, "done", **facts)

    def _serve(self, request: Request) -> Mapping[str, Any]:
        given = request.arguments
        if request.what == "answer":
            self.answer(given["id"], given["state"], given["note"], given["by"])
            return {"correction": self.described(given["id"])}
        if name := given.get("id"):
            if self.book.line(name) is None:
                raise NotAnswered(f"There is no correction `{name}` here")
            return {"corrections": [self.described(name)]}
        wanted = [
            line.id
            for line in self.book.lines()
            if self.mine(line.contract) and (given.get("all") or line.open)
        ]
        told = [self.described(name) for name in wanted[:MOST_LISTED]]
        return {"corrections": told, "left_out": len(wanted) - len(told)}

    def described(self, name: str) -> dict[str, Any]:
        """A correction and its answer as plain data of JSON."""
        known = self.book.find(name)
        assert known
        said = known.answer
        return {
            **msgspec.to_builtins(known.correction),
            "seen": msgspec.json.decode(known.correction.seen),
            "proposed": msgspec.json.decode(known.correction.proposed),
            "state": known.state,
            "due": said.due.isoformat() if said and said.due else None,
            "overdue": known.overdue(time.time()),
            "note": said.note if said else "",
            "answered_by": said.answered_by if said else "",
            "answered_at": said.answered_at.isoformat() if said and said.answered_at else None,
        }
