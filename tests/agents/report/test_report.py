"""The scorecard counts what is known, says what is not, and is the same on every way out."""

import datetime
import html.parser
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.cli import main
from agents.report import words
from agents.report.corrections import corrections
from agents.report.merge import merged
from agents.report.model import Report
from agents.report.page import page
from agents.report.period import Period, WrongPeriod, midnight
from agents.report.table import told
from agents.window.store_schema import _SCHEMA
from contracts.subjects import CONTRACTS
from tests.agents.report.months import FIRST, LAST, node_file, written

LATER = midnight(datetime.date(2026, 11, 20))
PERIOD = ["--from", FIRST.isoformat(), "--to", LAST.isoformat()]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    written(tmp_path / "state")
    return node_file(tmp_path)


def reported(node: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["report", str(node), *PERIOD, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_month_is_counted_by_what_was_known_of_it(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reported(node, capsys)
    lines = {(each["contract"], each["way"]): each for each in found["lines"]}
    assert set(lines) == {
        ("resident.v2", "shown"), ("resident.v2", "received"), ("business_licence.v1", "given"),
    }  # fmt: skip
    shown = lines["resident.v2", "shown"]
    assert shown["seconds"] == 5 * 86_400
    assert shown["seen"] == shown["known"] == 4 * 86_400, "the third day counts neither way"
    assert shown["kept"] == shown["running"] == 4 * 86_400 - 600
    assert shown["promise_kept"] == shown["availability"] == round(1 - 600 / (4 * 86_400), 6)
    assert shown["promised"] == 5.0
    assert shown["age"]["largest"] == 100.0
    assert shown["age"]["p50"] == pytest.approx(0.8, rel=0.2)
    assert (shown["events"], shown["refused"], shown["gaps"]) == (9600, 1, 1)
    days = {each["day"]: each for each in shown["days"]}
    assert list(days) == [f"2026-11-0{n}" for n in range(1, 6)]
    assert days["2026-11-03"]["seen"] == 0
    assert days["2026-11-03"]["p99"] is None
    assert days["2026-11-02"]["kept"] == 86_400 - 600
    assert days["2026-11-01"]["events"] == 2400
    assert found["given"][0]["to"] == "370102001"
    assert any("cannot be read" in each["en"] for each in found["not_known"]), "Kafka is away"
    assert any("no book of corrections" in each["en"] for each in found["not_known"])


def test_a_day_is_one_in_china() -> None:
    period = Period(FIRST, FIRST, LATER)
    assert period.since == datetime.datetime(2026, 10, 31, 16, tzinfo=datetime.UTC).timestamp()
    assert period.until - period.since == 86_400
    now = midnight(LAST) + 3600
    begun = Period(FIRST, LAST + datetime.timedelta(days=3), now)
    assert [day.day for day in begun.days] == [1, 2, 3, 4, 5]
    assert begun.seconds(LAST) == 3600


@pytest.mark.parametrize(
    "days", [("2026-13-01", ""), ("2026-11-05", "2026-11-01"), ("2030-01-01", "2030-01-02"),
             ("2020-01-01", "2026-11-01"), ("nonsense", "")],
)  # fmt: skip
def test_days_that_cannot_be_are_refused_with_what_was_expected(days: tuple[str, str]) -> None:
    with pytest.raises(WrongPeriod, match="Expected"):
        Period.parsed(*days, LATER)


def test_without_days_it_is_the_last_thirty() -> None:
    period = Period.parsed("", "", LATER)
    assert len(period.days) == 29 + (period.until > midnight(period.last))


def test_without_a_history_there_is_a_report_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reported(node_file(tmp_path), capsys)
    assert found["lines"] == []
    assert any("no history here" in each["en"] for each in found["not_known"])
    assert not (tmp_path / "state").exists(), "a report changes nothing"


def test_a_wrong_call_is_a_2(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report"]) == 2
    assert main(["report", str(node), "--from", "yesterday"]) == 2
    assert main(["report", "--merge", str(node)]) == 2
    assert "as --json writes it" in capsys.readouterr().err
    assert main(["report", str(node), *PERIOD, "--html", str(tmp_path / "no" / "page.html")]) == 1


def test_the_terminal_says_it_in_both_languages(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(node), *PERIOD, "--language", "en"]) == 0
    english = capsys.readouterr().out
    assert "Promise kept" in english
    assert "99.82 %" in english
    assert main(["report", str(node), *PERIOD, "--language", "zh"]) == 0
    assert "承诺兑现" in capsys.readouterr().out


# ---- the page ------------------------------------------------------------------------------------


class Seen(html.parser.HTMLParser):
    """Tags that are closed in their order, what is loaded, and the text."""

    _VOID = {"meta", "input", "line", "rect", "circle", "polyline"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.loads += [
            f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "data")
        ]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td" and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_page_is_whole_loads_nothing_and_says_the_same_as_the_json(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reported(node, capsys)
    out = tmp_path / "page.html"
    assert main(["report", str(node), *PERIOD, "--html", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    seen = Seen()
    seen.feed(text)
    assert seen.open == []
    assert seen.loads == []
    assert "script" not in seen.names
    assert not re.search(r"url\((?!#)|@import|https?://", text)
    cells = [cell for row in seen.rows for cell in row]
    for line in found["lines"]:
        for figure in (
            words.share(line["promise_kept"]),
            words.share(line["availability"]),
            words.duration(line["age"]["p99"]),
            words.duration(line["age"]["largest"]),
            words.number(line["events"]),
            words.little(line["refused_share"]),
            words.share(line["seen"] / line["seconds"]),
        ):
            assert figure in cells, figure
    assert "历下区&lt;b&gt;" in text
    assert "counter &lt;services&gt;" in text
    assert "<b>" not in text.replace("<b><span", "")


def test_each_language_can_be_the_one_shown(node: Path, tmp_path: Path) -> None:
    for name in ("zh", "en", "both"):
        out = tmp_path / "page.html"
        assert main(["report", str(node), *PERIOD, "--html", str(out), "--language", name]) == 0
        text = out.read_text(encoding="utf-8")
        assert f'id="language-{name}" checked' in text
        assert "承诺兑现" in text
        assert "Promise kept" in text


def test_figures_are_never_prettier_than_they_are() -> None:
    assert words.share(0.999999) == "99.99 %"
    assert words.share(1.0) == "100 %"
    assert words.little(1e-9) == "0.01 %"
    assert words.little(0.0) == "0 %"
    assert words.share(None) == words.duration(None) == "–"
    assert [words.duration(each) for each in (0.84, 5.0, 119.0, 150.0, 7200.0, 260_000.0)] == [
        "0.8 s", "5 s", "119 s", "2.5 min", "2.0 h", "3.0 d",
    ]  # fmt: skip


# ---- corrections ---------------------------------------------------------------------------------


def book(state: Path, filed: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    """A store of corrections as the agent's own has it."""
    state.mkdir(parents=True, exist_ok=True)
    base = sqlite3.connect(state / "corrections.sqlite")
    base.executescript(_SCHEMA)
    for number, (contract, records) in enumerate(
        (("correction.v1", filed), ("correction_answer.v1", answers)), 1
    ):
        base.execute("INSERT INTO content VALUES (?, ?, 0, '[]')", (number, contract))
        base.execute(f"CREATE TABLE record_{number} (key TEXT, value BLOB)")
        base.executemany(
            f"INSERT INTO record_{number} VALUES (?, ?)",
            [(each["id"], json.dumps(each).encode()) for each in records],
        )
    base.commit()
    base.close()


def test_corrections_say_how_many_how_long_and_what_is_overdue(tmp_path: Path) -> None:
    def filed(name: str, day: int) -> dict[str, Any]:
        at = f"2026-11-{day:02}T01:00:00Z"
        return {"id": name, "contract": "resident.v2", "filed_at": at, "filed_by": "王某"}

    def answered(name: str, state: str, due: int, day: int = 0) -> dict[str, Any]:
        at = f"2026-11-{day:02}T03:00:00Z" if day else None
        return {"id": name, "state": state, "due": f"2026-11-{due:02}", "answered_at": at}

    book(
        tmp_path,
        [filed("a", 1), filed("b", 2), filed("c", 3), filed("d", 4), filed("e", 5), filed("z", 15)],
        [answered("a", "accepted", 6, 1), answered("b", "rejected", 3, 4), answered("c", "received", 8),
         answered("d", "received", 30)],
    )  # fmt: skip
    (found,) = corrections(tmp_path, Period(FIRST, datetime.date(2026, 11, 10), LATER), CONTRACTS)
    assert (found.contract, found.filed, found.open) == ("resident.v2", 5, 3)
    assert (found.accepted, found.rejected, found.overdue) == (1, 1, 1)
    assert (found.in_time, found.with_due) == (1, 2)
    assert (found.median_hours, found.longest_hours) == (26.0, 50.0)


# ---- several nodes --------------------------------------------------------------------------------


def test_reports_of_several_nodes_make_one_and_nothing_counts_twice(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below = msgspec.convert(reported(node, capsys), Report)
    use = {
        "contract": "resident.v2", "title": {"zh": "人", "en": "R"}, "who": "civil-affairs", "kind": "system",
        "purpose": "counter", "nodes": 1, "look_ups": 5, "pages": 0, "follows": 1,
    }  # fmt: skip
    one = msgspec.convert({**msgspec.to_builtins(below), "uses": [use]}, Report)
    other = msgspec.structs.replace(one, node="370103", name="市中区", lines=tuple(
        msgspec.structs.replace(line, node="370103") for line in one.lines))  # fmt: skip
    folder = tmp_path / "reports"
    folder.mkdir()
    for each in (one, other, one):
        (folder / f"{each.node}.json").write_bytes(msgspec.json.encode(each))
    assert main(["report", "--merge", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted({line["node"] for line in found["lines"]}) == ["370102", "370103"]
    assert len(found["lines"]) == 2 * len(one.lines)
    assert found["uses"][0]["look_ups"] == 10
    above = msgspec.structs.replace(
        one,
        node="3701",
        lines=(),
        uses=(msgspec.structs.replace(one.uses[0], nodes=2, look_ups=10),),
    )
    assert merged([one, other, above]).uses[0].look_ups == 10, "the city's journal has theirs"
    assert main(["report", "--merge", str(folder), "--html", str(tmp_path / "all.html")]) == 0
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    Seen().feed(text)
    assert "370103" in text
    assert "370103" in told(merged([one, other]), "zh")


def test_what_others_wrote_moves_no_cursor(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = reported(node, capsys)
    use = {
        "contract": "resident.v2", "title": {"zh": "人", "en": "R"}, "who": "\x1b[2J\x1b[Hall is well",
        "kind": "system", "purpose": "a\nb", "nodes": 1, "look_ups": 5, "pages": 0, "follows": 1,
    }  # fmt: skip
    report = msgspec.convert({**found, "uses": [use]}, Report)
    assert "\x1b" not in told(report, "en")
    assert "a\nb" not in told(report, "en")


def test_reports_of_different_periods_are_not_put_together(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = msgspec.convert(reported(node, capsys), Report)
    other = msgspec.structs.replace(one, to="2026-11-06")
    files = []
    for number, each in enumerate((one, other)):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(msgspec.json.encode(each))
    assert main(["report", "--merge", *map(str, files)]) == 2
    assert "of one period" in capsys.readouterr().err


def test_the_same_report_makes_the_same_page(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = msgspec.convert(reported(node, capsys), Report)
    assert page(report, "zh") == page(report, "zh")
