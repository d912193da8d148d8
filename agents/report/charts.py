"""Charts of single days as SVG: read on a screen, on paper, and without colour. No script, no style but
the page's classes."""

import math
from collections.abc import Callable, Sequence
from html import escape

from agents.report import words as w
from agents.report.model import Day
from contracts.text import Text

#: Of a drawing, and what is left at its edges.
_WIDTH, _LEFT, _RIGHT = 720, 64, 10
_TICKS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 86_400, 7 * 86_400, 30 * 86_400,
    365 * 86_400,
)  # fmt: skip


def ages(days: Sequence[Day], promised: float) -> str:
    """The 99th percentile of each day against the promise, on a scale of factors."""
    top, height, bottom = 14, 112, 24
    values = [day.p99 for day in days if day.p99 is not None]
    low = min([*values, promised or 1.0, 1.0]) / 1.6
    high = max([*values, promised or 1.0]) * 1.6

    def y(value: float) -> float:
        span = math.log(high / low)
        return top + height - height * math.log(max(value, low) / low) / span

    x = _across(len(days))
    parts = [_unknown(days, top, height)]
    last = -1e9
    for tick in _TICKS:
        at = y(tick)
        if low <= tick <= high and abs(at - last) > 14:
            last = at
            parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, "grid"))
            parts.append(_text(_LEFT - 6, at + 3.5, w.duration(tick), "end"))
    if promised:
        at = y(promised)
        parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, "promise"))
    run: list[str] = []
    for number, day in enumerate([*days, None]):
        if day is not None and day.p99 is not None:
            run.append(f"{x(number):.1f},{y(day.p99):.1f}")
            continue
        if len(run) > 1:
            parts.append(f'<polyline class="age" points="{" ".join(run)}"/>')
        run = []
    for number, day in enumerate(days):
        if day.p99 is None:
            continue
        title = f"<title>{day.day}  {w.duration(day.p99)}</title>"
        cx, cy = x(number), y(day.p99)
        if promised and day.p99 > promised:
            parts.append(
                f'<rect class="over" x="{cx - 4:.1f}" y="{cy - 4:.1f}" width="8" height="8">'
                f"{title}</rect>"
            )
        else:
            parts.append(
                f'<circle class="dot" cx="{cx:.1f}" cy="{cy:.1f}" r="2.6">{title}</circle>'
            )
    if promised:
        at = y(promised)
        parts.append(_text(_WIDTH - _RIGHT - 3, at - 5, w.duration(promised), "end", "promised"))
    parts.append(_dates(days, top + height + 16))
    return _svg(w.DAILY_P99, top + height + bottom, parts)


def runs(days: Sequence[Day]) -> str:
    """Of each day how much it ran, did not run, and what is not known."""
    top, height, bottom = 4, 34, 22
    wide = _step(len(days))
    parts = []
    for number, day in enumerate(days):
        if not day.seconds:
            continue
        left = _LEFT + number * wide + wide * 0.12
        run, seen = day.running / day.seconds, day.seen / day.seconds
        bad = seen - run
        # What was not running is shown also where it was a moment.
        bad_px = max(2.5, bad * height) if bad > 0 else 0.0
        unknown_px = max(2.5, (1 - seen) * height) if seen < 0.999 else 0.0
        good_px = max(0.0, height - bad_px - unknown_px)
        at = float(top)
        label = (
            f"<title>{day.day}  {w.RUNNING.zh} {w.RUNNING.en} {w.share(run)},"
            f" {w.NOT_RUNNING.zh} {w.NOT_RUNNING.en} {w.little(bad)},"
            f" {w.NO_RECORD.zh} {w.NO_RECORD.en} {w.little(1 - seen)}</title>"
        )
        for size, name in ((unknown_px, "unknown"), (bad_px, "down"), (good_px, "up")):
            if size:
                parts.append(
                    f'<rect class="{name}" x="{left:.1f}" y="{at:.1f}" width="{wide * 0.76:.1f}"'
                    f' height="{size:.1f}">{label}</rect>'
                )
            at += size
    parts.append(_dates(days, top + height + 15))
    return _svg(w.DAILY_RUN, top + height + bottom, parts)


def events(days: Sequence[Day]) -> str:
    """How many events each day had."""
    top, height, bottom = 8, 40, 22
    most = max((day.events for day in days), default=0)
    scale = _round_up(most)
    wide = _step(len(days))
    parts = [_unknown(days, top, height)]
    for share in (0.5, 1.0):
        at = top + height - height * share
        parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, "grid"))
        parts.append(_text(_LEFT - 6, at + 3.5, w.number(scale * share), "end"))
    for number, day in enumerate(days):
        if day.events:
            size = max(1.0, height * day.events / scale)
            parts.append(
                f'<rect class="events" x="{_LEFT + number * wide + wide * 0.12:.1f}"'
                f' y="{top + height - size:.1f}" width="{wide * 0.76:.1f}" height="{size:.1f}">'
                f"<title>{day.day}  {w.number(day.events)}</title></rect>"
            )
    parts.append(_line(_LEFT, top + height, _WIDTH - _RIGHT, top + height, "axis"))
    parts.append(_dates(days, top + height + 15))
    return _svg(w.DAILY_EVENTS, top + height + bottom, parts)


def _round_up(most: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100…"""
    size = 1
    while True:
        for step in (2, 4, 10):
            if most <= step * size:
                return step * size
        size *= 10


def _step(count: int) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / max(1, count)


def _across(count: int) -> Callable[[int], float]:
    wide = _step(count)
    return lambda number: _LEFT + (number + 0.5) * wide


def _unknown(days: Sequence[Day], top: float, height: float) -> str:
    """A hatched ground behind days of which nothing is known."""
    wide = _step(len(days))
    return "".join(
        f'<rect class="unknown" x="{_LEFT + number * wide:.1f}" y="{top}" width="{wide:.1f}"'
        f' height="{height}"/>'
        for number, day in enumerate(days)
        if not day.seen
    )


def _dates(days: Sequence[Day], at: float) -> str:
    """Every day where there is room, otherwise some."""
    every = next(n for n in (1, 2, 5, 10, 15, 30, 61, 400) if len(days) / n <= 16)
    x = _across(len(days))
    return "".join(
        _text(x(number), at, day.day[5:], "middle")
        for number, day in enumerate(days)
        if number % every == 0
    )


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, name: str = "tick") -> str:
    return (
        f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(label: Text, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{escape(label.zh)} {escape(label.en)}">{"".join(parts)}</svg>'
    )
