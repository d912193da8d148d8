"""The types compile under the strictest settings, and what the feed sends is of them."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.window.feed import described
from agents.window.rights import Sight
from agents.window.store import Entry
from contracts.export.python_types import python_types
from contracts.export.typescript import typescript
from contracts.model import Contract
from contracts.shape import Array, Decimal, Enum, Field, Integer, Map, Number, Object, String
from contracts.subjects import CONTRACTS
from contracts.text import Text

TSC = Path(__file__).parents[3] / ".cache/node/node_modules/.bin/tsc"
HOSTILE = Text('*/ alert(1); /*"""\n\'\\ ${x} \u2028</script>', "`code` \\u000a */")

RESIDENT = {
    "id_number": "11010519491231002X", "name": "李雷", "sex": "1", "birth_date": "1949-12-31",
    "nationality": "01", "division_code": "370102001", "address_detail": "解放路1号",
    "household_no": "000000001", "relation": "head", "status": "active",
    "registered_at": "2024-01-01T00:00:00Z", "phone": None,
}  # fmt: skip
TOLD = {
    "contract": "resident.v2", "key": "11010519491231002X", "scope": "370102001", "record": RESIDENT,
    "id": "1", "sequence": "0001", "time": "2024-01-01T00:00:00.000000Z", "source": "pg",
}  # fmt: skip


def field(name: str, shape: Any, **more: Any) -> Field:
    return Field(name=name, title=HOSTILE, description=HOSTILE, shape=shape, **more)


def strange() -> Contract:
    """Every shape, nested, with texts that would end a comment and names that meet."""
    inner = Object(fields=(field("b", Object(fields=(field("c", Integer()),), nullable=True)),))
    fields = (
        field("key", String(min_length=1)),
        field("a", inner),
        field("a_b", Object(fields=(field("d", Number(), required=False, default=1.0),))),
        field(
            "A_b", Enum(values=('"', "\\", "0", "甲\u2028"), labels={'"': HOSTILE, "0": HOSTILE})
        ),
        field(
            "list",
            Array(items=Map(values=Enum(values=("x",), labels={"x": HOSTILE}, nullable=True))),
        ),
        field("put", Enum(values=("put",))),
        field("list_labels", Object(fields=(field("a", Integer()),))),
        field("sum", Decimal(), required=False, default="0"),
    )
    return msgspec.structs.replace(
        CONTRACTS["division.v1"], subject="strange", title=HOSTILE, description=HOSTILE, key="key",
        scope="key", fields=fields, personal={}, searchable=(),
    )  # fmt: skip


ALL = [*CONTRACTS.values(), strange()]


def tsc(folder: Path, source: str) -> str:
    if not TSC.exists() and not os.environ.get("CI"):
        pytest.skip("deploy/setup installs TypeScript where node is")
    (folder / "contracts.ts").write_text(typescript(ALL), encoding="utf-8")
    (folder / "window.ts").write_text(source, encoding="utf-8")
    flags = [
        "--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler",
        "--noUnusedLocals", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--types", "",
    ]  # fmt: skip
    done = subprocess.run(
        [TSC, *flags, "window.ts"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


WINDOW = """
import { type Change, type Entry, type Feed, type ResidentV2, ResidentV2SexLabels } from "./contracts";
const told: Change = %s;
const deleted: Change = { op: "delete", scope: "", record: null, contract: "resident.v2", key: "", id: "", sequence: "", time: "", source: "" };
const entry: Entry = %s;
const feed: Partial<Feed> = { live: {}, cut: { reason: "" }, change: deleted };
if (told.op === "put" && told.contract === "resident.v2") {
  const resident: ResidentV2 = told.record;
  const label: string = ResidentV2SexLabels[resident.sex].zh;
  const phone: string | null | undefined = resident.phone;
  console.log(label, phone, feed, entry.record);
}
"""


def test_typescript_compiles_strictly_and_takes_what_the_feed_sends(tmp_path: Path) -> None:
    kept = Entry(
        "resident.v2",
        "11010519491231002X",
        "370102001",
        b"{}",
        "1",
        1,
        "0001",
        "pg",
        "resident.v2/2.0",
        1,
    )
    state = {
        **msgspec.json.decode(msgspec.json.encode(described(kept, Sight()))),
        "record": RESIDENT,
    }
    put = {**state, "op": "put", "state": True}
    source = WINDOW % (json.dumps(put), json.dumps(state))
    source = "declare const console: { log(...of: unknown[]): void };" + source
    assert tsc(tmp_path, source) == ""
    wrong = tsc(
        tmp_path,
        source.replace("ResidentV2SexLabels[resident.sex]", "ResidentV2SexLabels[resident.name]"),
    )
    assert "TS7053" in wrong or "TS2322" in wrong
    assert "error TS" in tsc(tmp_path, source.replace('"sex": "1"', '"sex": "7"'))


def mypy(folder: Path, source: str) -> str:
    (folder / "levelsync_types.py").write_text(python_types(ALL), encoding="utf-8")
    (folder / "window.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", os.devnull, "window.py"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


PYTHON = """
from levelsync_types import Change, ResidentV2, ResidentV2SexLabels


def told(change: Change) -> str | None:
    if change["op"] == "put" and change["contract"] == "resident.v2":
        resident: ResidentV2 = change["record"]
        return ResidentV2SexLabels[resident["sex"]].zh
    return None
"""


def test_python_types_are_strictly_right(tmp_path: Path) -> None:
    assert "Success" in mypy(tmp_path, PYTHON)
    assert "typeddict-item" in mypy(tmp_path, PYTHON.replace('resident["sex"]', 'resident["sx"]'))


def test_python_types_decode_what_the_feed_sends() -> None:
    module = types.ModuleType("levelsync_types")
    sys.modules["levelsync_types"] = module
    exec(python_types(ALL), module.__dict__)
    raw = json.dumps({**TOLD, "op": "put", "dataschema": "resident.v2/2.1", "new": 1})
    found = msgspec.json.decode(raw, type=module.ResidentV2Put)
    assert found["record"] == RESIDENT
    with pytest.raises(msgspec.ValidationError, match=r"record\.sex"):
        msgspec.json.decode(raw.replace('"sex": "1"', '"sex": "7"'), type=module.ResidentV2Put)
    assert module.ResidentV2SexLabels["1"].zh == "男"
    assert module.StrangeV1AB_3Labels['"'].en == HOSTILE.en


@pytest.mark.parametrize("made", [typescript, python_types])
def test_hostile_texts_stay_within_their_comment(made: Any) -> None:
    """What a comment says has no line of its own, whatever breaks lines."""
    for row in made([strange()]).splitlines():
        assert not row.strip().startswith(("alert", "'\\", "</script"))


@pytest.mark.parametrize("made", [typescript, python_types])
def test_no_contract_at_all_is_a_module_still(made: Any) -> None:
    assert "Label" in made([])
