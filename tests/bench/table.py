"""An answer as a table for people."""

from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {
    "per_s": "records/s",
    "per_cpu_s": "records/CPU-s",
    "us_per_record": "µs/record",
    "rss_mb": "RSS MB",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}


def show(answer: dict[str, Any]) -> None:
    """Print ``answer``: a line for each side of each case, and how many times one is the other."""
    console = Console()
    if not console.is_terminal:
        console.width = 120
    table = Table("case", "copy", *_COLUMNS.values(), "equal", title=f"bench {answer['bench']}")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for case in answer["cases"]:
        ours, peer = case["levelsync"], case.get("peer")
        for name, side in (("levelsync", ours), *([(peer["name"], peer)] if peer else [])):
            table.add_row(
                case["case"] if side is ours else "",
                name,
                *(_figure(_value(side, key)) for key in _COLUMNS),
                "yes" if side["equal"] else "NO",
            )
        if peer:
            times = (_times(_value(ours, key), _value(peer, key)) for key in _COLUMNS)
            table.add_row("", "times", *times, "")
        table.add_section()
    console.print(table)
    for case in answer["cases"]:
        if note := case.get("note"):
            console.print(f"{case['case']}: {note}")
    machine = answer["machine"]
    console.print(
        f"{machine['cores']} cores, {machine['cpu']}, {machine['memory_mb']} MB, "
        f"load before {machine['load']}; Python {machine['python']}; {machine['java']}"
    )


def _value(side: dict[str, Any], key: str) -> float | None:
    """Some benches count rows, or events."""
    if key not in ("per_s", "per_cpu_s"):
        found: float | None = side.get(key)
        return found
    names = (f"{what}_{key}" for what in ("records", "rows", "events", "messages", "deliveries"))
    return next((side[name] for name in names if name in side), None)


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}"


def _times(ours: float | None, peers: float | None) -> str:
    return f"×{ours / peers:.2f}" if ours and peers else "–"
