"""The command line: exit codes, texts for people, JSON for programs."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from agents.base.errors import Superseded
from agents.cli import main
from agents.cli.doctor_corrections import examine_corrections
from agents.demo.servers import node_examples
from agents.sources import load
from contracts.subjects import CONTRACTS


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LICENCE_DSN", "CIVIL_DSN", "POPULATION_DSN"):
        monkeypatch.setenv(name, "host=127.0.0.1")


def test_check_says_what_a_right_file_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(node_examples() / "3701.toml")]) == 0
    out = capsys.readouterr().out
    assert "resident.v2 to 370102" in out
    assert main(["check", "--json", str(node_examples() / "3701.toml")]) == 0
    assert json.loads(capsys.readouterr().out)["pushes"] == [
        "business_licence.v1", "correction.v1", "access.v1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("node", "said"), [("37", ["is due on"]), ("3701", []), ("370102", ["is due on"])]
)
def test_doctor_says_whether_corrections_reach_anybody(node: str, said: list[str]) -> None:
    config = load(node_examples() / f"{node}.toml")
    found = [each.about for each in examine_corrections(config)]
    assert [words in about for words, about in zip(said, found, strict=True)] == [True] * len(said)
    if config.window:
        alone = msgspec.structs.replace(config, corrections=None, parent=None)
        [finding] = examine_corrections(alone)
        assert finding.judgement == "warning"
        assert "reach nobody" in finding.found


def test_corrections_and_accesses_are_asked_for_rightly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for node in ("3701", "37"):
        shutil.copy(node_examples() / f"{node}.toml", tmp_path)
    city, province = (str(tmp_path / f"{node}.toml") for node in ("3701", "37"))
    assert main(["corrections", "list", city]) == 2
    assert "[corrections]" in capsys.readouterr().err
    assert main(["corrections", "answer", province]) == 2
    assert main(["corrections", "answer", province, "some-id"]) == 2
    assert "--accept or --reject" in capsys.readouterr().err
    assert main(["corrections", "list", province, "--wait", "0.2", "--json"]) == 1
    assert "Is it running" in json.loads(capsys.readouterr().out)["error"]
    assert main(["accesses", province]) == 2
    assert main(["accesses", "verify"]) == 2
    assert main(["accesses", province, "resident.v2", "k", "--from", "yesterday"]) == 2


def test_check_answers_no_to_a_wrong_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[node]\nid = 7\n")
    assert main(["check", str(wrong)]) == 1
    assert "Expected `str`, got `int`, at `node.id`" in capsys.readouterr().out
    assert main(["run", str(wrong)]) == 1
    assert str(wrong) in capsys.readouterr().err


def test_a_wrong_call_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    for call in (["nonsense"], [], ["check"]):
        with pytest.raises(SystemExit) as caught:
            main(call)
        assert caught.value.code == 2
    assert main(["contract", "show", "resident.v9"]) == 2
    assert "resident.v2" in capsys.readouterr().err


def test_contracts_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "list", "--json"]) == 0
    names = [row["contract"] for row in json.loads(capsys.readouterr().out)]
    assert names == list(CONTRACTS)
    assert main(["contract", "list"]) == 0
    assert "人口基本信息" in capsys.readouterr().out
    assert main(["contract", "show", "resident.v2"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["owner"]["zh"] == "公安部门"
    assert shown["fields"][0]["name"] == "id_number"


def test_status_of_an_agent_that_is_not_there_says_where_it_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["status", str(node_examples() / "3701.toml")]) == 1
    assert "127.0.0.1:8638" in capsys.readouterr().err


def test_the_demo_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--help"])
    assert caught.value.code == 0
    assert "--check" in capsys.readouterr().out


def test_an_agent_whose_node_another_one_took_over_has_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """deploy/systemd names it: an agent started again would take the node back, and so on."""

    async def serve(*_: object) -> None:
        raise Superseded(writer="levelsync-370102-resident.v2")

    monkeypatch.setattr("agents.agent.serve", serve)
    monkeypatch.setattr("agents.base.log.set_up", lambda _: None)  # it is for the whole process
    file = tmp_path / "node.toml"
    file.write_text(
        '[node]\nid = "370102"\nname = "x"\nlevel = "county"\n[kafka]\nbootstrap = "127.0.0.1:1"\n'
    )
    assert main(["run", str(file)]) == 3
    assert "taken over" in capsys.readouterr().err
