"""Corrections posted to the owner's own application, which may answer at once."""

import asyncio
import hashlib
import hmac
import time

import aiohttp
import msgspec

from agents.base.outgoing import OutgoingFull
from agents.window.owner import NotAnswered, Owner

#: Seconds between attempts for one correction, first and at most; and for one request.
BACKOFF, PATIENCE = (1.0, 300.0), 10.0
#: Bytes of an answer that are read.
LARGEST = 64 * 1024


class Decision(msgspec.Struct):
    """What the body of a 2xx may hold."""

    answer: str = ""
    note: str = ""
    answered_by: str = ""


def signature(secret: str, moment: str, body: bytes) -> str:
    """``Levelsync-Signature``: HMAC-SHA256 over ``Levelsync-Timestamp``, a dot and the body."""
    said = moment.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()}"


class Webhook:
    """An :class:`agents.window.owner.Way`: one request at a time, each correction until a 2xx or until
    it is answered otherwise."""

    def __init__(self, backoff: tuple[float, float] = BACKOFF) -> None:
        self._backoff = backoff
        #: By id, when to try again and the wait after that.
        self._later: dict[str, tuple[float, float]] = {}

    async def run(self, owner: Owner) -> None:
        """See :class:`agents.window.owner.Way`."""
        posted = owner.book.outgoing.beside(
            "CREATE TABLE IF NOT EXISTS posted (id TEXT PRIMARY KEY) WITHOUT ROWID;"
        )
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
            while True:
                now = time.monotonic()
                waiting = {line.id for line in owner.waiting() if line.due}
                self._later = {n: t for n, t in self._later.items() if n in waiting}
                if not self._later:
                    owner.hop.warnings.pop("webhook", None)
                for name in sorted(waiting):
                    if (
                        self._later.get(name, (0.0, 0.0))[0] > now
                        or posted.execute("SELECT 1 FROM posted WHERE id = ?", (name,)).fetchone()
                    ):
                        continue
                    if why := await self._post(session, owner, name):
                        wait = self._later.get(name, (0.0, self._backoff[0]))[1]
                        again = min(wait * 2, self._backoff[1])
                        self._later[name] = (time.monotonic() + wait, again)
                        owner.hop.warnings["webhook"] = f"[corrections] webhook: {why}"
                        continue
                    posted.execute("INSERT OR IGNORE INTO posted VALUES (?)", (name,))
                    self._later.pop(name, None)
                await asyncio.sleep(0.25)

    async def _post(self, session: aiohttp.ClientSession, owner: Owner, name: str) -> str:
        """Why it could not be posted; empty when it was."""
        body, moment = msgspec.json.encode(owner.described(name)), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": name,
            "Levelsync-Timestamp": moment,
            "Levelsync-Signature": signature(owner.table.secret, moment, body),
        }
        try:
            async with session.post(
                owner.table.webhook, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status // 100 != 2:
                    return f"expected a 2xx, got {answer.status}"
                raw = await answer.content.read(LARGEST)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error) or type(error).__name__
        return _decided(owner, name, raw)


def _decided(owner: Owner, name: str, raw: bytes) -> str:
    try:
        said = msgspec.json.decode(raw, type=Decision)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""  # it is taken; what is no answer is not for us
    if said.answer:
        try:
            owner.answer(name, said.answer, said.note, said.answered_by or "webhook")
        except (NotAnswered, OutgoingFull) as no:
            return f"its answer cannot be taken: {no}"
    return ""
