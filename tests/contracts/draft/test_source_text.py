"""The written module gives back the contract it was written from, whatever stands in it."""

import ast
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.draft.guess import Draft
from contracts.draft.orderly import orderly
from contracts.draft.source_text import source_text
from contracts.examine import examine
from contracts.model import Contract, Mask, Rule
from contracts.shape import (
    Array,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Enum,
    Field,
    Integer,
    Map,
    Number,
    Object,
    Shape,
    String,
)
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.contracts.draft.written import imported, unformatted

NASTY = (
    '"""', "'''", "\\", '\\"', "\n", "\r\n", "\0", "\u202e", "\u2028", "#", "{", "}", "${HOME}", "\t",
    '")\nimport os\nos.abort()\n("', "fmt: off", "type: ignore", "住址", "e\u0301", "🏮", "\ufeff",
    "\x1b[31m", "\x7f",
)  # fmt: skip
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts = st.lists(st.one_of(st.sampled_from(NASTY), words), max_size=4).map("".join)
titles = st.builds(Text, texts, texts)
#: Names that a written module uses itself, and names of its own types, are among them.
names = st.one_of(
    st.sampled_from(
        ["str", "int", "list", "about", "Text", "datetime", "Decimal", "msgspec", "V1", "SEX", "Name",
         "name", "Name2", "define", "None_", "Annotated", "match", "x" * 63]
    ),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True),
)  # fmt: skip


def codes(draw: st.DrawFn) -> Shape:
    values = draw(st.lists(texts.filter(bool), min_size=1, max_size=5, unique=True))
    labelled = draw(st.sampled_from([(), values[:1], values]))
    standard = draw(st.sampled_from(["", "GB/T 1"])) if len(labelled) == len(values) else ""
    return Enum(
        values=tuple(values), standard=standard, labels={value: draw(titles) for value in labelled}
    )


@st.composite
def shapes(draw: st.DrawFn, depth: int = 2) -> Shape:
    kinds = ["string", "integer", "number", "decimal", "boolean", "date", "moment", "codes"]
    kind = draw(st.sampled_from(kinds + ["array", "map", "object"] * (depth > 0)))
    shape: Shape
    match kind:
        case "string":
            shape = draw(
                st.sampled_from(
                    [
                        String(),
                        String(min_length=2, max_length=9),
                        String(format="credit-code"),
                        String(pattern="^[0-9\\\\\"']{2}$", max_length=3),
                        String(pattern="^[\\n]$"),
                    ]
                )
            )
        case "integer":
            shape = draw(st.sampled_from([Integer(), Integer(ge=-5), Integer(ge=0, le=2**63 - 1)]))
        case "number":
            shape = draw(st.sampled_from([Number(), Number(ge=-1e300, lt=1.5e-9), Number(gt=0.0)]))
        case "decimal":
            shape = draw(st.sampled_from([Decimal(), Decimal(digits=38, places=9, positive=True)]))
        case "codes":
            shape = codes(draw)
        case "array":
            shape = Array(
                items=draw(shapes(depth - 1)), max_length=draw(st.sampled_from([None, 3]))
            )
        case "map":
            shape = Map(values=draw(shapes(depth - 1)))
        case "object":
            shape = Object(fields=tuple(draw(fields(depth - 1, most=3))))
        case _:
            plain: dict[str, Shape] = {"boolean": Boolean(), "date": Date(), "moment": DateTime()}
            shape = plain[kind]
    return msgspec.structs.replace(shape, nullable=draw(st.booleans()))


DEFAULTS: dict[type, list[Any]] = {
    Boolean: [True], Date: ["2026-02-28"], DateTime: ["2026-11-25T08:00:00+08:00"],
    Decimal: ["-12.50", "0"], Number: [1.5, 0.0], Integer: [0, 7], String: ['"', "a\nb", ""],
    Map: [{}, {'"': None}], Array: [[], [None]],
}  # fmt: skip


