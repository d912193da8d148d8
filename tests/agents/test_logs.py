"""Every line an agent logs is documented, in one vocabulary, and speaks of nobody."""

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from agents.base import log as log_module
from tests.guide import ROOT

PAGE = ROOT / "docs" / "logs.md"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
#: On every line.
ALWAYS = {"event", "level", "timestamp", "node", "exception"}
#: Fields that are facts of an event, given by ``**``.
FACTS = {
    "freshness promise broken": {"promised_s", "age_s"},
    "freshness promise kept again": {"promised_s", "age_s", "lasted_s"},
    "backfill begins": {"contract", "table"},
    "backfill is done": {"contract", "table"},
    "backfill failed": {"contract", "table"},
    "dead letters replayed": {"replayed", "superseded", "refused", "unreadable", "dropped"},
    "dead letters dropped": {"replayed", "superseded", "refused", "unreadable", "dropped"},
    "audit": set(),
}


def logged() -> dict[str, tuple[set[str], set[str]]]:
    """By event: the levels at which it is logged, and its fields."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in sorted((ROOT / "agents").rglob("*.py")):
        if path.is_relative_to(ROOT / "agents" / "client"):
            continue  # what window systems import logs as they wish
        for event, level, fields in _lines(path):
            levels, names = found.setdefault(event, (set(), set()))
            levels.add("error" if level == "exception" else level)
            names |= fields
    for event, facts in FACTS.items():
        found[event][1].update(facts)
    return found


def _lines(path: Path) -> Iterator[tuple[str, str, set[str]]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        bound = {
            word.arg for call in calls if _named(call) == "log.bind"
            for word in call.keywords if word.arg
        }  # fmt: skip
        for call in calls:
            owner, _, level = _named(call).rpartition(".")
            if level not in LEVELS or owner not in ("log", "bound"):
                continue
            (event,) = call.args
            assert isinstance(event, ast.Constant), f"{path}:{call.lineno}: say the event itself"
            fields = {word.arg for word in call.keywords if word.arg and word.arg != "exc_info"}
            if any(word.arg is None for word in call.keywords):
                assert event.value in FACTS, f"{path}:{call.lineno}: which facts?"
            yield str(event.value), level, fields | (bound if owner == "bound" else set())


def _named(call: ast.Call) -> str:
    return ast.unparse(call.func)


def documented() -> dict[str, tuple[set[str], set[str]]]:
    found = {}
    rows = re.findall(
        r"^\| `([^`]+)` \| ([a-z, ]+) \| ([^|]*) \| .+ \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    for event, levels, fields in rows:
        assert event not in found, f"{event} twice"
        found[event] = (set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields)))
    return found


def vocabulary() -> set[str]:
    text = PAGE.read_text("utf-8").partition("## Fields")[2].partition("\n## ")[0]
    return {
        name
        for cell in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }


def test_every_line_is_documented_with_its_levels_and_fields() -> None:
    assert documented() == logged()


def test_there_is_one_vocabulary_of_fields_and_no_word_too_many() -> None:
    used = {name for _, fields in logged().values() for name in fields}
    assert used | ALWAYS == vocabulary()


def test_events_are_told_as_the_others_are() -> None:
    for event in logged():
        assert event == event.strip()
        assert not event.endswith(".")
        assert len(event) <= 80


CITIZEN = "370102199003070012"


@pytest.mark.parametrize(
    "text", [CITIZEN, f"key={CITIZEN},", f"invalid input: '{CITIZEN[:-1]}X'", f"人{CITIZEN}在"]
)
def test_a_citizens_number_is_never_written_down(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even where somebody else's library quotes it in an error. Red without the processor: tried."""
    written = io.StringIO()
    monkeypatch.setattr(log_module.sys, "stderr", written)  # type: ignore[attr-defined]
    before = structlog.get_config()
    try:
        log_module.set_up("370102")
        log = structlog.get_logger()
        try:
            raise ValueError(text)
        except ValueError as error:
            log.error("lost", error=str(error), topics=[text], exc_info=error)
    finally:
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
    line = json.loads(written.getvalue())
    assert CITIZEN[6:14] not in written.getvalue()
    assert "(a citizen's number)" in line["error"]
    assert line["node"] == "370102"
    assert "Traceback" in line["exception"]


def test_positions_times_and_codes_are_left_as_they_are() -> None:
    for text in ("offset=370102199003", "9912331", "1700000000000000", "91370102MA3N5X6Y7Z"):
        assert log_module.without_people(text) == text
