"""The protocol of a hop, in every order in which its steps can happen: Spin over hop.pml.

Seen (Spin 6.5.2), every state each time, no error:

    events  lives     states    CPU    memory
         2      3     0.9 M     2 s    0.2 GB    in CI
         4      2     0.9 M     2 s    0.2 GB    in CI
         3      3    20.7 M    40 s    1.6 GB    pytest -m slow
         5      2     8.1 M    13 s    0.6 GB    pytest -m slow
         2      4    75.0 M   154 s    4.7 GB    pytest -m slow
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

MODEL = Path(__file__).with_name("hop.pml")
#: Seconds after which a run that should take about a minute is given up.
PATIENCE = 900


class Verdict(NamedTuple):
    errors: int
    states: int
    #: What was sent and written on the way to the error.
    trail: str


@pytest.fixture(autouse=True)
def _spin() -> None:
    for tool in ("spin", "gcc"):
        if not shutil.which(tool):
            if os.environ.get("CI"):
                pytest.fail(f"{tool} is missing: deploy/setup installs it")
            pytest.skip(f"{tool} is missing (apt-get install {tool})")


def check(
    folder: Path, *settings: str, compiled: tuple[str, ...], megabytes: int = 3000
) -> Verdict:
    """Search the model under ``settings`` to the end or an error; all files go to ``folder``."""

    def call(*command: str) -> str:
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    shutil.copy(MODEL, folder)
    defined = [f"-D{setting}" for setting in settings]
    call("spin", *defined, "-a", MODEL.name)
    call("gcc", "-O2", "-w", "-DSAFETY", f"-DMEMLIM={megabytes}", *compiled, "-o", "pan", "pan.c")
    said = call("./pan", "-m100000")
    assert "max search depth too small" not in said, said
    errors, states = re.search(r"errors: (\d+)", said), re.search(r"(\d+) states, stored", said)
    assert errors, said
    assert states, said
    if int(errors[1]):
        trail = call("spin", *defined, "-t", "-c", MODEL.name)
        return Verdict(int(errors[1]), int(states[1]), _steps(trail))
    assert "Search not completed" not in said, said
    return Verdict(0, int(states[1]), "")


def _steps(trail: str) -> str:
    """Of Spin's chart of messages only the messages, and what was found at the end."""
    lines = [" ".join(line.replace(" .", "").split()) for line in trail.splitlines()]
    return "\n".join(one for one in lines if re.match(r"\d+ line\[|spin: (text|trail)", one))


@pytest.mark.parametrize("size", ["EVENTS=2 LIVES=3", "EVENTS=4 LIVES=2"])
def test_a_hop_loses_and_repeats_nothing_in_any_order_of_kills_takeovers_and_compaction(
    size: str, tmp_path: Path
) -> None:
    verdict = check(tmp_path, *size.split(), compiled=("-DCOLLAPSE",))
    assert not verdict.errors, verdict.trail
    assert verdict.states > 800_000, "the model has lost steps"


@pytest.mark.parametrize(
    "without",
    ["NO_FENCE", "NO_LOOK", "EARLY_MARK", "COPY_THINNED"],
    ids=[
        "the fence",
        "the look at the end of the copy",
        "waiting with watermarks until all that was held is told again",
        "a copy whose end is whole",
    ],
)
def test_the_checker_finds_what_goes_wrong_without(without: str, tmp_path: Path) -> None:
    # Breadth first: the shortest way to it.
    verdict = check(tmp_path, "EVENTS=2", without, compiled=("-DBFS",))
    assert verdict.errors, verdict
    print(f"{without}:\n{verdict.trail}")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["EVENTS=3 LIVES=3", "EVENTS=5 LIVES=2", "EVENTS=2 LIVES=4"])
def test_more_events_or_more_lives_change_nothing(size: str, tmp_path: Path) -> None:
    verdict = check(tmp_path, *size.split(), compiled=("-DCOLLAPSE",), megabytes=8000)
    assert not verdict.errors, verdict.trail
