"""``levelsync contract new``: files in, a module and the open questions out."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from contracts.load import load_contracts
from contracts.shape import Date

PEOPLE = "编号,姓名,手机号,所属区划,发证日期\n1,李雷,13805310001,370102001,2024/5/1\n2,韩梅,13805310002,370102002,2024/5/2\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_csv_becomes_a_module_with_its_questions_and_what_comes_next(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "people.csv").write_bytes(PEOPLE.encode("gb18030"))
    assert main(["contract", "new", "permit", "--from", "people.csv"]) == 0
    said = capsys.readouterr().out
    assert "read as GB18030" in said
    assert "levelsync contract check permit.py" in said
    assert "李雷" not in said
    text = (folder / "permit.py").read_text(encoding="utf-8")
    # Some questions take two lines.
    assert f"{text.count('# OPEN: ')} open questions" in said
    (contract,) = load_contracts("permit.py")
    assert (contract.name, contract.key, contract.scope) == ("permit.v1", "number", "division_code")
    assert contract.shape_of("issued_on") == Date()
    source = said[said.index("  [[source]]") :]
    found = tomllib.loads(source)["source"][0]
    assert found["columns"]["name"] == "姓名"


def test_for_programs_it_is_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x.ndjson").write_text('{"bh": "1"}\n{"bh": "2"}\n')
    assert main(["contract", "new", "permit", "--from", "x.ndjson", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["contract"], found["key"], found["columns"]) == ("permit.v1", "bh", {})
    assert {
        "at": "contract.owner",
        "question": "the department that keeps the record (数源部门)",
    } in found["questions"]
    (folder / "permit.py").unlink()
    assert main(["contract", "new", "permit", "--from", "none.csv", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_the_module_can_go_to_the_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "x.json").write_text('[{"bh": "1"}]')
    assert main(["contract", "new", "permit", "--from", "x.json", "--out", "-"]) == 0
    out = capsys.readouterr()
    compile(out.out, "permit.py", "exec")
    assert "open questions" in out.err
    assert not (folder / "permit.py").exists()


def test_a_file_that_is_there_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "permit.py").write_text("mine")
    (folder / "x.csv").write_text("bh\n1\n")
    assert main(["contract", "new", "permit", "--from", "x.csv"]) == 1
    assert "--out" in capsys.readouterr().err
    assert (folder / "permit.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ([], 2, "--from FILE.csv"),
        (["--from", "x.csv", "--dsn", "x"], 2, "--from FILE.csv"),
        (["--dsn", "x"], 2, "--dsn and --table"),
        (["--from", "x.xlsx"], 1, "Expected FILE.csv"),
        (["--from", "none.csv"], 1, "No such file"),
        (["--from", "folder.csv"], 1, "Is a directory"),
        (["--from", "postgresql://u:s3cret@h/db"], 1, "?table=schema.table"),
        (["--from", "empty.csv"], 1, "found an empty file"),
        (["--from", "x.csv", "--out", "no/such/folder/x.py"], 1, "no/such/folder"),
    ],
)
def test_a_wrong_call_says_what_was_expected(
    folder: Path, capsys: pytest.CaptureFixture[str], call: list[str], code: int, said: str
) -> None:
    (folder / "empty.csv").write_text("")
    (folder / "folder.csv").mkdir()
    (folder / "x.csv").write_text("bh\n1\n")
    assert main(["contract", "new", "permit", *call]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "s3cret" not in err


def test_a_subject_that_cannot_be_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "x.csv").write_text("bh\n1\n")
    assert main(["contract", "new", "No Subject", "--from", "x.csv"]) == 1
    assert "a name such as `business_licence`" in capsys.readouterr().err
    assert not list(folder.glob("*.py"))


def test_a_json_schema_becomes_a_module(folder: Path) -> None:
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "permit_no": {"type": "string", "minLength": 1, "maxLength": 20},
            "division_code": {"type": "string", "minLength": 6},
            "open": {"type": "boolean"},
        },
        "required": ["permit_no", "division_code", "open"],
    }
    (folder / "permit.schema.json").write_text(json.dumps(schema))
    assert main(["contract", "new", "permit", "--from", "permit.schema.json"]) == 0
    (contract,) = load_contracts("permit.py")
    assert contract.field_names == ("permit_no", "division_code", "open")


def test_an_odcs_file_becomes_a_module(folder: Path) -> None:
    (folder / "permit.odcs.yaml").write_text(
        """
        apiVersion: v3.1.0
        kind: DataContract
        id: permit
        version: 1.0.0
        status: active
        schema:
          - name: permit
            logicalType: object
            properties:
              - {name: permit_no, logicalType: string, required: true, primaryKey: true, logicalTypeOptions: {minLength: 1}}
              - {name: division_code, logicalType: string, required: true, logicalTypeOptions: {minLength: 6}}
        """
    )
    assert main(["contract", "new", "permit", "--from", "permit.odcs.yaml"]) == 0
    (contract,) = load_contracts("permit.py")
    assert contract.key == "permit_no"
