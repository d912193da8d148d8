"""`levelsync contract export` writes each form where it is told, and says what cannot be."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.base.errors import LevelsyncError
from agents.cli.exports import NotExportable, add_export, export
from contracts.export.json_schema_reader import contract_of
from contracts.export.odcs_reader import contract_of_odcs
from contracts.subjects import CONTRACTS

NODES = Path(__file__).parents[2] / "deploy/nodes"


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_export(parser)
    return export(parser.parse_args([*map(str, arguments)]))


@pytest.fixture(autouse=True)
def dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    for node in NODES.glob("*.toml"):
        for name in re.findall(r"\$\{(\w+)\}", node.read_text("utf-8")):
            monkeypatch.setenv(name, "host=127.0.0.1")


def test_one_contract_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resident.v2", "--form", "json-schema") == 0
    assert contract_of(json.loads(capsys.readouterr().out)) == CONTRACTS["resident.v2"]
    run("resident.v2", "--form", "json-schema", "--reader")
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is True
    run("division.v1", "--form", "odcs")
    assert contract_of_odcs(capsys.readouterr().out) == CONTRACTS["division.v1"]


def test_several_contracts_fill_a_folder(tmp_path: Path) -> None:
    assert run("--form", "odcs", "--out", tmp_path / "new") == 0
    found = {path.name for path in (tmp_path / "new").iterdir()}
    assert found == {f"{name}.odcs.yaml" for name in CONTRACTS}
    with pytest.raises(NotExportable, match="--out with a folder"):
        run("--form", "json-schema")


@pytest.mark.parametrize(
    ("form", "mark"),
    [("catalogue", "<!doctype html>"), ("typescript", "export"), ("python", '"""Made')],
)
def test_pages_and_types_are_one_file(form: str, mark: str, tmp_path: Path) -> None:
    assert run("--form", form, "--out", tmp_path / "it") == 0
    assert (tmp_path / "it").read_text("utf-8").startswith((mark, "//"))


def test_a_contract_may_come_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from contracts.subjects import CONTRACTS\nV1 = CONTRACTS['death.v1']\n")
    run(file, "--form", "json-schema")
    assert contract_of(json.loads(capsys.readouterr().out)) == CONTRACTS["death.v1"]


@pytest.mark.parametrize("node", sorted(NODES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_node_has_an_asyncapi_document(node: Path, tmp_path: Path) -> None:
    assert run("--form", "asyncapi", "--node", node, "--out", tmp_path / "it.yaml") == 0
    document: dict[str, Any] = yaml.safe_load((tmp_path / "it.yaml").read_text("utf-8"))
    assert document["id"] == f"urn:levelsync:node:{node.stem}"
    assert document["servers"]["node"]["host"].startswith("127.0.0.1:")


def test_a_nodes_contracts_are_those_its_file_speaks_of(tmp_path: Path) -> None:
    run("--form", "json-schema", "--node", NODES / "370102.toml", "--out", tmp_path)
    names = {path.name.removesuffix(".schema.json") for path in tmp_path.iterdir()}
    assert {"resident.v2", "business_licence.v1"} <= names < set(CONTRACTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.v9", "--form", "odcs"), "nothing"),
        (("--form", "asyncapi"), "--node NODE.toml"),
        (("--form", "odcs", "--reader"), "--form json-schema"),
        (("nothing.v9", "--form", "odcs", "--node", NODES / "37.toml"), "got nothing.v9"),
        (("death.v1", "--form", "odcs", "--out", "/nowhere/at/all"), "can be written"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(LevelsyncError, match=said):
        run(*arguments)
