"""What stands as ``${…}`` in a node file: secrets, which are kept elsewhere and never print.

``${NAME}`` is an environment variable, ``${file:/path}`` a file, and ``${credential:NAME}`` a file that
the service manager hands over (systemd's ``LoadCredential=``); without one, a file in the folder
``370102.credentials`` beside ``370102.toml``.
"""

import os
import re
from pathlib import Path
from typing import Any

from agents.base.table import Wrong

#: What each ``${…}`` of the last node file held, by what to print in its place; longest first.
_known: dict[str, str] = {}
_file = Path()
#: Shorter ones are too common in other words to be hidden.
_LEAST = 4
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: Characters of what stands for a secret that is not at hand: tokens must be long.
_LONG = 32
#: What systemd puts before the name of a file whose whole folder it was given under this name.
_FOLDER = "levelsync_"


def filled(value: Any, file: Path, *, stand_in: bool = False) -> Any:
    """``value``, read from the node file ``file``, with every ``${…}`` in its place replaced; with
    ``stand_in`` something stands in for those that are not at hand.

    Raises :class:`Wrong`, which names what is referred to and never what it holds. From here on
    :func:`hidden` knows what was put there.
    """

    def fill(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner, f"{path}.{key}") for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        if isinstance(value, str):
            return _REFERENCE.sub(lambda match: put(match[1], path.removeprefix("$.")), value)
        return value

    def put(name: str, path: str) -> str:
        try:
            found = _secret(name, file, path)
        except Wrong:
            if stand_in:
                return f"password=not-at-hand-{name}".ljust(_LONG, ".")
            raise
        _remember(found, f"${{{name}}}", file)
        return found

    return fill(value, "$")


def hidden(text: str) -> str:
    """``text`` as it may be printed: with the reference in the place of what a ``${…}`` held."""
    for value, reference in _known.items():
        if value in text:
            text = text.replace(value, reference)
    return text


def _remember(value: str, reference: str, file: Path) -> None:
    global _file  # noqa: PLW0603
    if file != _file:  # the same file read again still has what it held before somewhere
        _known.clear()
        _file = file
    if len(value) >= _LEAST and value not in _known:
        _known[value] = reference
        longest = sorted(_known.items(), key=lambda each: -len(each[0]))
        _known.clear()
        _known.update(longest)


def _secret(name: str, file: Path, path: str) -> str:
    kind, colon, rest = name.partition(":")
    if kind == "file" and colon:
        return _read(name, Path(rest), path)
    if kind == "credential" and colon:
        if not _NAME.fullmatch(rest):
            raise Wrong("a credential's name, such as `${credential:licence}`", f"`{rest}`", path)
        return _read(name, _credential(rest, file), path)
    try:
        return os.environ[name]
    except KeyError:
        raise Wrong(f"the environment variable `{name}`", "none", path) from None


def _credential(name: str, file: Path) -> Path:
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if not given:
        return file.parent / f"{file.stem}.credentials" / name
    alone = Path(given) / name
    return alone if alone.exists() else Path(given) / f"{_FOLDER}{name}"


def _read(name: str, file: Path, path: str) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as wrong:
        raise Wrong(f"a readable file for `${{{name}}}`", str(wrong), path) from None
    except UnicodeDecodeError:
        # What Python says quotes the bytes.
        raise Wrong(f"a file in UTF-8 for `${{{name}}}`", "another encoding", path) from None
