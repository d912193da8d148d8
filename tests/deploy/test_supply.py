"""The bill of materials says what the lock file says; the audit never claims what it did not look at."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.judges import ROOT, judge

LOCK = ROOT / "deploy" / "runtime.lock"


def said(*command: object, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    return subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False, env=env,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def materials() -> str:
    """The bill."""
    judge("cyclonedx-py")
    made = said("deploy/sbom")
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_the_bill_of_materials_is_the_lock_file_and_always_the_same(materials: str) -> None:
    assert said("deploy/sbom").stdout == materials
    bill = json.loads(materials)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "levelsync"
    pinned = re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK.read_text(), re.M)
    assert sorted((each["name"], each["version"]) for each in bill["components"]) == sorted(pinned)
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", LOCK.read_text()))
    listed = {
        each["content"]
        for component in bill["components"]
        for reference in component["externalReferences"]
        for each in reference["hashes"]
    }
    assert listed == hashes


def test_the_bill_of_materials_is_right_by_its_schema(materials: str, tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_text(materials)
    code = (
        "import sys; from cyclonedx.validation.json import JsonStrictValidator as V;"
        "from cyclonedx.schema import SchemaVersion as S;"
        "wrong = V(S.V1_6).validate_str(open(sys.argv[1]).read()); sys.exit(str(wrong) if wrong else 0)"
    )
    found = said(ROOT / ".cache" / "tools" / "bin" / "python", "-c", code, tmp_path / "bill.json")
    assert found.returncode == 0, found.stderr


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """A copy of deploy/audit beside a pip-audit that answers what the test wants."""
    tools = tmp_path / ".cache" / "tools" / "bin"
    tools.mkdir(parents=True)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "audit").write_bytes((ROOT / "deploy" / "audit").read_bytes())
    (tmp_path / "deploy" / "audit").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    return tmp_path


def answering(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    tool = folder / ".cache" / "tools" / "bin" / "pip-audit"
    tool.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != --output ]; do shift; done\n'
        + (
            f"cat > \"$2\" <<'END'\n{answer}\nEND\n"
            if answer
            else "echo no way there >&2; exit 1\n"
        )
    )
    tool.chmod(0o755)
    return said("bash", folder / "deploy" / "audit", "--required")


FINE = {"name": "fine", "version": "1", "vulns": []}
WRONG = {"name": "holey", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "unknown", "version": "1", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        ([FINE], 0, "1 packages looked at, 0 with known vulnerabilities"),
        ([FINE, WRONG], 1, "holey 2: CVE-1; mended in 3"),
        ([FINE, UNKNOWN], 3, "SKIPPED for 1 packages"),
        ([UNKNOWN], 3, "0 packages looked at"),
        (None, 3, "SKIPPED for all packages"),
    ],
)
def test_an_audit_says_what_it_found_and_what_it_did_not_look_at(
    audit: Path, packages: list[object] | None, code: int, says: str
) -> None:
    """pip-audit itself says «no known vulnerabilities» where it could look at nothing."""
    answer = json.dumps({"dependencies": packages}) if packages is not None else ""
    found = answering(audit, answer)
    assert (found.returncode, says in found.stdout) == (code, True), found.stdout + found.stderr
