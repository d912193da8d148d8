"""The keys of a node as its operators make, change and trust them."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from agents.base.keyring import Keyring
from agents.base.keys import WrongKey
from agents.cli import main
from agents.sources import load

NODE = """\
# the city
[node]
id = "3701"
name = "济南市"
level = "city"

[kafka]
bootstrap = "127.0.0.1:9192"   # its own

[masking]
secret = "0123456789abcdef"
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    file = tmp_path / "3701.toml"
    file.write_text(NODE, encoding="utf-8")
    return file


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(["keys", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_key_is_its_owners_alone_and_is_made_once(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = said(capsys, "new", node)
    file = Path(made["file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["keys", "new", str(node)]) == 1
    assert made["key"] in capsys.readouterr().err
    file.chmod(0o640)
    assert main(["keys", "list", str(node)]) == 1
    assert "chmod 600" in capsys.readouterr().err


def test_a_key_is_changed_in_two_steps_and_the_one_before_is_known_for_ours(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "rotate", str(node)]) == 1
    assert "levelsync keys new" in capsys.readouterr().err
    first = said(capsys, "new", node)["key"]
    ring = Keyring(load(node).agent.key)
    ring.look()
    coming = said(capsys, "rotate", node)["key"]
    assert said(capsys, "rotate", node)["key"] == coming, "asked again it is the same"
    ring.look()
    assert (ring.public, set(ring.own())) == (first, {first})
    assert said(capsys, "rotate", node, "--take") == {"node": "3701", "key": coming, "in_use": True}
    ring.look()
    assert (ring.public, set(ring.own())) == (coming, {first, coming})
    assert not ring.next.exists()
    rows = {row["key"]: row["state"] for row in said(capsys, "list", node)}
    assert rows == {first: "former", coming: "in use"}
    assert main(["keys", "rotate", str(node), "--take"]) == 1, "there is no next one"


def test_a_key_that_cannot_be_read_any_more_does_not_stop_signing(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(capsys, "new", node)["key"]
    ring = Keyring(load(node).agent.key)
    ring.look()
    ring.path.chmod(0o644)
    ring.look()
    assert ring.public == first
    ring.path.unlink()
    ring.look()
    assert ring.public == first


def test_a_damaged_list_of_former_keys_is_said(node: Path) -> None:
    ring = Keyring(load(node).agent.key)
    ring.path.parent.mkdir()
    ring.path.with_name("signing.key.former").write_text("[")
    with pytest.raises(WrongKey, match=r"signing\.key\.former"):
        ring.former()
    ring.look()
    assert ring.key is None, "the agent goes on"


def test_trust_prints_a_line_and_changes_nothing(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = said(capsys, "new", node)["key"]
    assert main(["keys", "trust", str(node), "37", key]) == 0
    assert capsys.readouterr().out == f'[trust]\n"37" = ["{key}"]\n'
    assert node.read_text(encoding="utf-8") == NODE


def test_trust_is_written_beside_what_is_there(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = said(capsys, "new", node)["key"]
    other = said(capsys, "rotate", node)["key"]
    assert said(capsys, "trust", node, "37", key, "--write")["written"] is True
    text = node.read_text(encoding="utf-8")
    assert text == f'{NODE}\n[trust]\n"37" = ["{key}"]\n'
    node.write_text(
        f"{text}\n[parent]\nid = '37'\nbootstrap = '127.0.0.1:9092'\n", encoding="utf-8"
    )
    said(capsys, "trust", node, "37", other, "--write")
    said(capsys, "trust", node, "3701", key, "--write")
    assert load(node).trust == {"37": (key, other), "3701": (key,)}
    assert "# the city" in node.read_text(encoding="utf-8")
    assert said(capsys, "trust", node, "37", other, "--write")["written"] is False
    rows = [(row["node"], row["state"]) for row in said(capsys, "list", node)]
    assert rows == [
        ("3701", "in use"), ("3701", "next"), ("37", "trusted"), ("37", "trusted"), ("3701", "trusted")
    ]  # fmt: skip


def test_a_table_that_is_written_otherwise_is_left_alone(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = said(capsys, "new", node)["key"]
    other = said(capsys, "rotate", node)["key"]
    text = f'{NODE}\n[trust]\n"37" = [\n  "{key}",\n]\n'
    node.write_text(text, encoding="utf-8")
    assert main(["keys", "trust", str(node), "37", other, "--write"]) == 1
    assert f'"37" = ["{key}", "{other}"]' in capsys.readouterr().err
    assert node.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("wrong", [("37x", "AAAA"), ("37", "AAAA"), ("37", "ä")])
def test_what_is_no_node_or_no_key_is_a_wrong_call(node: Path, wrong: tuple[str, str]) -> None:
    assert main(["keys", "trust", str(node), *wrong]) == 2
