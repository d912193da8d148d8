"""Watermarks: what makes a gap visible, and a copy its own position.

A watermark is a record in a topic partition which says "everything up to ``time``, ``count`` events
since the watermark before, is above this line", and from which upstream position it was made.
"""

from typing import Any

import msgspec

from agents.base.errors import GapFound, StreamReplaced
from agents.base.statement import Seal

TYPE = b"levelsync.watermark"
FENCE = b"levelsync.fence"
#: Kafka keys of the two; constant, so that compaction keeps one of each.
KEY = b"\x00levelsync.watermark"
FENCE_KEY = b"\x00levelsync.fence"


#: How :attr:`Watermark.apart` begins where somebody should know.
LEFT_OUT = "left out"

#: In place of a count that nobody knows any more.
UNCOUNTED = -1


class Watermark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The line drawn under ``count`` events of one topic partition.

    ``stream`` names this life of the partition and changes only when the topic is made anew;
    ``number`` counts its watermarks from 1; ``count`` is -1 where the writer found that compaction had
    been among its own last events; ``time`` is microseconds since 1970 UTC at the source, 0 when not
    known yet; ``position`` is where the writer's upstream stood, in the upstream's words.
    """

    stream: str
    number: int
    count: int
    time: int
    position: Any
    seal: Seal | None = None
    carries: Seal | None = None
    apart: str = ""


class Continuity(msgspec.Struct, omit_defaults=True):
    """Checks, record by record, that one partition holds what its watermarks claim.

    Kept by every reader and saved with its position, so that the check goes on over a restart.
    """

    stream: str = ""
    number: int = 0
    #: Events since watermark ``number``.
    counted: int = 0
    #: Offset expected next, -1 before the first record.
    offset: int = -1
    #: True while offsets are missing since the last watermark: compaction has been there, and what
    #: was read is the state, not the history.
    thinned: bool = True
    #: ``time`` of the last watermark.
    time: int = 0

    # What :class:`agents.base.proof.Proof` keeps of signed watermarks.

    #: The chain over batches so far, empty while it is not known.
    batch_chain: bytes = b""
    #: The chain over events so far, empty while it is not known or nobody asks.
    event_chain: bytes = b""
    #: When the last verified watermark was signed, microseconds since 1970 UTC; 0 before the first.
    at: int = 0
    #: Digest of what it said.
    said: str = ""
    #: Who made the events, and the stream and number of that node's last verified watermark.
    maker: str = ""
    maker_stream: str = ""
    maker_number: int = 0
    #: Watermarks with events since then that carried none of the maker's.
    without: int = 0

    def passed(self, offset: int, *, event: bool) -> None:
        """One record was read at ``offset``; ``event`` is False for watermarks' and fences' kin."""
        self.events(offset, int(event), offset + 1)

    def events(self, first: int, count: int, following: int) -> None:
        """``count`` events were read from offset ``first`` on, the next record is ``following``."""
        if first != self.offset:
            self.thinned = True
        self.offset = following
        self.counted += count

    def watermark(self, offset: int, mark: Watermark) -> None:
        """A watermark was read at ``offset``. Raises as :meth:`follows`; this state is then as it was."""
        self.follows(offset, mark)
        self.stand(offset, mark)

    def follows(self, offset: int, mark: Watermark) -> bool:
        """Does what was read agree with the watermark at ``offset``? True when nothing is missing since
        the one before, False when compaction has been there.

        Raises :class:`GapFound` when events are missing or repeated, :class:`StreamReplaced` when
        the partition is not the one read before.
        """
        thinned = self.thinned or offset != self.offset
        if self.stream and mark.stream != self.stream:
            raise StreamReplaced(expected=self.stream, found=mark.stream, offset=offset)
        if mark.number <= self.number or (not thinned and mark.number != self.number + 1):
            raise GapFound(
                "The watermark's number does not follow",
                expected=self.number + 1, found=mark.number, offset=offset,
            )  # fmt: skip
        if not thinned and mark.count not in (self.counted, UNCOUNTED):
            raise GapFound(
                expected=mark.count, counted=self.counted, watermark=mark.number, offset=offset
            )
        return not thinned

    def stand(self, offset: int, mark: Watermark) -> None:
        """From here on ``mark`` is the last."""
        self.stream, self.number, self.time = mark.stream, mark.number, mark.time
        self.counted, self.offset, self.thinned = 0, offset + 1, False