@st.composite
def fields(draw: st.DrawFn, depth: int = 2, most: int = 5) -> list[Field]:
    made = []
    for name in draw(st.lists(names, min_size=1, max_size=most, unique=True)):
        shape = draw(shapes(depth))
        given_up = draw(st.booleans())
        default = draw(st.sampled_from([None, *DEFAULTS.get(type(shape), [])]))
        described = draw(st.one_of(st.none(), titles))
        made.append(
            Field(
                name=name,
                title=draw(titles),
                shape=shape,
                description=described,
                required=not given_up,
                default=default if given_up else None,
            )
        )
    return made


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    key = Field(name="the_key", title=draw(titles), shape=String(min_length=1))
    all_fields = (key, *(f for f in draw(fields()) if f.name != "the_key"))
    masks: tuple[Mask, ...] = ("last4", "hash", "year", "null")
    personal = draw(st.lists(st.sampled_from(all_fields), max_size=3, unique_by=lambda f: f.name))
    made = Contract(
        subject="subject", major=draw(st.integers(1, 3)), minor=draw(st.integers(0, 2)),
        title=draw(titles), description=draw(st.one_of(st.none(), titles)), catalogue=draw(texts),
        owner=draw(titles), level="county", key="the_key", scope="the_key", classification="core",
        sharing="conditional", basis=draw(titles), condition=draw(titles), freshness=draw(
            st.sampled_from([5.0, 0.25, 1e300])
        ),
        purposes=tuple(draw(st.lists(titles, max_size=2))), updates=draw(st.sampled_from(["realtime", "daily"])),
        retention=draw(st.sampled_from([None, 0, 30])),
        on_refusal=draw(st.sampled_from(["follow", "wait"])),
        personal={f.name: draw(st.sampled_from(masks)) for f in personal},
        searchable=tuple(f.name for f in personal[:1]), partitions=draw(st.sampled_from([3, 12])),
        rules=tuple(
            Rule(f"rule-{at}", f"the_key != {msgspec.json.encode(text).decode()}", Text(text, text), "$.the_key")
            for at, text in enumerate(draw(st.lists(st.text("a'\n\\", max_size=5), max_size=2)))
        ),
        fields=all_fields,
    )  # fmt: skip
    examine(made)
    return made


questions = st.dictionaries(
    st.sampled_from(["the_key", "name", "str", "contract.key", "contract.personal", "contract.title"]),
    st.lists(texts.filter(str.strip), min_size=1, max_size=2).map(tuple),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(contracts(), texts, questions)
def test_importing_what_was_written_gives_the_contract_back(
    contract: Contract, origin: str, asked: dict[str, tuple[str, ...]]
) -> None:
    with TemporaryDirectory() as folder:
        assert imported(Draft(contract, origin, asked), Path(folder)) == orderly(contract)


def test_it_is_laid_out_as_ruff_format_would(tmp_path: Path) -> None:
    @settings(max_examples=80, deadline=None)
    @given(contracts(), texts, questions)
    def write(contract: Contract, origin: str, asked: dict[str, tuple[str, ...]]) -> None:
        imported(Draft(contract, origin, asked), tmp_path)

    write()
    assert unformatted(tmp_path) == []


@settings(max_examples=100, deadline=None)
@given(contracts(), texts, questions)
def test_no_text_from_outside_becomes_code(
    contract: Contract, origin: str, asked: dict[str, tuple[str, ...]]
) -> None:
    text = source_text(contract, origin=origin, questions=asked)
    tree = ast.parse(text)
    kinds = {type(statement) for statement in tree.body}
    assert kinds <= {ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.ClassDef}
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called <= {"about", "define", "Text", "Rule", "Decimal", "CodeTable"}
    assert sum(isinstance(statement, ast.Expr) for statement in tree.body) == 1
    assert all(character == "\n" or character.isprintable() for character in text)
    # Hidden or reordered text is what a reviewer would not see.
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", text)
    for line in text.splitlines():
        if "#" in line and "OPEN" not in line:
            assert not re.match(r"\s*#\s*(fmt|type|ruff|noqa|isort)\s*:", line)


@pytest.mark.parametrize("name", CONTRACTS)
def test_our_own_contracts_survive_being_written(name: str, tmp_path: Path) -> None:
    contract = CONTRACTS[name]
    assert imported(Draft(contract, "here", {}), tmp_path) == orderly(contract)
    assert unformatted(tmp_path) == []


def test_questions_stand_where_they_are_asked() -> None:
    asked = {
        "phone": ("is it?",),
        "contract.level": ("right?",),
        "contract.updates": ("how often?",),
    }
    lines = source_text(CONTRACTS["resident.v2"], origin="x", questions=asked).splitlines()
    assert lines[lines.index("# OPEN: is it?") + 1].startswith("Phone = ")
    assert lines[lines.index("    # OPEN: right?") + 1] == '    level="province",'
    assert lines[lines.index("    # OPEN: how often?") + 1] == '    updates="realtime",'
