"""`levelsync contract diff` and `check` name whom a change hurts, and answer by exit code."""

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.cli import evolution
from agents.cli.findings import width
from contracts.publication import PUBLISHED, pretty, record
from contracts.subjects import CONTRACTS

RESIDENT = CONTRACTS["resident.v2"]
CLASS = """
from typing import Annotated
import msgspec
from contracts.define import about, define
from contracts.text import Text

class Bench(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: Annotated[str, about("编号", "Number", min_length=1)]
    division_code: Annotated[str, about("区划", "Division", format="division-code")]
    wood: Annotated[str, about("木材", "Wood")]{wood}

V1 = define(
    Bench, subject="bench", major=1, minor={minor}, title=Text("长椅", "Benches"), catalogue="1",
    owner=Text("园林部门", "Parks"), level="county", key="number", scope="division_code",
    classification="general", sharing="unconditional", basis=Text("条例", "Regulations"),
    freshness=5.0,
)
"""


def run(name: str, *arguments: object) -> int:
    parser = argparse.ArgumentParser()
    getattr(evolution, f"add_{name}")(parser)
    answer: int = getattr(evolution, name)(parser.parse_args([str(each) for each in arguments]))
    return answer


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A bureau's own contract, published as revision 1.0."""
    write(tmp_path / "bench.py")
    assert run("check", tmp_path / "bench.py", "--record") == 0
    return tmp_path / "bench.py"


def write(file: Path, *, minor: int = 0, wood: str = "") -> None:
    file.write_text(CLASS.format(minor=minor, wood=wood), encoding="utf-8")


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# ---- diff -----------------------------------------------------------------------------------


def test_diff_of_majors_says_who_breaks_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", "resident.v1", "resident.v2", "--lang", "en") == 1
    text = capsys.readouterr().out
    assert "resident.v1/1.0 → resident.v2/" in text
    assert "not compatible" in text
    assert "field-removed" in text
    assert "old readers, granted children" in text


def test_diff_speaks_chinese_and_keeps_to_a_hundred_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run("diff", "resident.v1", "resident.v2") == 1
    chinese = capsys.readouterr().out
    assert "不兼容" in chinese
    assert run("diff", "resident.v1", "resident.v2", "--lang", "en") == 1
    for line in (*chinese.splitlines(), *capsys.readouterr().out.splitlines()):
        assert width(line) <= 100


def test_diff_for_programs_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", "resident.v1", "resident.v2", "--json") == 1
    answer = said(capsys)
    assert answer["compatible"] is False
    assert {"rule", "path", "old", "new", "severity", "breaks", "message", "way_out"} <= set(
        answer["findings"][0]
    )
    assert run("diff", "resident.v2", "resident.v2", "--json") == 0
    assert said(capsys)["findings"] == []


