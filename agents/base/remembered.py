"""The node file that an agent runs, kept in its state folder without its secrets.

In the place of a secret stands a hash of it, with a salt of the file's own and slow to make: whether it
changed can be told, and nothing else of it.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from agents.base.config import parsed
from agents.base.errors import ConfigError
from agents.base.secret import filled
from agents.base.table import Wrong

FILE = "running.json"
#: Settings that are secret also where they are written out.
_SECRET = {"token", "secret", "password", "dsn"}


def remember(path: Path, state: Path) -> None:
    """Keep the node file at ``path`` in ``state``. Raises OSError, ConfigError."""
    salt = secrets.token_hex(16)
    kept = {"salt": salt, "file": sealed(parsed(path), salt, path)}
    state.mkdir(parents=True, exist_ok=True)
    beside = state / f"{FILE}.new"
    beside.unlink(missing_ok=True)
    # The umask of whoever started us must not let others read it.
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(kept, out, ensure_ascii=False)
    beside.replace(state / FILE)


def remembered(state: Path) -> tuple[str, dict[str, Any]] | None:
    """The salt and the sealed tables of the file that is run, or was last; None where none is kept."""
    try:
        kept = json.loads((state / FILE).read_text(encoding="utf-8"))
        return kept["salt"], kept["file"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sealed(raw: Any, salt: str, path: Path, name: str = "") -> Any:
    """``raw``, the tables of the file at ``path``, as plain JSON without secrets. Raises ConfigError."""
    if isinstance(raw, dict):
        return {key: sealed(value, salt, path, key) for key, value in raw.items()}
    if isinstance(raw, list):
        return [sealed(value, salt, path, name) for value in raw]
    if isinstance(raw, str):
        try:
            whole = str(filled(raw, path))
        except Wrong as wrong:
            raise ConfigError(f"{path}: {wrong}") from None
        if whole != raw or name in _SECRET:
            shown = raw if whole != raw else "…"
            made = hashlib.scrypt(whole.encode(), salt=salt.encode(), n=2**12, r=8, p=1, dklen=4)
            return f"{shown}#{made.hex()}"
    return raw if isinstance(raw, (str, int, float, bool)) else raw.isoformat()
