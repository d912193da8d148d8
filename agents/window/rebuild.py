"""Everything of a contract read anew at this window, because an operator asked for it."""

import time

from agents.base.requests import Request, Requests


class Rebuild:
    """One under way: what was asked, and how far it is."""

    def __init__(self, requests: Requests, asked: list[Request]) -> None:
        self._requests = requests
        self._asked = asked
        self._began = time.monotonic()
        #: Records to read, and those read before this agent began.
        self._of = self._before = self._read = 0

    @classmethod
    def asked(cls, requests: Requests | None, contract: str) -> "Rebuild | None":
        """What operators ask of ``contract`` at this moment."""
        found = requests.pending(contract, "rebuild") if requests else []
        return cls(requests, found) if requests and found else None

    @property
    def expected(self) -> int:
        """Records to read."""
        return self._of

    def begin(self, of: int, read: int) -> None:
        """``of`` records are to be read, and ``read`` of them were, before the agent was ended in the
        middle."""
        self._of, self._before, self._read = of, read, read
        self._began = time.monotonic()
        self.tell(read)

    def tell(self, read: int) -> None:
        """``read`` of the records were read."""
        self._read = read
        self._answer("running")

    def done(self, records: int) -> None:
        """It is whole, and has ``records``."""
        self._read = self._of
        self._answer("done", held=records)

    @property
    def share(self) -> float:
        """How much of it was read, from 0 to 1."""
        return min(1.0, self._read / self._of) if self._of else 1.0

    def _answer(self, state: str, **more: int) -> None:
        seconds = time.monotonic() - self._began
        facts = {
            "records": self._read,
            "expected": self._of,
            "share": round(self.share, 4),
            "records_per_s": round((self._read - self._before) / seconds) if seconds > 0 else 0,
            "seconds": round(seconds, 1),
        }
        for request in self._asked:
            self._requests.answer(
                request, "done" if state == "done" else "running", **facts, **more
            )
