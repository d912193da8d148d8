"""What the watermarks of a stream must prove to a reader, and what follows when they do not.

Where the node file's ``[trust]`` has keys of a node, its streams must be signed by one of them: anything
else stops the contract at that watermark. Where it has none they flow, and status says how they are
signed. What this node signed itself is verified as far as it is told by its own keys.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from agents.base.errors import NotProven
from agents.base.statement import ZERO, Seal, Statement, Unproven, digest, key_id, opened, read
from agents.base.status import Hop, Signature, SignedState
from agents.base.watermark import LEFT_OUT, Continuity, Watermark

#: Microseconds for which compaction leaves alone what was written, with half of the day it is asked to
#: wait as a margin for clocks.
YOUNG = 12 * 3600 * 1_000_000
#: Watermarks with events in a row that may come without the word of who made these.
MOST_WITHOUT = 8


class Trust:
    """Whose keys count at ``node``: those of the node file, by node, and its ``own``."""

    def __init__(
        self,
        node: str,
        listed: Mapping[str, tuple[str, ...]],
        own: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.node = node
        self._listed = listed
        self._own = own

    def use(self, listed: Mapping[str, tuple[str, ...]]) -> None:
        """The node file may have other keys now: they count from the next watermark on."""
        self._listed = listed

    def binds(self, node: str) -> bool:
        """Must what ``node`` writes be signed?"""
        return bool(self._listed.get(node))

    def knows(self, node: str) -> bool:
        """Is there a key by which something of ``node`` could be verified?"""
        return self.binds(node) or (node == self.node and bool(self._own()))

    def takes(self, node: str, key: str) -> bool:
        """Is ``key`` one of ``node``'s?"""
        return key in self._listed.get(node, ()) or (node == self.node and key in self._own())


