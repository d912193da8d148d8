"""``levelsync files`` without an agent: what it lists, and what it asks for."""

import json
from pathlib import Path

import msgspec
import pytest

from agents.base.requests import Request
from agents.capture.files_report import Report, write_report
from agents.cli import main

NODE = """
[node]
id = "37"
name = "山东省"
level = "province"

[agent]
state = "state"

[kafka]
bootstrap = "127.0.0.1:9092"
"""
SOURCE = """
[[source]]
kind = "files"
contract = "division.v1"
folder = "in"
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = tmp_path / "37.toml"
    path.write_text(NODE + SOURCE, encoding="utf-8")
    for name in ("done", "held", ".reading"):
        (tmp_path / "in" / name).mkdir(parents=True)
    for name in ("2.csv", ".reading/1.csv", "held/0.csv"):
        (tmp_path / "in" / name).touch()
    write_report(
        tmp_path / "in" / "held" / "0.csv", Report(file="0.csv", result="held", why="too much")
    )
    return path


def test_files_are_listed_where_the_node_file_is(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["files", "list", str(node), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["waiting"], listed["reading"]) == (["2.csv"], ["1.csv"])
    assert [(each["file"], each["why"]) for each in listed["held"]] == [("0.csv", "too much")]
    assert main(["files", "list", str(node)]) == 0
    said = capsys.readouterr().out
    assert "waiting  2.csv" in said
    assert "too much" in said


def test_an_operators_word_stands_until_the_agent_takes_it(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["files", "refuse", str(node), "0.csv", "--wait", "0.1"]) == 1
    assert "The request stands" in capsys.readouterr().err
    (file,) = (node.parent / "state" / "requests").glob("*.request")
    request = msgspec.json.decode(file.read_bytes(), type=Request)
    assert (request.what, request.contract) == ("release", "division.v1")
    assert request.arguments == {"file": "0.csv", "refuse": True}


def test_wrong_calls_are_answered_with_what_was_expected(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["files", "release", str(node)]) == 2
    assert "Expected a file to release" in capsys.readouterr().err
    node.write_text(NODE, encoding="utf-8")
    assert main(["files", "list", str(node)]) == 2
    assert 'kind = "files"' in capsys.readouterr().err
