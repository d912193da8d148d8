"""Published means frozen: every way to change what was published is found and named."""

import datetime
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.model import Contract
from contracts.publication import (
    NotPublishable,
    check_published,
    digest,
    pretty,
    published,
    read_contract,
    record,
)
from contracts.publication.rules import RULES
from contracts.shape import Boolean, Field, String
from contracts.subjects import CONTRACTS
from contracts.text import Text

replace = msgspec.structs.replace
FIRST = CONTRACTS["division.v1"]
FLAG = Field(name="flag", title=Text("旗", "Flag"), shape=Boolean(), required=False, default=False)


def following(contract: Contract, *fields: Field, **change: Any) -> Contract:
    """The next revision, with more fields."""
    change = {"minor": contract.minor + 1, **change}
    return replace(contract, fields=(*contract.fields, *fields), **change)


SECOND = following(FIRST, FLAG)
THIRD = following(SECOND, title=Text("区划", "Divisions"))
BREAKING = following(FIRST, replace(FLAG, required=True, default=None))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    record(FIRST, tmp_path)
    record(SECOND, tmp_path)
    return tmp_path


def rules(root: Path, *contracts: Contract) -> list[str]:
    return [each.rule for each in check_published(contracts, root)]


def test_what_was_recorded_is_read_back_the_same(root: Path) -> None:
    assert published(root) == {"division.v1": [FIRST, SECOND]}
    assert rules(root, SECOND) == []


def test_the_record_is_one_fact_a_line_and_checks_with_sha256sum(root: Path) -> None:
    text = (root / "division.v1" / "1.0.json").read_text(encoding="utf-8")
    assert text == pretty(FIRST)
    assert text.endswith("}\n")
    assert '      "zh": "区划代码",\n' in text
    sums = (root / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert sums[0] == f"{hashlib.sha256(text.encode()).hexdigest()}  division.v1/1.0.json"
    assert [line.split()[1] for line in sums] == ["division.v1/1.0.json", "division.v1/1.1.json"]


def test_to_record_again_changes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.glob("*/*.json")}
    record(SECOND, root)
    assert {path: path.read_bytes() for path in root.glob("*/*.json")} == before


def test_revisions_are_in_the_order_of_numbers_not_of_text(tmp_path: Path) -> None:
    for minor in range(11):
        record(replace(FIRST, minor=minor, title=Text(str(minor), str(minor))), tmp_path)
    assert [each.minor for each in published(tmp_path)["division.v1"]] == list(range(11))
    sums = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert sums[-1].endswith("1.10.json")


def test_the_digest_is_of_what_is_said_not_of_how_it_was_made() -> None:
    again = read_contract(pretty(FIRST).encode())
    assert digest(again) == digest(FIRST) == digest(replace(FIRST, purposes=()))
    assert digest(FIRST) != digest(replace(FIRST, title=Text("区划", "Divisions")))
    assert digest(FIRST) != digest(replace(FIRST, minor=1))


# ---- today's contract beside the record -----------------------------------------------------

SECOND_MAJOR = following(SECOND, major=2, minor=0)
WRONG = [
    ("not-recorded", THIRD),
    ("revision-not-raised", replace(THIRD, minor=1)),
    ("published-changed", replace(BREAKING, minor=1)),
    ("revision-breaks", following(SECOND, replace(FLAG, name="other", required=True))),
    ("revision-skipped", replace(THIRD, minor=3)),
    ("revision-behind", FIRST),
    ("revision-without-change", following(SECOND)),
]


@pytest.mark.parametrize(("rule", "now"), WRONG, ids=lambda each: str(each)[:24])
def test_a_contract_out_of_line_with_the_record_is_named(
    root: Path, rule: str, now: Contract
) -> None:
    assert rules(root, now) == [rule]
    if rule != "not-recorded":
        with pytest.raises(NotPublishable):
            record(now, root)


def test_a_compatible_change_may_not_wear_a_new_major(root: Path) -> None:
    (found,) = check_published([SECOND, SECOND_MAJOR], root)
    assert (found.rule, found.dataschema, found.about) == (
        "major-not-needed",
        "division.v2/2.0",
        "1.2",
    )
    with pytest.raises(NotPublishable, match=r"division\.v2/2\.0"):
        record(SECOND_MAJOR, root)


