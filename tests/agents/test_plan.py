"""What a plan says without any server: settings by their path, and what a leaf and a window would do."""

from pathlib import Path
from typing import Any

import pytest

from agents.base.config import parsed
from agents.base.remembered import sealed
from agents.cli import main
from agents.plan import Plan, plan
from agents.sources import load

LEAF = """
[node]
id = "370102001"
name = "解放路街道"
level = "township"

[parent]
id = "370102"
bootstrap = "127.0.0.1:1"
pull = [{pull}]
push = [{push}]

[window]
listen = "127.0.0.1:{window}"

[[window.system]]
name = "kiosk"
token = "{token}"
purpose = "windows"
contracts = ["resident.v2"]
{more}
"""
VISITS = """
[intake]
[[intake.sender]]
name = "hall"
token = "a-token-of-the-hall-1"
contracts = ["visit.v1"]

[[source]]
kind = "http"
contract = "visit.v1"
"""


def text(
    pull: str = '"resident.v2"',
    *,
    window: int = 8740,
    token: str = "a-token-of-the-kiosk",
    more: str = "",
) -> str:
    return LEAF.format(
        pull=pull, window=window, token=token, more=more,
        push='"access.v1", "visit.v1"' if more else '"access.v1"',
    )  # fmt: skip


async def planned(folder: Path, before: str, after: str) -> Plan:
    old, new = folder / "old.toml", folder / "new.toml"
    old.write_text(before, encoding="utf-8")
    new.write_text(after, encoding="utf-8")
    return await plan(new, load(new), sealed(parsed(old), "s", old), sealed(parsed(new), "s", new))


async def test_nothing_changed_is_nothing(tmp_path: Path) -> None:
    found = await planned(tmp_path, text(), "# a comment\n" + text())
    assert found.nothing


async def test_a_leafs_window_shows_more_and_less(tmp_path: Path) -> None:
    found = await planned(tmp_path, text(), text('"birth.v1"'))
    assert {(each.does, each.what) for each in found.effects} == {
        ("shown", "window birth.v1"), ("hidden", "window resident.v2"),
    }  # fmt: skip
    assert [(each.path, each.before, each.after) for each in found.settings] == [
        ("parent.pull", "[resident.v2]", "[birth.v1]")
    ]


async def test_a_leafs_sources_begin_and_a_new_door_needs_a_start(tmp_path: Path) -> None:
    found = await planned(tmp_path, text(), text(more=VISITS))
    does = {each.what: each.does for each in found.effects}
    assert does == {
        "intake": "restart", "capture visit.v1": "begins", "window visit.v1": "shown",
    }  # fmt: skip
    back = await planned(tmp_path, text(more=VISITS), text(window=8741))
    assert {each.what: each.does for each in back.effects} == {
        "window, intake": "restart", "capture visit.v1": "ends", "window visit.v1": "hidden",
    }  # fmt: skip


async def test_a_changed_secret_is_a_change_and_is_not_shown(tmp_path: Path) -> None:
    found = await planned(tmp_path, text(), text(token="another-token-of-the-kiosk"))
    (setting,) = found.settings
    assert setting.path == "window.system[kiosk].token"
    assert "token-of-the-kiosk" not in f"{setting.before}{setting.after}"
    assert setting.before != setting.after


def test_what_cannot_be_compared_is_a_2(tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    node, wrong = tmp_path / "node.toml", tmp_path / "wrong.toml"
    node.write_text(text(), encoding="utf-8")
    assert main(["plan", str(node)]) == 2
    assert "--against" in capsys.readouterr().err
    wrong.write_text("[node]\nid = 3")
    assert main(["plan", str(node), "--against", str(wrong)]) == 2
    assert main(["plan", str(wrong), "--against", str(node)]) == 2
    assert main(["plan", str(node), "--against", str(node), "--json"]) == 0
