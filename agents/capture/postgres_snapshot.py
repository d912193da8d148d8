"""Which transactions a look at the tables saw.

The log tells of a commit before any table shows it: for an instant, or, where the commit waits for a
synchronous standby, for as long as that is away.
"""

import msgspec


class Snapshot(msgspec.Struct):
    """``txid_current_snapshot()``, as servers of every version call it: which transactions a look saw."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """Was the transaction ``xid`` (its lower 32 bits) committed for the snapshot?"""
        full = (self.xmax & ~0xFFFFFFFF) | xid
        if full - self.xmax > 1 << 31:
            full -= 1 << 32
        elif self.xmax - full > 1 << 31:
            full += 1 << 32
        return full < self.xmin or (full < self.xmax and full not in self.running)
