"""Contracts of a bureau's own: from its files and modules."""

import textwrap
from pathlib import Path

import pytest

from contracts.load import load_contracts
from contracts.model import WrongContract
from contracts.subjects import CONTRACTS

ONE = """
    from typing import Annotated

    import msgspec

    from contracts.define import about, define
    from contracts.subjects.resident import V2 as RESIDENT
    from contracts.text import Text

    Code = Annotated[str, about("编号", "Number", min_length=1)]

    class Permit(msgspec.Struct):
        code: Code

    COMMON = dict(
        subject="permit", major=1, title=RESIDENT.title, catalogue="1", owner=RESIDENT.owner,
        level="county", key="code", scope="code", classification="general",
        sharing="unconditional", basis=RESIDENT.basis, freshness=5.0,
    )
    V1 = define(Permit, **COMMON)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "permit.py"
    path.write_text(textwrap.dedent(ONE), encoding="utf-8")
    return path


def more(file: Path, text: str) -> str:
    file.write_text(file.read_text(encoding="utf-8") + textwrap.dedent(text), encoding="utf-8")
    return str(file)


def test_a_file_gives_the_contracts_it_defines_and_not_those_it_imports(file: Path) -> None:
    assert [found.name for found in load_contracts(str(file))] == ["permit.v1"]


def test_one_contract_can_be_named(file: Path) -> None:
    reference = more(file, "V1_1 = define(Permit, minor=1, **COMMON)\nALL = {'a': V1, 'b': V1_1}\n")
    assert [found.revision for found in load_contracts(reference)] == ["1.0", "1.1"]
    assert [found.revision for found in load_contracts(f"{reference}:V1_1")] == ["1.1"]
    assert len(load_contracts(f"{reference}:ALL")) == 2


def test_a_second_name_for_a_contract_is_not_a_second_contract(file: Path) -> None:
    assert len(load_contracts(more(file, "LATEST = V1\n"))) == 1


def test_two_contracts_for_one_revision_are_refused(file: Path) -> None:
    with pytest.raises(WrongContract, match="two that differ"):
        load_contracts(more(file, "OTHER = define(Permit, **COMMON | {'freshness': 9.0})\n"))


def test_a_changed_file_is_read_anew(file: Path) -> None:
    assert load_contracts(str(file))[0].freshness == 5.0
    file.write_text(file.read_text(encoding="utf-8").replace("=5.0", "=6.0"), encoding="utf-8")
    assert load_contracts(str(file))[0].freshness == 6.0


def test_a_file_may_import_its_neighbours_and_leaves_the_path_as_it_was(file: Path) -> None:
    import sys

    before = list(sys.path)
    (file.parent / "neighbour_of_permits.py").write_text("FRESH = 7.0\n")
    reference = more(
        file,
        """
        from neighbour_of_permits import FRESH
        V1 = define(Permit, **COMMON | {"freshness": FRESH})
        """,
    )
    assert load_contracts(reference)[0].freshness == 7.0
    assert sys.path == before


def test_a_module_is_found_by_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_contracts("contracts.subjects.resident:V2") == [CONTRACTS["resident.v2"]]
    assert len(load_contracts("contracts.subjects:CONTRACTS")) == len(CONTRACTS)
    monkeypatch.chdir(file.parent)
    assert load_contracts("permit")[0].name == "permit.v1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found none"),
        ("V1 = 5", "found none"),
        ("def broken(", "permit.py:1: "),
        ("x = 1\nraise KeyError('key')", "permit.py:2: KeyError: 'key'"),
        ("import sys\nsys.exit(3)", "permit.py:2: SystemExit: 3"),
        ("import no_such_module_anywhere", "permit.py:1: ModuleNotFoundError"),
        (
            "from contracts.model import WrongContract\nraise WrongContract('Expected more')",
            "permit.py:2: Expected more",
        ),
        ("\0", "permit.py"),
    ],
)
def test_a_wrong_file_is_answered_with_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(WrongContract) as caught:
        load_contracts(str(file))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("no/such/file.py", "found none"),
        ("no_such_module_anywhere", "is it installed"),
        ("no.such:V1", "is it installed"),
        ("what is this?", "Expected a Python file"),
        ("contracts.subjects.resident:V9", "found V1, V2"),
        ("contracts.text", "found none"),
        ("", "Expected a Python file"),
    ],
)
def test_a_wrong_reference_says_what_was_expected(reference: str, said: str) -> None:
    with pytest.raises(WrongContract) as caught:
        load_contracts(reference)
    assert said in str(caught.value)
