"""What a window may answer instead of data, and what its caller should do."""


class WindowError(Exception):
    """The window's client cannot go on; the text says what was expected, what came and what to do."""


class Unavailable(WindowError):
    """The window does not answer, or says it cannot just now; the same request may be made again.

    ``retry_after`` are the seconds it asked for, None when it did not say.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(text)


class NotTrusted(WindowError):
    """The window's certificate is not one we trust."""


class Refused(WindowError):
    """The window says no, and will say so again: ``status``, ``title`` and ``detail`` are its words."""

    def __init__(self, status: int, title: str, detail: str, hint: str = "") -> None:
        self.status, self.title, self.detail = status, title, detail
        said = f"{status} {title}: {detail}" if detail else f"{status} {title}"
        super().__init__(f"{said}. {hint}" if hint else said)


class NotAllowed(Refused):
    """No token, or one that may not (401, 403)."""


class NotThere(Refused):
    """No such contract at this window, or none that this token may see (404).

    With ``complete_as_of``, the contract is there and had no such record up to then.
    """

    complete_as_of: str | None = None


class PositionLost(Refused):
    """The feed no longer reaches back to ``token`` (410): changes were missed, nobody can say which."""

    def __init__(self, status: int, title: str, detail: str, token: str) -> None:
        self.token = token
        super().__init__(
            status, title, detail,
            'Subscribe with on_gap="state": the client then gives a Reset and the whole state; or'
            " forget your position and subscribe again",
        )  # fmt: skip


class RecordMisfit(WindowError):
    """A record does not fill the contract's class."""


def refused(status: int, title: str, detail: str, token: str | None = None) -> Refused:
    """The error for an answer that is no, and stays no."""
    if status == 410 and token is not None:
        return PositionLost(status, title, detail, token)
    if status == 401:
        return NotAllowed(
            status, title, detail,
            "Give token=, or set LEVELSYNC_TOKEN, to a token from the window's node file",
        )  # fmt: skip
    if status == 403:
        return NotAllowed(
            status, title, detail, "Ask the window's operators what this token may do"
        )
    if status == 404:
        return NotThere(status, title, detail)
    return Refused(status, title, detail)
