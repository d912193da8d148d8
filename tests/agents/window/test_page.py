"""The page's files: typed, without globals, in two languages that say the same."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from agents.window.files import FILES, PAGE

TSC = Path(__file__).parents[3] / ".cache/node/node_modules/.bin/tsc"
FLAGS = [
    "--allowJs", "--checkJs", "--strict", "--noEmit", "--target", "es2022", "--module", "esnext",
    "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable", "--noUnusedLocals",
    "--noUnusedParameters", "--noImplicitReturns", "--noUncheckedIndexedAccess", "--types", "",
]  # fmt: skip
HTML = (PAGE / "index.html").read_text()
SCRIPTS = sorted(PAGE.glob("*.js"))


def test_the_scripts_are_typed_and_both_languages_say_the_same() -> None:
    """The English words have the type of the Chinese ones, each with the same things to fill in."""
    if not TSC.exists() and not os.environ.get("CI"):
        pytest.skip("deploy/setup installs TypeScript where node is")
    done = subprocess.run(
        [TSC, *FLAGS, *(path.name for path in SCRIPTS)],
        cwd=PAGE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout + done.stderr == ""


def test_every_word_the_page_is_marked_with_is_there_and_every_word_is_used() -> None:
    words = set(re.findall(r"^  (\w+): ", (PAGE / "words.js").read_text(), re.M))
    marked = set(re.findall(r'data-(?:say|label)="(\w+)"', HTML))
    assert marked <= words
    used = HTML + "".join(path.read_text() for path in SCRIPTS if path.name != "words.js")
    kept = {word for word in words if word.startswith("error")}
    assert {word for word in words - kept if not re.search(rf"\b{word}\b", used)} == set()


def test_nothing_is_made_from_markup_and_nothing_is_styled_or_run_inline() -> None:
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", HTML)
    for path in SCRIPTS:
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text
        )
        assert not re.search(r"\b(window|globalThis)\.\w+\s*=[^=]", text), path.name


def test_every_file_is_asked_for_and_small() -> None:
    asked = HTML + "".join(path.read_text() for path in SCRIPTS)
    for path, file in FILES.items():
        assert path == "/" or path.removeprefix("/") in asked, path
        assert len(file.body) < 40_000, path
