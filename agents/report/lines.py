"""The lines of a scorecard, from the agent's history."""

import datetime
from collections.abc import Iterable, Mapping

from agents.base.figures import Figures
from agents.base.history import Row, Series
from agents.kafka.topics import parse_received
from agents.report.model import Age, Day, Line, Way
from agents.report.period import Period, day_of
from contracts.model import Contract
from contracts.subjects import EVERYWHERE
from contracts.text import Text

_ORDER: tuple[Way, ...] = ("collected", "received", "shown", "delivered", "given")
UNKNOWN_OWNER = Text("未知", "not known")


def lines(
    rows: Iterable[Row], period: Period, node: str, contracts: Mapping[str, Contract]
) -> list[Line]:
    """One for each hop that was seen in ``period``: by owner and contract, in the order of the data."""
    days: dict[Series, dict[datetime.date, Figures]] = {}
    for row in rows:
        of = days.setdefault(row.series, {})
        of.setdefault(day_of(row.at), Figures()).add(row.figures)
    found = [_line(series, of, period, node, contracts) for series, of in days.items()]
    return sorted(found, key=_place)


def _place(line: Line) -> tuple[object, ...]:
    own = line.contract in EVERYWHERE
    return own, line.owner.en, line.contract, _ORDER.index(line.way), line.to


def way_of(series: Series, node: str) -> Way | None:
    """How a hop of ``node`` serves; None for one that moves nothing."""
    if series.hop == "capture":
        return "collected"
    if series.hop == "window":
        return "shown"
    if series.hop == "out":
        return "delivered"
    if series.hop == "link":
        received = parse_received(series.to)
        return "given" if received and received[1] == node else "received"
    return "given"


def title_of(name: str, contracts: Mapping[str, Contract]) -> Text:
    """The contract's, or its name where it is not installed here."""
    found = contracts.get(name)
    return found.title if found else Text(name, name)


def _line(
    series: Series,
    of: Mapping[datetime.date, Figures],
    period: Period,
    node: str,
    contracts: Mapping[str, Contract],
) -> Line:
    whole = Figures()
    for day in sorted(of):
        whole.add(of[day])
    contract = contracts.get(series.contract)
    days = tuple(_day(day, of.get(day, Figures()), period.seconds(day)) for day in period.days)
    seconds = sum(each.seconds for each in days)
    return Line(
        node=node,
        contract=series.contract,
        way=way_of(series, node) or "given",
        from_=series.from_,
        to=series.to,
        title=title_of(series.contract, contracts),
        owner=contract.owner if contract else UNKNOWN_OWNER,
        promised=whole.promise or (contract.freshness if contract else 0.0),
        seconds=seconds,
        seen=min(whole.seen, seconds),
        running=min(whole.running, seconds),
        known=whole.known,
        kept=whole.kept,
        availability=_share(whole.availability),
        promise_kept=_share(whole.promise_kept),
        age=Age(
            p50=_seconds(whole.age(0.5)),
            p99=_seconds(whole.age(0.99)),
            largest=_seconds(whole.age_max if whole.known else None),
            mean=_seconds(whole.mean_age),
        ),
        latency_p50=_seconds(whole.p50),
        latency_p99=_seconds(whole.p99 if whole.measured else None),
        events=whole.events,
        refused=whole.refused,
        refused_share=_share(whole.refused_share),
        gaps=whole.gaps,
        breaches=whole.breaches,
        days=days,
    )


def _day(day: datetime.date, figures: Figures, seconds: int) -> Day:
    return Day(
        day=day.isoformat(),
        seconds=seconds,
        seen=min(figures.seen, seconds),
        running=min(figures.running, seconds),
        known=figures.known,
        kept=figures.kept,
        p99=_seconds(figures.age(0.99)),
        largest=_seconds(figures.age_max if figures.known else None),
        events=figures.events,
        refused=figures.refused,
        gaps=figures.gaps,
    )


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
