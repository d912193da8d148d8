"""A window, from Python: look-ups, every change as it happens, and how complete it all is.

    from agents.client import Change, Live, Reset, Window

    async with Window("https://window.lixia.gov.cn", token) as window:
        found = await window.lookup("resident.v2", "370102199001011232")
        async for event in window.subscribe("resident.v2"):
            ...

Without an event loop: :mod:`agents.client.blocking`. For the tests of what you build:
:mod:`agents.client.testing`. The guide is docs/window.md.
"""

from agents.client.errors import (
    NotAllowed,
    NotThere,
    NotTrusted,
    PositionLost,
    RecordMisfit,
    Refused,
    Unavailable,
    WindowError,
)
from agents.client.events import Change, Correction, Event, Found, Live, Reset, Watermark
from agents.client.position import FilePosition, Position
from agents.client.window import Window, lookup, subscribe

__all__ = [
    "Change",
    "Correction",
    "Event",
    "FilePosition",
    "Found",
    "Live",
    "NotAllowed",
    "NotThere",
    "NotTrusted",
    "Position",
    "PositionLost",
    "RecordMisfit",
    "Refused",
    "Reset",
    "Unavailable",
    "Watermark",
    "Window",
    "WindowError",
    "lookup",
    "subscribe",
]
