"""What an agent runs is kept beside it, and no secret with it."""

import json
import stat
from pathlib import Path

import pytest

from agents.base.config import parsed
from agents.base.errors import ConfigError
from agents.base.remembered import FILE, remember, remembered, sealed

TEXT = """
[node]
id = "37"
name = "山东省"
level = "province"

[masking]
secret = "${MASKING}"

[[source]]
kind = "postgres"
contract = "resident.v2"
dsn = "host=db password=hunter2hunter2"
table = "people.resident"

[[grant]]
contract = "resident.v2"
to = "3701"
purpose = "counters"
until = 2027-12-31

[[window.system]]
name = "kiosk"
token = "a-token-that-is-written-out"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKING", "the masking secret")
    path = tmp_path / "37.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_what_is_run_is_kept_for_its_user_alone_and_without_secrets(
    file: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    remember(file, state)
    kept = (state / FILE).read_text(encoding="utf-8")
    for secret in ("hunter2", "the masking secret", "a-token-that-is-written-out"):
        assert secret not in kept
    assert stat.S_IMODE((state / FILE).stat().st_mode) == 0o600
    salt, tables = remembered(state) or ("", {})
    assert tables["grant"][0]["until"] == "2027-12-31"
    assert tables["masking"]["secret"].startswith("${MASKING}#")
    assert tables == sealed(parsed(file), salt, file), "the same file is the same"


def test_a_changed_secret_is_another_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(file, tmp_path / "state")
    salt, before = remembered(tmp_path / "state") or ("", {})
    monkeypatch.setenv("MASKING", "another secret")
    after = sealed(parsed(file), salt, file)
    assert after["masking"] != before["masking"]
    assert after["source"] == before["source"]
    monkeypatch.delenv("MASKING")
    with pytest.raises(ConfigError, match="MASKING"):
        sealed(parsed(file), salt, file)


def test_a_file_that_is_no_more_or_half_written_is_as_none(file: Path, tmp_path: Path) -> None:
    assert remembered(tmp_path) is None
    (tmp_path / FILE).write_text('{"salt": "')
    assert remembered(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps({"salt": "a"}))
    assert remembered(tmp_path) is None
    (tmp_path / f"{FILE}.new").write_text("left by a kill")
    remember(file, tmp_path)
    assert remembered(tmp_path) is not None
