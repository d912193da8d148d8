"""The unit is sound and tight by systemd's own word, and fits what the agent does."""

import re
import subprocess
from pathlib import Path

import pytest

from agents.base.errors import Superseded
from tests.deploy.judges import ROOT, judge

UNIT = ROOT / "deploy" / "systemd" / "levelsync@.service"
TEXT = UNIT.read_text(encoding="utf-8")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a command that is there."""
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", TEXT, flags=re.M))
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    said = subprocess.run(
        [judge("systemd-analyze"), "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    about = [line for line in said.stderr.splitlines() if UNIT.name.split("@")[0] in line]
    assert (said.returncode, about) == (0, [])


def test_the_unit_is_below_3_by_systemds_own_count(unit: Path) -> None:
    """Red without ``CapabilityBoundingSet=`` and ``SystemCallFilter=``: tried."""
    said = subprocess.run(
        [judge("systemd-analyze"), "security", "--offline=true", "--no-pager",
         "--threshold=30", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert found, said.stdout[-500:]
    assert float(found[1]) < 3


def test_an_agent_that_was_taken_over_is_not_started_again() -> None:
    found = re.search(r"^RestartPreventExitStatus=(\d+)$", TEXT, re.M)
    assert found
    assert int(found[1]) == Superseded.exit_code


def test_the_watchdog_waits_longer_than_the_agent_takes_itself_for_alive() -> None:
    from agents.agent import DEAD

    found = re.search(r"^WatchdogSec=(\d+)$", TEXT, re.M)
    assert found
    assert int(found[1]) > DEAD


@pytest.mark.slow
def test_the_script_installs_what_is_locked_and_the_command_works(tmp_path: Path) -> None:
    """Below a folder, so that nothing of this machine is touched; a minute or more."""
    for _ in range(2):
        subprocess.run(
            [ROOT / "deploy" / "systemd" / "install", "--root", str(tmp_path)],
            check=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    command = tmp_path / "usr" / "local" / "bin" / "levelsync"
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("levelsync ")
    assert (tmp_path / "etc" / "systemd" / "system" / UNIT.name).read_text() == TEXT
    assert len(list((tmp_path / "usr" / "local" / "lib" / "levelsync.d").iterdir())) == 2
