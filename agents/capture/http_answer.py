"""What a sender is answered: what became of each record of a request, or why there is no request."""

import asyncio
import json
from typing import Any

from aiohttp import web

from contracts.rejected import Rejected

#: Refused records that an answer lists; all are counted.
LISTED = 1_000
#: The keys of a problem (RFC 9457) that is about nothing but its status.
_BLANK = "about:blank"


class Problem(Exception):
    """A request that is answered with a problem: what was expected, what was found, what to do."""

    def __init__(
        self,
        status: int,
        title: str,
        *,
        expected: str = "",
        found: str = "",
        do: str = "",
        retry: int = 0,
        **more: Any,
    ) -> None:
        self.status = status
        self.retry = retry
        detail = f"Expected {expected}, got {found}." if expected else ""
        self.body = {
            "type": _BLANK,
            "title": title,
            "status": status,
            "detail": f"{detail} {do}".strip(),
            **{
                name: value
                for name, value in (("expected", expected), ("found", found), ("do", do))
                if value
            },
            **more,
        }
        super().__init__(title)

    def response(self) -> web.Response:
        headers = {"Cache-Control": "no-store"}
        if self.retry:
            headers["Retry-After"] = str(self.retry)
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="levelsync"'
        return web.Response(
            status=self.status,
            body=json.dumps(self.body, ensure_ascii=False).encode(),
            content_type="application/problem+json",
            headers=headers,
        )


class Ticket:
    """One request: what became of its records so far."""

    def __init__(self) -> None:
        self.accepted = 0
        self.repeated = 0
        self.rejected = 0
        #: Of those accepted or repeated, how many are on this node's disk, to be sent up in their order.
        self.kept = 0
        #: Records that wait for Kafka.
        self.left = 0
        #: Why nobody knows what became of the rest.
        self.failed = ""
        self._positions: dict[int, int] = {}
        self._refused: list[dict[str, Any]] = []
        self._retry = 2
        self._news = asyncio.Event()

    def stands(self, partition: int, offset: int, *, again: bool) -> None:
        """A record stands there; ``again`` where it did so before."""
        if again:
            self.repeated += 1
        else:
            self.accepted += 1
        if offset > self._positions.get(partition, -1):
            self._positions[partition] = offset

    def keeps(self, *, again: bool) -> None:
        """A record is on this node's disk; ``again`` where it was so before."""
        if again:
            self.repeated += 1
        else:
            self.accepted += 1
        self.kept += 1

    def refuse(self, line: int, name: str, why: Rejected) -> None:
        """A record is not taken."""
        self.rejected += 1
        if len(self._refused) < LISTED:
            told = {"line": line, "path": why.path, "rule": why.rule, "message": why.message}
            self._refused.append(told | {"id": name} if name else told)

    def waits(self) -> None:
        """One more record waits for Kafka."""
        self.left += 1

    def settled(self) -> None:
        """One record less does."""
        self.left -= 1
        if not self.left:
            self._news.set()

    def fail(self, why: str, retry: int = 2) -> None:
        """Nobody will say what became of those that wait; ``retry`` seconds from now it may be known."""
        self.failed, self._retry = self.failed or why, retry
        self._news.set()

    async def finish(self, seconds: float) -> None:
        """Wait until nothing waits any more, or for so long without any progress."""
        while self.left and not self.failed:
            before = self.left
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                if self.left >= before:
                    self.fail("Kafka has not confirmed it in time")

    def response(self) -> web.Response:
        """200 where all stand, 202 where they are kept, 422 where some were refused, 503 where it is not
        known of all."""
        counts: dict[str, Any] = {
            "accepted": self.accepted,
            "repeated": self.repeated,
            "rejected": self.rejected,
            "positions": {str(part): at for part, at in sorted(self._positions.items())},
            "refused": self._refused,
        }
        if self.kept:
            counts["kept"] = self.kept
        if self.failed:
            return Problem(
                503,
                "Not everything was confirmed",
                do=f"{self.failed}. Send the same again, with the same ids or Idempotency-Key: what"
                " stands already is not taken twice.",
                retry=self._retry,
                unknown=self.left,
                **counts,
            ).response()
        if self.rejected:
            return Problem(
                422,
                "Records were refused",
                do="Mend what `refused` names and send it again; what was accepted stands.",
                **counts,
            ).response()
        status = 202 if self.kept else 200
        return web.json_response(counts, status=status, headers={"Cache-Control": "no-store"})