class Proof:
    """Verifies the watermarks of one partition, written by ``writer``.

    ``giver`` is the neighbour whose word a link's topic carries, if it is one. With ``events`` the chain
    over events is verified, by the word of who made them. ``since`` is the watermark from which on the
    partition's end says it is signed without a break: those before may be unsigned to a reader who
    comes to the first of them. What is found is told in ``hop``.
    """

    def __init__(
        self,
        trust: Trust,
        part: tuple[str, int],
        writer: str,
        hop: Hop,
        *,
        giver: str = "",
        events: bool = False,
    ) -> None:
        self.writer = writer
        self.since = 0
        self._trust = trust
        self._part = part
        self._hop = hop
        self._giver = giver
        self._events = events

    def begin(self, state: Continuity) -> None:
        """``state`` is about to read on: from a partition's very beginning the chains are known."""
        if state.number == 0 and not state.thinned and not state.counted and not state.at:
            self._anew(state)

    def unknown(self, state: Continuity) -> bool:
        """Must the partition's end be asked since when it is signed, before ``state`` reads on?"""
        return not state.at and self._trust.binds(self.writer)

    def ends(self, seal: Seal | None) -> None:
        """``seal`` is that of the partition's last watermark."""
        try:
            said = opened(seal) if seal else None
        except Unproven:
            return
        if said and said.node == self.writer and self._trust.takes(said.node, said.key):
            self.since = said.since

    def verify(self, state: Continuity, mark: Watermark, offset: int, *, whole: bool) -> None:
        """Verify ``mark``, and what ``state`` read above it; ``whole`` if nothing is missing of that.

        Raises NotProven, and nothing of ``state`` has changed.
        """
        said = self._written(mark, offset, state, whole=whole)
        if self._events:
            self._made(state, mark, said, offset, whole=whole)
        if said is None:
            state.at, state.said = 0, ""
            known = mark.seal is None and self._trust.knows(self.writer)
            batches = ZERO if known else b""
        else:
            self._stand(state, said, mark)
            batches = said.batches
            self._hop.verified += 1
        state.batch_chain = b"" if self._events else batches

    def take(self, state: Continuity, mark: Watermark) -> None:
        """Go on from ``mark`` without verifying what is above it: that was read as state, not history."""
        with contextlib.suppress(Unproven):
            said = opened(mark.seal) if mark.seal else None
            if said and said.node == self.writer and self._trust.takes(said.node, said.key):
                self._stand(state, said, mark)
                state.batch_chain = said.batches

    @staticmethod
    def _stand(state: Continuity, said: Statement, mark: Watermark) -> None:
        state.at, state.said = said.at, digest(mark.seal)

    # ---- the writer's word -----------------------------------------------------------------------

    def _written(
        self, mark: Watermark, offset: int, state: Continuity, *, whole: bool
    ) -> Statement | None:
        """What the topic's writer says with ``mark``; None when nothing follows from it."""
        trust, writer = self._trust, self.writer
        binds = trust.binds(writer)
        if mark.seal is None:
            if binds and (state.at or mark.number >= self.since):
                self._fail("A watermark is not signed", mark, offset, expected=writer)
            self._tell("unsigned", "", "unsigned")
            return None
        try:
            said = opened(mark.seal)
        except Unproven as error:
            if binds or self._claims_ours(mark.seal):
                self._fail("A watermark is signed wrongly", mark, offset, said=str(error))
            self._tell("untrusted", "", f"signed wrongly: {error}")
            return None
        if said.node != writer or not trust.takes(writer, said.key):
            if binds:
                self._fail(
                    "A watermark is signed by another key", mark, offset,
                    expected=writer, found=f"{said.node} with {said.key}",
                )  # fmt: skip
            self._tell_untrusted(said)
            return None
        claimed = (said.topic, said.partition, said.stream, said.number, said.count, said.time,
                   said.position, said.carries, said.apart)  # fmt: skip
        found = (*self._part, mark.stream, mark.number, mark.count, mark.time,
                 digest(mark.position), _digest(mark.carries), mark.apart)  # fmt: skip
        if claimed != found:
            self._fail("A watermark is not what was signed", mark, offset, by=said.node)
        if not whole and state.at and time.time_ns() // 1000 - state.at < YOUNG:
            self._fail("Records are missing that compaction cannot have taken yet", mark, offset)
        comparable = whole and not said.anew and (state.at or said.number == said.since)
        if comparable and state.batch_chain and state.batch_chain != said.batches:
            self._fail(
                "What stands above a watermark is not what was signed", mark, offset, by=said.node
            )
        self._tell("proven", said.node, f"{said.node} (key {key_id(said.key)})")
        return said

    def _claims_ours(self, seal: Seal) -> bool:
        try:
            said = read(seal)
        except Unproven:
            return False
        return said.node == self.writer and self._trust.takes(said.node, said.key)

    # ---- the word of who made the events ---------------------------------------------------------

    def _made(
        self,
        state: Continuity,
        mark: Watermark,
        said: Statement | None,
        offset: int,
        *,
        whole: bool,
    ) -> None:
        made, apart = said, ""
        if said is None or not said.events:
            if mark.carries is None:
                self._without(state, mark, offset)
                return
            made, apart = self._carried(state, mark, mark.carries, offset), mark.apart
        if made is None:
            state.event_chain, state.maker, state.maker_stream, state.maker_number = b"", "", "", 0
            return
        begins = made.number == made.since and (said is made or made.since == 1)
        comparable = whole and not apart and not made.anew and (state.maker_number or begins)
        if comparable and state.event_chain and state.event_chain != made.events:
            self._fail(
                "The events above a watermark are not those that were signed", mark, offset,
                by=made.node,
            )  # fmt: skip
        self._tell("proven", made.node, f"{made.node} (key {key_id(made.key)})")
        name = f"proof {self._part[1]}"
        self._hop.warnings.pop(name, None)
        if apart.startswith(LEFT_OUT):
            self._hop.warnings[name] = (
                f"up to watermark {mark.number} of {self._part[0]}, partition {self._part[1]}, the"
                f" events are not all that {made.node} signed: {apart}"
            )
        state.event_chain, state.maker, state.without = made.events, made.node, 0
        state.maker_stream, state.maker_number = made.stream, made.number
        if said is not made:
            self._hop.verified += 1

    def _carried(
        self, state: Continuity, mark: Watermark, seal: Seal, offset: int
    ) -> Statement | None:
        """The statement a link passes on; None when its key is not known here."""
        trust = self._trust
        try:
            made = opened(seal)
        except Unproven as error:
            if trust.binds(self._giver) or state.maker:
                self._fail("What a watermark carries is signed wrongly", mark, offset,
                           said=str(error))  # fmt: skip
            self._tell("untrusted", "", f"signed wrongly: {error}")
            return None
        if not trust.takes(made.node, made.key):
            if trust.binds(made.node) or (state.maker and trust.binds(state.maker)):
                self._fail(
                    "Events are signed by another key", mark, offset,
                    expected=state.maker or made.node, found=f"{made.node} with {made.key}",
                )  # fmt: skip
            self._tell_untrusted(made)
            return None
        if state.maker_stream == made.stream:
            if made.number <= state.maker_number:
                self._fail(
                    "A watermark carries an older one", mark, offset,
                    expected=state.maker_number + 1, found=made.number,
                )  # fmt: skip
        elif state.maker_stream and not mark.apart:
            self._fail("A watermark carries that of another stream", mark, offset,
                       expected=state.maker_stream, found=made.stream)  # fmt: skip
        return made

    def _without(self, state: Continuity, mark: Watermark, offset: int) -> None:
        """``mark`` says nothing of who made the events: a link may have drawn it in between."""
        if not self._giver:
            state.event_chain = (
                ZERO if mark.seal is None and self._trust.knows(self.writer) else b""
            )
            return
        if not state.maker_number:
            self._tell("unsigned", "", f"not signed by {self._giver}")
        if mark.count:
            state.without += 1
        if state.without > MOST_WITHOUT and self._trust.binds(self._giver):
            self._fail(
                "Watermarks do not carry the signature of who made the events", mark, offset,
                expected=self._giver, watermarks=state.without,
            )  # fmt: skip

    # ---- telling ---------------------------------------------------------------------------------

    def _anew(self, state: Continuity) -> None:
        if not self._events:
            state.batch_chain = ZERO if self._trust.knows(self.writer) else b""
        elif self._trust.knows(self.writer) or self._trust.knows(self._giver):
            state.event_chain = ZERO

    def _tell(self, state: SignedState, node: str, text: str) -> None:
        self._hop.signed[self._part] = Signature(state, node, text)

    def _tell_untrusted(self, said: Statement) -> None:
        self._tell(
            "untrusted", said.node,
            f"signed by a key not trusted here, of {said.node}:"
            f" levelsync keys trust NODE.toml {said.node} {said.key}",
        )  # fmt: skip

    def _fail(self, why: str, mark: Watermark, offset: int, **facts: object) -> NoReturn:
        topic, partition = self._part
        self._hop.failed += 1
        self._tell("stopped", "", f"stopped: {why[:1].lower()}{why[1:]}")
        raise NotProven(
            why, topic=topic, partition=partition, offset=offset, watermark=mark.number, **facts
        )


def _digest(seal: Seal | None) -> str:
    return digest(seal.said) if seal else ""
