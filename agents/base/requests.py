"""What operators ask of a running agent: files in its state folder, each with its answer beside it.

A command writes a request, the part of the agent it is for takes it up within about a second, and
says in the answer how far it is. A request stays until it is done, so that an agent killed in the
middle takes it up again. The folder is for the agent's user alone: requests may name keys.
"""

import contextlib
import os
import time
import uuid
from pathlib import Path
from typing import Any, Literal

import msgspec

from agents.base.errors import LevelsyncError

Asked = Literal["backfill", "replay", "drop", "release", "rebuild", "corrections", "answer"]
State = Literal["running", "done", "failed"]

#: Seconds after which an answer nobody fetched is thrown away.
KEEP = 7 * 24 * 3600.0
#: Seconds between two looks for an answer.
_LOOK = 0.1


class NotTaken(LevelsyncError):
    """The agent did not take the request up in time."""

    hint = "Is it running, with this node file? The request is withdrawn."


class Request(msgspec.Struct, frozen=True):
    """``what`` is asked of the capture or the window of ``contract``; ``arguments`` are plain data."""

    id: str
    what: Asked
    contract: str
    arguments: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True):
    """How far a request is; ``facts`` are plain data for a person or a program."""

    state: State
    facts: dict[str, Any] = {}


class Requests:
    """The requests in one folder, seen from both sides."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # ---- the operator's side -----------------------------------------------------------------

    def ask(self, what: Asked, contract: str, **arguments: Any) -> Request:
        """Put a request there. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        request = Request(f"{time.time_ns():x}-{uuid.uuid4().hex[:6]}", what, contract, arguments)
        self._write(f"{request.id}.request", request)
        return request

    def answer_to(self, request: Request) -> Answer | None:
        """What the agent has said so far; None while it has not taken the request up."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            raw = (self._folder / f"{request.id}.answer").read_bytes()
            return msgspec.json.decode(raw, type=Answer)
        return None

    def answered(self, request: Request, seconds: float, *, begun: bool = False) -> Answer | None:
        """Wait ``seconds`` at most until it is done, or with ``begun`` until it is taken up; what the
        agent has said by then."""
        until = time.monotonic() + seconds
        while True:
            answer = self.answer_to(request)
            enough = answer is not None and (begun or answer.state != "running")
            if enough or time.monotonic() > until:
                return answer
            time.sleep(_LOOK)

    def withdraw(self, request: Request) -> None:
        """Forget a request and its answer."""
        for kind in ("request", "answer"):
            (self._folder / f"{request.id}.{kind}").unlink(missing_ok=True)

    # ---- the agent's side --------------------------------------------------------------------

    def pending(self, contract: str, *what: Asked) -> list[Request]:
        """What is asked of ``contract``, oldest first."""
        found = []
        with contextlib.suppress(OSError):
            for file in sorted(self._folder.glob("*.request")):
                with contextlib.suppress(OSError, msgspec.DecodeError):
                    request = msgspec.json.decode(file.read_bytes(), type=Request)
                    if request.contract == contract and request.what in what:
                        found.append(request)
        return found

    def answer(self, request: Request, state: State, **facts: Any) -> None:
        """Say how far ``request`` is; done or failed, it is not pending any more."""
        self._write(f"{request.id}.answer", Answer(state, facts))
        if state != "running":
            (self._folder / f"{request.id}.request").unlink(missing_ok=True)

    def clean(self) -> None:
        """Throw away answers that nobody fetched."""
        with contextlib.suppress(OSError):
            for file in self._folder.glob("*.answer"):
                with contextlib.suppress(OSError):
                    if time.time() - file.stat().st_mtime > KEEP:
                        file.unlink()

    def _write(self, name: str, content: Request | Answer) -> None:
        """Whole or not at all: whoever reads never sees half of it."""
        made = self._folder / f".{name}"
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(content))
        made.replace(self._folder / name)
