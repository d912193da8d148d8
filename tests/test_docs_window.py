"""What of docs/window.md needs no server; the rest is in tests/live/test_docs_window.py."""

import ast
import re

from agents import client
from agents.client import blocking
from tests.guide import ROOT, File, anchors, steps

GUIDE = (ROOT / "docs" / "window.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples"


def test_a_program_in_the_guide_is_the_file_among_the_examples() -> None:
    shown = {step.name: step.text for step in steps(GUIDE) if isinstance(step, File)}
    files = {each.name: each.read_text(encoding="utf-8") for each in EXAMPLES.iterdir()}
    both = shown.keys() & files.keys()
    assert {"follow.py", "once.py", "test_desk.py", "window.js"} <= both
    assert {name: shown[name] for name in both} == {name: files[name] for name in both}


def test_the_guide_speaks_of_every_example() -> None:
    for each in EXAMPLES.iterdir():
        assert each.name in GUIDE, f"{each.name} is not in the guide"


def test_every_link_within_the_guide_leads_somewhere() -> None:
    links = re.findall(r"\]\(#([^)]*)\)", GUIDE)
    assert links
    assert set(links) <= anchors(GUIDE)
    for file in re.findall(r"\]\((examples/[^)]*)\)", GUIDE):
        assert (ROOT / "docs" / file).exists(), file


def test_what_the_guide_says_of_the_client_is_there() -> None:
    for name in re.findall(r"`window\.(\w+)\(", GUIDE):
        assert callable(getattr(client.Window, name))
        assert callable(getattr(blocking.Window, name))


def test_the_two_windows_have_the_same_methods() -> None:
    def methods(window: type) -> set[str]:
        return {name for name in vars(window) if not name.startswith("_")}

    assert methods(client.Window) == methods(blocking.Window)


def test_an_example_imports_the_client_alone() -> None:
    for each in EXAMPLES.glob("*.py"):
        for node in ast.walk(ast.parse(each.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agents"):
                assert (node.module or "").startswith("agents.client"), each.name
