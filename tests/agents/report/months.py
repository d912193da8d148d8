"""A month as an agent would have written it down."""

import datetime
from pathlib import Path

from agents.base.figures import Figures
from agents.base.history import FILE, History, Series
from agents.report.period import midnight

FIRST, LAST = datetime.date(2026, 11, 1), datetime.date(2026, 11, 5)
WINDOW = Series("window", "resident.v2", "resident.v2.from.3701", "window")
LINK = Series("link", "resident.v2", "resident.v2.to.370102", "resident.v2.from.3701")
UP = Series("link", "business_licence.v1", "business_licence.v1", "business_licence.v1.from.370102")

NODE = """
[node]
id = "370102"
name = "历下区<b>"
level = "county"

[agent]
state = "state"

[kafka]
bootstrap = "{bootstrap}"

[parent]
id = "3701"
bootstrap = "127.0.0.1:1"
pull = ["resident.v2"]

[[grant]]
contract = "resident.v2"
to = "370102001"
purpose = "counter <services>"

[window]
listen = "127.0.0.1:8739"
"""


def node_file(folder: Path, bootstrap: str = "127.0.0.1:1") -> Path:
    """A county's."""
    path = folder / "370102.toml"
    path.write_text(NODE.format(bootstrap=bootstrap), encoding="utf-8")
    return path


def hour(ages: list[tuple[float, int]], *, events: int = 0, refused: int = 0, gaps: int = 0,
         down: int = 0) -> Figures:  # fmt: skip
    """One with these ages, each for so many seconds."""
    made = Figures(events=events, refused=refused, gaps=gaps)
    for age, seconds in ages:
        made.look(True, age, 5.0, seconds)
    made.look(False, 100.0, 5.0, down)
    return made


def written(state: Path) -> None:
    """Five days: the second has an hour that was late, of the third nothing is known."""
    history = History(state / FILE)
    for number in range(5):
        if number == 2:
            continue
        day = FIRST + datetime.timedelta(days=number)
        for at in range(24):
            late = number == 1 and at == 10
            figures = hour([(0.8, 3000)], events=100, refused=1, gaps=1, down=600) if late else hour(
                [(0.8, 3600)], events=100
            )  # fmt: skip
            begin = int(midnight(day)) + at * 3600
            history.write(
                begin, [(WINDOW, figures), (LINK, hour([(0.5, 3600)])), (UP, hour([(1.0, 3600)]))]
            )
    history.close()