def test_an_incompatible_change_takes_a_new_major_and_both_stay(root: Path) -> None:
    new = replace(BREAKING, major=2, minor=0)
    record(new, root)
    assert rules(root, SECOND, new) == []
    record(THIRD, root)
    assert rules(root, THIRD, new) == []


def test_what_a_revision_breaks_is_told_with_it(root: Path) -> None:
    (found,) = check_published([replace(BREAKING, minor=2)], root)
    assert found.rule == "revision-breaks"
    assert "default-changed" not in {each.rule for each in found.findings}
    assert ("field-added-without-default", "division.v1/1.0") in {
        (each.rule, each.against) for each in found.findings
    }
    assert found.about == "2.0"


def test_a_break_of_an_early_revision_is_found_though_the_last_has_none(tmp_path: Path) -> None:
    """The field of 1.0 was dropped in 1.1 and comes back as another type."""
    text = replace(FLAG, shape=String(), default="")
    base = following(FIRST, text, minor=0)
    record(base, tmp_path)
    without = replace(base, minor=1, fields=FIRST.fields)
    with pytest.raises(NotPublishable):
        record(without, tmp_path)  # grants that name it fall
    again = replace(base, minor=1, fields=(*FIRST.fields, FLAG))
    (found,) = check_published([again], tmp_path)
    assert found.rule == "revision-breaks"


def test_a_contract_that_was_published_may_not_vanish_before_its_end(root: Path) -> None:
    assert rules(root) == ["contract-vanished"]
    today = datetime.date.today()
    (root / "division.v1" / "ENDED").write_text(f"{today + datetime.timedelta(days=2)} replaced")
    assert rules(root) == ["contract-vanished"]
    (root / "division.v1" / "ENDED").write_text(f"{today} replaced by v2")
    assert rules(root) == []


def test_of_some_contracts_alone_other_subjects_are_not_missed(root: Path) -> None:
    other = CONTRACTS["business_licence.v1"]
    record(other, root)
    assert check_published([SECOND], root, whole=False) == []
    assert [each.rule for each in check_published([SECOND], root)] == ["contract-vanished"]


# ---- the record as it was written -----------------------------------------------------------


def test_an_old_revision_changed_by_hand_is_found(root: Path) -> None:
    file = root / "division.v1" / "1.0.json"
    file.write_text(file.read_text(encoding="utf-8").replace("60", "600"), encoding="utf-8")
    (found,) = check_published([SECOND], root)
    assert (found.rule, found.about) == ("record-changed", "division.v1/1.0.json")


def test_other_line_ends_are_no_change(root: Path) -> None:
    file = root / "division.v1" / "1.0.json"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert rules(root, SECOND) == []


def test_a_lost_file_is_found(root: Path) -> None:
    (root / "division.v1" / "1.0.json").unlink()
    assert rules(root, SECOND) == ["record-lost"]


def test_a_revision_struck_from_files_and_sums_leaves_a_gap(root: Path) -> None:
    (root / "division.v1" / "1.0.json").unlink()
    sums = (root / "SHA256SUMS").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "SHA256SUMS").write_text(sums[1], encoding="utf-8")
    assert rules(root, SECOND) == ["revision-missing"]


def test_a_file_nobody_recorded_is_found(root: Path) -> None:
    (root / "division.v1" / "1.2.json").write_text(pretty(THIRD), encoding="utf-8")
    assert rules(root, SECOND) == ["record-unlisted"]


def test_a_file_that_does_not_hold_what_its_name_says_is_found(root: Path) -> None:
    file, sums = root / "division.v1" / "1.1.json", root / "SHA256SUMS"
    file.write_text("{}", encoding="utf-8")
    lines = sums.read_text(encoding="utf-8").splitlines(keepends=True)
    sums.write_text(f"{lines[0]}{hashlib.sha256(b'{}').hexdigest()}  division.v1/1.1.json\n")
    assert rules(root, SECOND) == ["record-unreadable"]
    with pytest.raises(msgspec.DecodeError, match=r"1\.1\.json"):
        published(root)


def test_every_problem_says_what_to_do_in_both_languages() -> None:
    for texts in RULES.values():
        for text in texts:
            assert text.zh
            assert text.en
            assert ("{about}" in text.zh) == ("{about}" in text.en)
