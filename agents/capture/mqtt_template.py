"""A topic template, ``devices/{scope}/gate/{device_id}``: what to subscribe to, and what a topic says."""

import re

from agents.base.table import Wrong

_PART = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class Template:
    """One topic per key: levels of a topic that are fixed, and levels that name a field.

    A level ``{name}`` stands for a field's value, ``{_}`` for one that does not matter. Raises
    :class:`agents.base.config.Wrong`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        levels = text.split("/")
        if text.startswith("$"):
            raise Wrong("a topic of the devices' own", f"`{text}`", "topic")
        self._names: list[tuple[int, str]] = []
        self._fixed: list[tuple[int, str]] = []
        for index, level in enumerate(levels):
            if found := _PART.fullmatch(level):
                if found[1] != "_":
                    self._names.append((index, found[1]))
            elif not level or re.search(r"[+#{}\x00]", level):
                raise Wrong(
                    "levels that are a word, `{field}` or `{_}`, between slashes",
                    f"`{level}` in `{text}`",
                    "topic",
                )
            else:
                self._fixed.append((index, level))
        named = [name for _, name in self._names]
        if len(set(named)) != len(named):
            raise Wrong("each field once", f"`{text}`", "topic")
        self._levels = len(levels)

    @property
    def names(self) -> list[str]:
        """The fields a topic tells, in its order."""
        return [name for _, name in self._names]

    @property
    def filter(self) -> str:
        """What to subscribe to: ``devices/+/gate/+``."""
        fixed = dict(self._fixed)
        return "/".join(fixed.get(index, "+") for index in range(self._levels))

    def read(self, topic: str) -> dict[str, str] | None:
        """The fields that ``topic`` tells, None when it is not of this template."""
        levels = topic.split("/")
        if len(levels) != self._levels or any(levels[at] != word for at, word in self._fixed):
            return None
        return {name: levels[at] for at, name in self._names}
