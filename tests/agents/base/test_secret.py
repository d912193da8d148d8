"""Secrets come from the environment, a file, or what the service manager hands over; and never print."""

from pathlib import Path

import pytest

from agents.base.secret import filled
from agents.base.table import Wrong


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return tmp_path / "370102.toml"


def test_each_way_is_taken_wherever_it_stands(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "1")
    (file.parent / "two").write_text("2\n")
    folder = file.parent / "370102.credentials"
    folder.mkdir()
    (folder / "three").write_text("3\n")
    value = {"a": ["x${ONE}y", 7], "b": {"c": f"${{file:{file.parent}/two}} ${{credential:three}}"}}
    assert filled(value, file) == {"a": ["x1y", 7], "b": {"c": "2 3"}}


@pytest.mark.parametrize("name", ["licence", "levelsync_licence"])
def test_what_systemd_hands_over_comes_first(
    name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / name).write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert filled("${credential:licence}", file) == "from systemd"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${NOBODY_HAS_THIS}", "the environment variable `NOBODY_HAS_THIS`, got none"),
        ("${file:/nobody/has/this}", "a readable file for `${file:/nobody/has/this}`"),
        ("${credential:licence}", "a readable file for `${credential:licence}`"),
        ("${credential:../licence}", "a credential's name"),
        ("${credential:}", "a credential's name"),
    ],
)
def test_what_is_not_there_is_named_with_its_place(file: Path, text: str, said: str) -> None:
    with pytest.raises(Wrong) as caught:
        filled({"source": [{"dsn": text}]}, file)
    assert said in str(caught.value)
    assert caught.value.path == "source[0].dsn"


def test_a_file_that_is_no_text_is_not_quoted(file: Path) -> None:
    (file.parent / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(Wrong) as caught:
        filled(f"${{file:{file.parent}/binary}}", file)
    assert "hunter2" not in str(caught.value)
    assert "\\xff" not in repr(caught.value)
