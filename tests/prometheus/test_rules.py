"""Alert rules and the dashboard speak of metrics there are, in words that Prometheus understands."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guide import ROOT
from tests.metrics_page import PAGE, documented

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "levelsync.json"
TESTS = ROOT / "tests" / "prometheus" / "alerts.test.yml"


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own judge of rules, as deploy/setup fetches it."""
    fetched = ROOT / ".cache" / "promtool" / "promtool"
    found = shutil.which("promtool") or (str(fetched) if fetched.exists() else "")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("no promtool: deploy/setup fetches it")
        pytest.skip("no promtool: run deploy/setup")
    return found


def judged(promtool: str, *arguments: str) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in found["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Every PromQL expression of the dashboard, its variables filled in."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    found += [each["expr"] for each in board["annotations"]["list"]]
    filled = [re.sub(r"\$__rate_interval", "1m", each) for each in found]
    return [re.sub(r"\$\w+", ".*", each) for each in filled]


def named(expression: str) -> set[str]:
    """The metrics an expression speaks of."""
    names = re.findall(r"\blevelsync_\w+", expression)
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in names}


def test_the_rules_are_sound(promtool: str) -> None:
    judged(promtool, "check", "rules", str(RULES))
    judged(promtool, "check", "config", str(RULES.with_name("prometheus.yml")))


def test_every_alert_fires_when_it_should_and_not_before(promtool: str) -> None:
    judged(promtool, "test", "rules", str(TESTS))
    tested = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    fired = {
        each["alertname"] for one in tested for each in one["alert_rule_test"] if each["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}
    (quiet,) = [one for one in tested if one["name"] == "all is well"]
    assert {each["alertname"] for each in quiet["alert_rule_test"]} == fired


def test_every_alert_says_what_it_means_and_what_to_do_where_its_link_leads() -> None:
    page = PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (Levelsync\w+)\n\n(.*?)(?=^### |\Z)", page, re.M | re.S))
    assert sections.keys() == {rule["alert"] for rule in rules()}
    for rule in rules():
        notes = rule["annotations"]
        assert notes["runbook"] == f"docs/metrics.md#{rule['alert'].lower()}"
        section = " ".join(sections[rule["alert"]].split())
        assert notes["description"] in section
        assert notes["do"] in section
        assert section.startswith(f"`{rule['labels']['severity']}`")


def test_rules_and_dashboard_speak_of_metrics_there_are() -> None:
    for expression in [*expressions(), *(rule["expr"] for rule in rules())]:
        unknown = named(expression) - documented().keys()
        assert not unknown, expression
        assert named(expression) or "up{" in expression


def test_the_dashboards_expressions_are_promql(promtool: str, tmp_path: Path) -> None:
    recorded = [
        {"record": f"dashboard:{number}", "expr": each} for number, each in enumerate(expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    judged(promtool, "check", "rules", str(file))


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = {
        json.dumps(each["datasource"]) for panel in panels for each in panel.get("targets", [])
    }
    assert sources == {'{"type": "prometheus", "uid": "${source}"}'}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
    for one in panels:
        for other in panels:
            assert one is other or not _overlap(one["gridPos"], other["gridPos"])


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