def test_diff_of_one_argument_is_against_what_was_published(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(bench, wood=' = "oak"', minor=1)
    capsys.readouterr()
    assert run("diff", bench, "--json") == 0
    answer = said(capsys)
    assert (answer["old"], answer["new"]) == ("bench.v1/1.0", "bench.v1/1.1")
    assert [each["rule"] for each in answer["findings"]] == ["field-became-optional"]


def test_diff_takes_published_revisions_and_contracts_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "resident.json"
    file.write_text(pretty(msgspec.structs.replace(RESIDENT, freshness=60.0)), encoding="utf-8")
    assert run("diff", RESIDENT.dataschema, file, "--json") == 1
    (found,) = said(capsys)["findings"]
    assert (found["rule"], found["old"], found["new"]) == ("freshness-weakened", 2.0, 60.0)


def test_diff_takes_json_schema_files_ours_and_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from contracts.export.json_schema import json_schema

    ours = tmp_path / "ours.json"
    ours.write_text(json.dumps(json_schema(RESIDENT)), encoding="utf-8")
    assert run("diff", "resident.v2", ours, "--json") == 0
    assert said(capsys)["findings"] == []
    # Nobody said whose they are: only the records count.
    text, number = {"type": "string", "minLength": 1}, {"type": "integer"}
    files = []
    for title, n in (("One", number), ("Other", {**number, "minimum": 0})):
        files.append(tmp_path / f"{title}.json")
        properties = {"no": text, "n": n} if title == "One" else {"n": n, "no": text}
        schema = {
            "type": "object",
            "title": title,
            "properties": properties,
            "required": ["no", "n"],
        }
        files[-1].write_text(json.dumps(schema), encoding="utf-8")
    assert run("diff", *files, "--json") == 1
    assert [each["rule"] for each in said(capsys)["findings"]] == ["range-tightened"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("resident.v9", "resident.v2"),
        ("resident.v2/2.99", "resident.v2/2.0"),
        ("missing.json", "missing.json"),
        ("missing.py", "missing.py"),
    ],
)
def test_diff_of_what_is_not_there_says_what_is(
    argument: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("diff", argument, "resident.v2") == 2
    assert expected in capsys.readouterr().err


def test_diff_of_json_that_is_no_contract_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, text in enumerate(("[1]", "{", '{"subject": "a", "fields": []}')):
        file = tmp_path / f"{number}.json"
        file.write_text(text, encoding="utf-8")
        assert run("diff", file, "resident.v2") == 2
        assert file.name in capsys.readouterr().err


# ---- check ----------------------------------------------------------------------------------


def test_check_of_our_contracts_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--json") == 0
    answer = said(capsys)
    assert answer["ok"] is True
    assert RESIDENT.dataschema in answer["checked"]


def test_check_names_a_change_without_a_new_revision(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(bench, wood=' = "oak"')
    capsys.readouterr()
    assert run("check", bench, "--lang", "en") == 1
    text = capsys.readouterr().out
    assert "bench.v1/1.0: revision-not-raised" in text
    assert "1.1" in text
    assert "field-became-optional" in text


def test_check_records_a_revision_once_it_may_follow(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(bench, wood=' = "oak"', minor=1)
    assert run("check", bench) == 1
    capsys.readouterr()
    assert run("check", bench, "--record", "--json") == 0
    assert said(capsys)["recorded"] == ["bench.v1/1.1"]
    assert (bench.parent / "published" / "bench.v1" / "1.1.json").exists()
    assert run("check", bench) == 0


def test_check_does_not_record_what_breaks(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CLASS.format(minor=1, wood="").replace('"Wood")', '"Wood", max_length=9)')
    bench.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert run("check", bench, "--record", "--json") == 1
    answer = said(capsys)
    assert answer["recorded"] == []
    (problem,) = answer["problems"]
    assert problem["rule"] == "revision-breaks"
    assert [each["rule"] for each in problem["findings"]] == ["length-tightened"]
    assert not (bench.parent / "published" / "bench.v1" / "1.1.json").exists()


def test_files_beside_each_other_share_a_record(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = bench.with_name("table.py")
    other.write_text(
        bench.read_text(encoding="utf-8").replace('"bench"', '"table"'), encoding="utf-8"
    )
    assert run("check", other, "--record") == 0
    assert run("check", bench) == 0
    assert run("check", bench, other, "--json") == 0
    capsys.readouterr()


def test_records_in_two_places_are_a_wrong_call(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = bench.parent / "elsewhere" / "bench.py"
    other.parent.mkdir()
    write(other)
    assert run("check", bench, other) == 2
    assert "--published" in capsys.readouterr().err


def test_check_of_a_record_that_is_not_there_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "bench.py")
    assert run("check", tmp_path / "bench.py") == 2
    assert "--record" in capsys.readouterr().err


def test_the_record_may_stand_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for contract in CONTRACTS.values():
        record(contract, tmp_path)
    assert run("check", "--published", tmp_path, "--json") == 0
    assert run("check", "--published", PUBLISHED, "--json") == 0
    capsys.readouterr()
