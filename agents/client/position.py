"""Where a subscriber has got to, kept over restarts."""

import os
from pathlib import Path
from typing import Protocol


class Position(Protocol):
    """Keeps the token of the last change that was handled."""

    def load(self) -> str | None:
        """The token saved last; None when there is none yet."""
        ...

    def save(self, token: str) -> None:
        """Keep ``token``. Called once what came up to it was handled, about once a second at most."""
        ...


class FilePosition:
    """A position in a file of its own, replaced whole and on disk when ``save`` returns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> str | None:
        """See :class:`Position`."""
        try:
            return self._path.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def save(self, token: str) -> None:
        """See :class:`Position`. Raises OSError."""
        new = self._path.with_name(self._path.name + ".new")
        with new.open("w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
