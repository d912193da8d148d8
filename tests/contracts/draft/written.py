"""A drafted module, imported as a bureau would import it."""

import importlib.metadata
import itertools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from contracts.draft.guess import Draft
from contracts.draft.source_text import source_text
from contracts.load import load_contracts
from contracts.model import Contract

_NUMBERS = itertools.count()


def imported(draft: Draft, folder: Path) -> Contract:
    """What the module of ``draft`` defines."""
    path = folder / f"drafted_{next(_NUMBERS)}.py"
    text = source_text(draft.contract, origin=draft.origin, questions=draft.questions)
    path.write_text(text, encoding="utf-8")
    (contract,) = load_contracts(str(path))
    return contract


def unformatted(folder: Path) -> Iterable[str]:
    """The modules in ``folder`` that ``ruff format`` would change."""
    importlib.metadata.version("ruff")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "--diff", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line[:1] in "+-"]
