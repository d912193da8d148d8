"""The proof of the demo, as its user runs it."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.live


def test_the_proof_holds() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "agents.cli", "demo", "--check", "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert said.stdout, said.stderr
    result = json.loads(said.stdout)
    print(result)
    assert said.returncode == 0, result
    assert result["sent"] >= 5_000
    assert result["arrived"] == result["expected"] > 1_000
    assert result["rows_compared"] > 1_000
    assert result["rejected"] == 12
    assert result["other_keys_at_the_province"] > 100, "there was something that could leak"
    assert result["licences"]["arrived"] == result["licences"]["sent"] > 0
    assert result["latencies"]["counted"] > 100
