"""A folder of files, and an intake and a topic in memory behind it: what a source of files sees of the world."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec

from agents.base.requests import Requests
from agents.base.status import Hop
from agents.capture.files import FilesSource
from agents.capture.files_report import Report, read_report
from agents.capture.files_settings import FilesFolder
from agents.capture.published import Published, Standing
from agents.capture.source import Change, Outcome, Place, Sweep, Unreadable
from contracts.check import Checked, Checker
from contracts.model import Contract
from contracts.rejected import Rejected
from contracts.subjects import CONTRACTS

#: Divisions by code, name, level and parent, whatever they are.
CONTRACT = msgspec.structs.replace(CONTRACTS["division.v1"], rules=())
HEADER = "code,name,level,parent"


class Event(msgspec.Struct, frozen=True):
    id: str
    sequence: str
    key: str
    value: bytes | None


class Topic(Published):
    """What Kafka would hold: events, dead letters, and the last position that both are covered by."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        self.contract = contract
        self.events: list[Event] = []
        self.letters: dict[str, tuple[Change | Unreadable, Rejected]] = {}
        self.position: Any = None
        #: Ids told after the position.
        self.held: set[str] = set()
        self._checker = Checker(contract)

    async def live(self) -> AsyncIterator[Standing]:
        for key, event in self.newest_events().items():
            if event.value is not None:
                yield Standing(key, event.sequence, event.value)

    def newest_events(self) -> dict[str, Event]:
        return {event.key: event for event in self.events}

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """The records that stand, by key."""
        return {
            key: msgspec.json.decode(event.value)
            for key, event in self.newest_events().items()
            if event.value is not None
        }

    def take(self, change: Change | Unreadable | Sweep) -> Outcome:
        """As the intake does."""
        assert not isinstance(change, Sweep)
        if change.id in self.held:
            return Outcome(-1, -1)
        self.held.add(change.id)
        try:
            if isinstance(change, Unreadable):
                raise change.refused
            value = None
            if change.fields is not None:
                fields = change.fields
                checked = fields if isinstance(fields, Checked) else self._checker.check(fields)
                value = checked.value
        except Rejected as refused:
            self.letters[change.id] = change, refused
            return Outcome(0, len(self.letters), refused)
        newest = self.newest_events().get(change.key)
        assert newest is None or newest.sequence < change.sequence, "out of order"
        assert all(event.id != change.id for event in self.events), "told twice"
        self.events.append(Event(change.id, change.sequence, change.key, value))
        return Outcome(0, len(self.events))


class Desk:
    """An office's folder, and the agent that reads it for as long as it is asked to."""

    def __init__(self, folder: Path, *, contract: Contract = CONTRACT, **settings: Any) -> None:
        self.folder = folder / "in"
        self.folder.mkdir(exist_ok=True)
        self.state = folder / "state"
        settings = {"settle": 0.0, "most_deleted": 1.0, "most_refused": 1.0} | settings
        self.settings = FilesFolder(contract=contract.name, folder=self.folder, **settings)
        self.settings.validate()
        self.topic = Topic(contract)
        self.requests = Requests(folder / "requests")
        self.hop = Hop("capture", contract.name, "", contract.name)

    def drop(self, name: str, content: str | bytes) -> None:
        """Put a file there, at once."""
        raw = content.encode() if isinstance(content, str) else content
        made = self.folder / f".{name}.made"
        made.write_bytes(raw)
        made.rename(self.folder / name)

    def rows(self, name: str, rows: Iterable[tuple[str, str]]) -> None:
        """Put a CSV file of codes and names there."""
        lines = [HEADER, *(f"{code},{text},township," for code, text in rows)]
        self.drop(name, "\n".join(lines) + "\n")

    @contextlib.asynccontextmanager
    async def source(self) -> AsyncIterator[FilesSource]:
        place = Place(self.topic.contract, "37", self.state, self.requests, self.topic, self.hop)
        source = FilesSource(self.settings, place)
        async with source:
            await source.open(self.topic.position, frozenset(self.topic.held))
            yield source

    async def work(self, *, crash_after: int = -1, covers: int = 1, seconds: float = 20.0) -> bool:
        """Run an agent until nothing is left to do. It crashes once it has told ``crash_after`` changes:
        the answer is then False. Of ``covers`` reads one is covered by a position."""
        left, again, reads = crash_after, set(self.topic.held), 0
        async with asyncio.timeout(seconds), self.source() as source:
            while not self.at_rest(source):
                told = await source.read()
                for index, change in enumerate(told.changes):
                    if left == 0:
                        return False
                    left -= 1
                    again.discard(change.id)
                    outcome = self.topic.take(change)
                    if told.outcome:
                        told.outcome(index, outcome)
                reads += 1
                if reads % covers == 0 and (told.passed or not again):
                    again.clear()
                    self.topic.position = told.position
                    self.topic.held.clear()
                    await source.confirm(told.position)
        return True

    def at_rest(self, source: FilesSource) -> bool:
        """Is nothing in the folder but what is done, refused and held, and nothing asked?"""
        waits = [path for path in self.folder.glob(self.settings.pattern) if path.is_file()]
        waits += list(self.settings.reading.glob("*"))
        asked = self.requests.pending(self.topic.contract.name, "release")
        return not waits and not asked and source.idle

    def report(self, where: str, name: str) -> Report:
        """What is said of a file that was done, refused or held."""
        found = read_report(self.folder / where / f"{name}.report.json")
        assert found, sorted(path.name for path in self.folder.rglob("*"))
        return found

    def names(self, where: str) -> list[str]:
        """The files that were done, refused or held, without their reports."""
        return sorted(
            path.name for path in (self.folder / where).iterdir() if ".report." not in path.name
        )
