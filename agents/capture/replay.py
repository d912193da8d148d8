"""Dead letters that an operator wants to go their way: accepted after all, or dropped."""

import asyncio
import time
from collections import defaultdict

import msgspec
import structlog

from agents.base.requests import Request, Requests
from agents.capture.entry import Entry
from agents.capture.published import Published
from agents.capture.source import Change
from agents.kafka.copy import Copy
from agents.kafka.letters import WAITS, DeadLetter, Kept, find_letters, resolve
from contracts.envelope import parse_time
from contracts.model import Contract
from contracts.rejected import Rejected

log = structlog.get_logger()


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which letters: all of a contract's, or those of ``key``, ``rule``, ``path`` or ``id``."""

    key: str = ""
    rule: str = ""
    path: str = ""
    id: str = ""

    def takes(self, letter: DeadLetter) -> bool:
        """Is ``letter`` among them?"""
        return all(
            not wanted or getattr(letter, name) == wanted
            for name, wanted in msgspec.structs.asdict(self).items()
        )


class Replay:
    """Serves the requests ``replay`` and ``drop`` of one contract, through the copy's one writer."""

    def __init__(
        self,
        contract: Contract,
        requests: Requests,
        published: Published,
        copy: Copy,
        entry: Entry,
    ) -> None:
        self._contract = contract
        self._requests = requests
        self._published = published
        self._copy = copy
        self._entry = entry

    async def serve(self) -> list[tuple[Request, dict[str, int]]]:
        """Do what is asked by now. Each request with what became of its letters, to be answered
        with :meth:`answer` once brokers have it all. Raises Unavailable."""
        served = []
        for request in self._requests.pending(self._contract.name, "replay", "drop"):
            counts = await self._serve(request)
            if request.what == "replay":
                log.info("dead letters replayed", contract=self._contract.name, **counts)
            else:
                log.info("dead letters dropped", contract=self._contract.name, **counts)
            served.append((request, counts))
        return served

    def answer(self, served: list[tuple[Request, dict[str, int]]]) -> None:
        """Say that what was served is done."""
        for request, counts in served:
            self._requests.answer(request, "done", **counts)

    async def _serve(self, request: Request) -> dict[str, int]:
        selected = msgspec.convert(request.arguments, Selection)
        counts = {"replayed": 0, "superseded": 0, "refused": 0, "unreadable": 0, "dropped": 0}
        # What was written just now must be seen by those who read below.
        await self._copy.drain()
        letters = await find_letters(self._copy.cluster, topics=[self._entry.part_of("")[0]])
        by_key: dict[str, list[Kept]] = defaultdict(list)
        for kept in letters:
            by_key[kept.letter.key].append(kept)
        touched = {kept.letter.key for kept in letters if selected.takes(kept.letter)}
        newest = await self._published.newest(frozenset(touched))
        for key in touched:
            mine = by_key[key]
            if request.what == "drop":
                for kept in [kept for kept in mine if selected.takes(kept.letter)]:
                    resolve(self._copy, kept, 0)
                    counts["dropped"] += 1
                    mine.remove(kept)
                # Those that waited behind it are in order themselves.
                again = [kept for kept in mine if kept.letter.rule == WAITS]
            else:
                again = [kept for kept in mine if selected.takes(kept.letter)]
            await self._again(key, mine, again, newest, counts)
            await asyncio.sleep(0)
        return counts

    async def _again(
        self,
        key: str,
        letters: list[Kept],
        again: list[Kept],
        newest: dict[str, str],
        counts: dict[str, int],
    ) -> None:
        """Try ``again`` those of one key's ``letters``, in the order of its changes; with a contract
        that lets later changes wait, none before those ahead of it are gone, and then all that wait."""
        waits = self._entry.waiting
        left = list(letters)
        for kept in letters:
            if kept not in again and not (waits is not None and kept.letter.rule == WAITS):
                if waits is not None and key:
                    break
                continue
            outcome = self._try(kept, newest.get(key, ""))
            counts[outcome] += 1
            if outcome in ("replayed", "superseded"):
                left.remove(kept)
                newest[key] = max(newest.get(key, ""), kept.letter.sequence)
            elif waits is not None and key:
                break
        if waits is not None and not left:
            waits.discard(key)
        await self._copy.flush()

    def _try(self, kept: Kept, newest: str) -> str:
        letter = kept.letter
        if letter.key and newest >= letter.sequence:
            # It, or a newer change of its key, is told already.
            resolve(self._copy, kept, 0)
            return "superseded"
        if not letter.replayable:
            return "unreadable"
        change = Change(
            id=letter.id,
            sequence=letter.sequence,
            time=parse_time(letter.time),
            key=letter.key,
            fields=letter.fields,
            copied=letter.copied,
            traceparent=letter.traceparent,
        )
        try:
            self._entry.publish(change)
        except Rejected as refused:
            told = msgspec.structs.replace(
                letter, path=refused.path, rule=refused.rule, message=refused.message
            )
            self._entry.write(told, kept.part, int(time.time() * 1e6))
            return "refused"
        resolve(self._copy, kept, 0)
        return "replayed"
