"""The scripts of deploy/ and the hygiene of the repository."""

import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from agents.sources import load

ROOT = Path(__file__).parents[1]
SCRIPTS = [
    "deploy/setup", "deploy/demo", "deploy/test", "deploy/lock", "deploy/systemd/install",
    "deploy/tools/build", "deploy/sbom", "deploy/audit", ".ci/run",
]  # fmt: skip


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_sound_and_may_be_run(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")


def test_a_second_set_up_is_quick() -> None:
    if not (ROOT / ".cache" / "venv").exists():
        pytest.skip("set up by other means than deploy/setup")
    began = time.monotonic()
    subprocess.run(
        [ROOT / "deploy" / "setup"], check=True, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert time.monotonic() - began < 10, "3 s on a quiet machine"


def test_every_locked_package_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    packages = re.findall(r"^([a-z0-9-]+)==.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+", text, re.M)
    named = re.findall(r"^([a-z0-9-]+)==", text, re.M)
    assert packages == named
    assert {"aiokafka", "aiomqtt", "msgspec", "structlog", "pytest-asyncio"} <= set(named)
    assert "://" not in text


@pytest.mark.parametrize("name", ["schemathesis", "oidc", "tools"])
def test_what_runs_in_an_environment_of_its_own_is_locked_too(name: str) -> None:
    text = (ROOT / "deploy" / f"{name}.lock").read_text(encoding="utf-8")
    packages = re.findall(r"^([a-z0-9-]+)==.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+", text, re.M)
    assert packages == re.findall(r"^([a-z0-9-]+)==", text, re.M)
    assert any(name in each for each in packages) or name == "tools"
    assert "://" not in text


def test_what_an_agent_is_installed_with_is_part_of_what_is_tested() -> None:
    pins = {
        name: set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / name).read_text(encoding="utf-8"), re.M))
        for name in ("requirements.lock", "deploy/runtime.lock", "deploy/build.lock")
    }
    assert pins["deploy/runtime.lock"] <= pins["requirements.lock"]
    assert pins["deploy/build.lock"] <= pins["requirements.lock"]
    locked = {pin.partition("==")[0] for pin in pins["deploy/runtime.lock"]}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[^a-z0-9-]", each)[0] for each in wanted["dependencies"]}
    assert named <= locked
    assert "pytest" not in locked


def test_nothing_of_one_machine_is_in_the_repository() -> None:
    # Put together here so that this file does not contain what it looks for.
    forbidden = [
        "/ho" + "me/", "/wo" + "rk/", "/ro" + "ot/", "py" + "pi.org", "npm" + "js.org",
        "files.python" + "hosted", "repo" + "1.maven", "BEGIN " + "PRIVATE KEY",
    ]  # fmt: skip
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for word in forbidden:
            assert word not in text, f"{path.relative_to(ROOT)} contains {word}"


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_readme_begins_with_the_two_commands(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    first = re.search(r"```\w*\n(.*?)```", text, re.S)
    assert first
    commands = [line.partition("#")[0].strip() for line in first[1].strip().splitlines()]
    assert commands == ["deploy/demo", "deploy/test"]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_node_file_of_the_readme_is_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICENCE_DSN", "host=127.0.0.1")
    for secret in ("MASKING_SECRET", "HALL_TOKEN", "LOGIN_SECRET", "KAFKA_PASSWORD"):
        monkeypatch.setenv(secret, "a-secret-of-the-test")
    node, grant, reach, precedence, trust, rights = re.findall(
        r"```toml\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S
    )
    file = tmp_path / "node.toml"
    text = node + grant.replace('"370102"', '"370102001"') + reach + precedence + trust + rights
    file.write_text(text, encoding="utf-8")
    config = load(file)
    (given,) = config.grant
    assert config.window
    assert not config.window.open
    assert given.mask == {"phone": "last4", "name": "hash"}


def test_links_within_the_readmes_lead_somewhere() -> None:
    for name in ("README.md", "README.zh.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{name} links to {target}"
