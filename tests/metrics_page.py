"""What docs/metrics.md says there is."""

import re

from tests.guide import ROOT

PAGE = ROOT / "docs" / "metrics.md"
OF_HOP = frozenset({"hop", "contract", "from", "to"})


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """By metric: its kind, and the labels it has beside ``node``."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for row in re.findall(r"^\| (`levelsync_.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE):
        name, kind, *more = re.split(r" *\| *", row)
        labels = OF_HOP
        if len(more) == 2 and more[0] != "as of a hop":
            labels = frozenset(re.findall(r"`(\w+)`", more[0]))
        assert name.strip("`") not in found, f"{name} twice"
        found[name.strip("`")] = (kind, labels)
    return found
