"""多头采集: what is collected twice is said, with who does, unless a precedence is."""

from pathlib import Path
from typing import Any

import pytest

from agents.base.duplicates import duplicates
from agents.base.errors import ConfigError
from agents.sources import load
from contracts.subjects import CONTRACTS

COUNTY = """
[node]
id = "370102"
name = "历下区"
level = "county"

[kafka]
bootstrap = "127.0.0.1:9292"

[parent]
id = "3701"
bootstrap = "127.0.0.1:9192"
pull = ["resident.v2"]

[[source]]
kind = "postgres"
contract = "disability.v1"
dsn = "host=127.0.0.1"
table = "care.certificate"
"""


def found(tmp_path: Path, more: str = "", text: str = COUNTY) -> list[Any]:
    path = tmp_path / "node.toml"
    path.write_text(text + more, encoding="utf-8")
    return duplicates(load(path), CONTRACTS)


def test_a_persons_field_collected_here_that_another_office_has_is_said(tmp_path: Path) -> None:
    phone = next(each for each in found(tmp_path) if each.what == "phone")
    assert str(phone) == (
        "phone is collected by disability.v1 (残疾人联合会, county, here from care.certificate)"
        " and by resident.v2 (公安部门, province)"
    )


def test_a_precedence_that_names_all_who_collect_it_settles_it(tmp_path: Path) -> None:
    """Red when ``duplicates`` does not look at the precedence: tried."""
    half = '[precedence]\nphone = ["resident.v2"]\n'
    assert "phone" in {each.what for each in found(tmp_path, half)}
    whole = '[precedence]\nphone = ["resident.v2", "disability.v1"]\n'
    assert "phone" not in {each.what for each in found(tmp_path, whole)}


def test_what_only_passes_through_is_no_collecting_of_ours(tmp_path: Path) -> None:
    text = COUNTY.partition("[[source]]")[0].replace(
        '["resident.v2"]', '["resident.v2", "death.v1"]'
    )
    assert found(tmp_path, text=text) == []


def test_two_sources_of_one_subject_are_said_unless_one_is_made_from_the_other(
    tmp_path: Path,
) -> None:
    province = """
[node]
id = "37"
name = "山东省"
level = "province"

[kafka]
bootstrap = "127.0.0.1:9292"

[[source]]
kind = "postgres"
contract = "resident.v2"
dsn = "host=127.0.0.1"
table = "police.resident"
"""
    another = """
[[source]]
kind = "postgres"
contract = "resident.v1"
dsn = "host=127.0.0.1"
table = "civil.resident"
"""
    assert [each.what for each in found(tmp_path, another, province)] == ["resident"]
    assert found(tmp_path, 'also = ["resident.v1"]\n', province) == []
    same = another.replace("resident.v1", "resident.v2")
    with pytest.raises(ConfigError, match=r"police\.resident fills already.*civil\.resident"):
        found(tmp_path, same, province)
