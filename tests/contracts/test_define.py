"""A contract made from a class, and the class, read the same records."""

from typing import Annotated

import msgspec

from contracts.check import Checker
from contracts.define import about, define
from contracts.text import Text

Word = Annotated[str, about("词", "Word", pattern=r"^\S+$")]


class Spoken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Word


def test_a_class_reads_every_text_that_its_contract_accepts() -> None:
    """To Python ``\\S`` leaves out a no-break space; in a portable pattern it does not."""
    contract = define(
        Spoken,
        subject="spoken",
        major=1,
        title=Text("词", "Words"),
        catalogue="1",
        owner=Text("部门", "Department"),
        level="county",
        key="key",
        scope="key",
        classification="general",
        sharing="unconditional",
        basis=Text("条例", "Regulations"),
        freshness=1.0,
    )
    written = Checker(contract).accept(msgspec.json.encode({"key": "\xa0"})).value
    assert msgspec.json.decode(written, type=Spoken).key == "\xa0"
