"""The tools that judge deploy/: where they are, and what happens where one is not."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def judge(name: str) -> str:
    """The path of a tool: one that deploy/setup installs, or that deploy/tools/build has built.

    Skips the test where there is none; in CI only those that take minutes to build may be absent.
    """
    for folder in (".cache/tools/bin", ".cache/helm"):
        if (found := ROOT / folder / name).exists():
            return str(found)
    if on_the_path := shutil.which(name):
        return on_the_path
    if name in ("helm", "kubeconform"):
        pytest.skip(f"no {name} here: deploy/tools/build makes it, in some minutes")
    if os.environ.get("CI"):
        raise AssertionError(f"no {name} here: deploy/setup installs it")
    pytest.skip(f"no {name} here: deploy/setup installs it")
