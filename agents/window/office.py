"""What the window's answers are made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agents.base.status import Status
from agents.base.window import Window
from agents.window.access import Journal, Unwritten
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.rights import Visitor
from agents.window.store import Store

if TYPE_CHECKING:
    from agents.window.corrections import Desk


@dataclass
class Office:
    """One window: the office called ``name`` at ``node``, and everything it answers from.

    ``follows`` are the contracts by name; those shown have topics here. ``table`` is what the node file
    says of it at this moment, ``secret`` what ``hash`` masks are keyed by. ``sessions`` is the file that
    keeps who is logged in over a restart; in memory alone without one.
    """

    name: str
    node: str
    store: Store
    feed: Feed
    follows: Mapping[str, Follow]
    status: Status
    table: Window = field(default_factory=Window)
    secret: str = ""
    journal: Journal = field(default_factory=Unwritten)
    sessions: Path | None = None
    #: May this visitor, met before, still see what they saw? Not once their token is taken out, their
    #: session has ended or their rights are others; set by the gate, asked at each heartbeat of a feed.
    still: Callable[[Visitor], bool] = lambda _: True
    #: Where corrections are filed; None where none are taken in.
    corrections: "Desk | None" = None
